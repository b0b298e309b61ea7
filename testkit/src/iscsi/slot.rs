//! The memory that the C library holds pointers into, and the callbacks that it calls.
//!
//! Everything here lives at a fixed address from before the first call that passes its address until after the
//! context is destroyed. Callbacks only write cells of it; what they leave is read when the C call has returned.

use std::cell::{Cell, RefCell, UnsafeCell};
use std::ffi::{CStr, c_int, c_void};
use std::ptr::{self, NonNull};
use std::time::Instant;

use libiscsi_sys as sys;

use super::error::Error;

/// A context of the C library, destroyed when dropped.
pub(super) struct Context(NonNull<sys::iscsi_context>);

impl Context {
    pub(super) fn new(initiator_name: &CStr) -> Result<Self, Error> {
        if initiator_name.is_empty() {
            return Err(Error::InitiatorName(String::new()));
        }
        // SAFETY: the name ends with a zero byte and is not empty.
        let context = unsafe { sys::iscsi_create_context(initiator_name.as_ptr()) };
        NonNull::new(context).map(Self).ok_or(Error::OutOfMemory)
    }

    pub(super) fn as_ptr(&self) -> *mut sys::iscsi_context {
        self.0.as_ptr()
    }

    /// The library's text for the last error.
    pub(super) fn error(&self) -> String {
        // SAFETY: the context lives.
        unsafe { error_of(self.as_ptr()) }
    }
}

/// The library's text for the last error of a context.
///
/// # Safety
/// The context lives.
unsafe fn error_of(context: *mut sys::iscsi_context) -> String {
    // SAFETY: the caller's promise; the text belongs to the context and is copied before the next call.
    let text = unsafe { CStr::from_ptr(sys::iscsi_get_error(context)) };
    text.to_string_lossy().trim().to_owned()
}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: the context is ours and not used afterwards. Callbacks run once more for everything in flight;
        // slots and core outlive the context (see `Session`'s drop order).
        unsafe { sys::iscsi_destroy_context(self.as_ptr()) };
    }
}

/// What callbacks of one session share.
#[derive(Default)]
pub(super) struct Core {
    /// Slots whose callback ran, in order.
    pub(super) ready: RefCell<Vec<usize>>,
    /// Whether the library gave up commands, which it does when the connection is lost.
    pub(super) cancelled: Cell<bool>,
    /// The result of connect, login or logout, one at a time: the status, and the library's text.
    pub(super) step: RefCell<Option<(c_int, String)>>,
}

/// One command that the library knows about.
pub(super) struct Slot {
    index: usize,
    core: Pinned<Core>,
    /// The task while it is in use, else null.
    pub(super) task: Cell<*mut sys::scsi_task>,
    /// The one element of the task's vector.
    pub(super) iovec: UnsafeCell<sys::scsi_iovec>,
    pub(super) status: Cell<c_int>,
    /// The library's text after `SCSI_STATUS_ERROR`.
    pub(super) reason: RefCell<String>,
    pub(super) submitted: Cell<Instant>,
    /// When the callback ran; `None` while in flight.
    pub(super) done: Cell<Option<Instant>>,
}

impl Slot {
    pub(super) fn new(index: usize, core: Pinned<Core>) -> Self {
        let now = Instant::now();
        Self {
            index,
            core,
            task: Cell::new(ptr::null_mut()),
            iovec: UnsafeCell::new(sys::scsi_iovec { iov_base: ptr::null_mut(), iov_len: 0 }),
            status: Cell::new(0),
            reason: RefCell::default(),
            submitted: Cell::new(now),
            done: Cell::new(Some(now)),
        }
    }

    /// Starts the life of a command in this slot.
    pub(super) fn begin(&self, task: *mut sys::scsi_task) {
        self.task.set(task);
        self.done.set(None);
        self.submitted.set(Instant::now());
    }

    /// Frees the task, if there is one; the library must not use it any more.
    pub(super) fn free_task(&self) {
        let task = self.task.replace(ptr::null_mut());
        self.done.set(Some(self.submitted.get()));
        if !task.is_null() {
            // SAFETY: it came from scsi_create_task, and is freed once.
            unsafe { sys::scsi_free_scsi_task(task) };
        }
    }
}

/// A heap object at a fixed address that both sides reach by shared references; freed by [`Pinned::free`] alone.
pub(super) struct Pinned<T>(NonNull<T>);

impl<T> Clone for Pinned<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Pinned<T> {}

impl<T> Pinned<T> {
    pub(super) fn new(value: T) -> Self {
        Self(NonNull::from(Box::leak(Box::new(value))))
    }

    pub(super) fn get(&self) -> &T {
        // SAFETY: `new` made it from a valid box, and whoever calls `free` uses no copy afterwards. No `&mut` exists.
        unsafe { self.0.as_ref() }
    }

    /// The pointer to hand to C as `private_data`.
    pub(super) fn as_private_data(&self) -> *mut c_void {
        self.0.as_ptr().cast()
    }

    /// Frees the object.
    ///
    /// # Safety
    /// No copy of this handle and no pointer from `as_private_data` is used afterwards.
    pub(super) unsafe fn free(self) {
        // SAFETY: it came from `Box::leak`, and the caller frees it once.
        drop(unsafe { Box::from_raw(self.0.as_ptr()) });
    }
}

/// Completion of a SCSI command; `private_data` is a [`Slot`].
pub(super) unsafe extern "C" fn command_done(
    context: *mut sys::iscsi_context,
    status: c_int,
    _command_data: *mut c_void,
    private_data: *mut c_void,
) {
    // SAFETY: the pointer was given along with the command and the slot outlives the context.
    let slot = unsafe { &*private_data.cast::<Slot>() };
    if slot.done.replace(Some(Instant::now())).is_some() {
        return;
    }
    slot.status.set(status);
    let core = slot.core.get();
    match status {
        sys::SCSI_STATUS_CANCELLED => core.cancelled.set(true),
        // SAFETY: the library passes the context that it works on.
        sys::SCSI_STATUS_ERROR => *slot.reason.borrow_mut() = unsafe { error_of(context) },
        _ => {}
    }
    core.ready.borrow_mut().push(slot.index);
}

/// Completion of connect, login or logout; `private_data` is a [`Core`].
pub(super) unsafe extern "C" fn step_done(
    context: *mut sys::iscsi_context,
    status: c_int,
    _command_data: *mut c_void,
    private_data: *mut c_void,
) {
    // SAFETY: the pointer was given along with the request and the core outlives the context.
    let core = unsafe { &*private_data.cast::<Core>() };
    // SAFETY: the library passes the context that it works on.
    *core.step.borrow_mut() = Some((status, unsafe { error_of(context) }));
}
