//! Bindings to [libiscsi](https://github.com/sahlberg/libiscsi) 1.19: what the test kit uses, and no more.
//!
//! Every declaration is checked against the C headers by `tests/headers.rs`: it writes a C file from [`FUNCTIONS`],
//! [`LAYOUTS`] and [`CONSTANTS`] and lets the C compiler compare prototypes, sizes, offsets and values. A function is
//! therefore declared only inside `functions!`, which also records it in the table.
//!
//! SCSI commands go through [`iscsi_scsi_command_async`] with a CDB of the caller's; the per-command helpers of the C
//! library (`iscsi_read10_task` and its sisters) are deliberately absent.
//!
//! # What a safe wrapper has to know
//! - A context is used by one thread at a time; distinct contexts are independent.
//! - A task, its iovectors and its buffer are in use from `iscsi_scsi_command_async` until its callback ran *and* no
//!   Data-Out PDU of it is left in the send queue: an early response does not remove them from there.
//! - `iscsi_set_timeout` frees a PDU that may be half sent: set it to 0 and keep time outside.
//! - `iscsi_destroy_context` calls the callback of everything in flight with [`SCSI_STATUS_CANCELLED`].

#![allow(non_camel_case_types)]

mod layout;
mod values;

pub use layout::{LAYOUTS, Layout};
pub use layout::{iscsi_context, iscsi_data, iscsi_url, scsi_data, scsi_iovec, scsi_iovector, scsi_sense, scsi_task};
pub use values::*;

use core::ffi::{c_char, c_int, c_uchar, c_void};

/// A command's completion: the context, the status (one of `SCSI_STATUS_*`), data that depends on the command, and the
/// pointer that was given along with the command. For SCSI commands the data is the [`scsi_task`].
pub type iscsi_command_cb = Option<
    unsafe extern "C" fn(
        iscsi: *mut iscsi_context,
        status: c_int,
        command_data: *mut c_void,
        private_data: *mut c_void,
    ),
>;

/// A function of the C library as it is declared here, in Rust's own spelling.
pub struct Function {
    /// Its name in the C library.
    pub name: &'static str,
    /// The types of its parameters.
    pub parameters: &'static [&'static str],
    /// The type that it returns; empty for none.
    pub returns: &'static str,
}

/// Declares functions of the C library and records each in [`FUNCTIONS`].
macro_rules! functions {
    ($($(#[$doc:meta])* fn $name:ident($($arg:ident: $ty:ty),*) $(-> $ret:ty)?;)*) => {
        // SAFETY: each prototype is compared with the C header's by `tests/headers.rs`.
        unsafe extern "C" {
            $($(#[$doc])* pub fn $name($($arg: $ty),*) $(-> $ret)?;)*
        }
        /// Every function declared by this crate.
        pub const FUNCTIONS: &[Function] = &[$(Function {
            name: stringify!($name),
            parameters: &[$(stringify!($ty)),*],
            returns: concat!($(stringify!($ret))?),
        }),*];
    };
}

functions! {
    // Context and its settings before login.

    /// Makes a context for one session; null when out of memory or when the name is empty.
    fn iscsi_create_context(initiator_name: *const c_char) -> *mut iscsi_context;
    /// Ends the connection, completes everything in flight as [`SCSI_STATUS_CANCELLED`] and frees the context.
    fn iscsi_destroy_context(iscsi: *mut iscsi_context) -> c_int;
    /// The text of the last error; valid until the next call on this context.
    fn iscsi_get_error(iscsi: *mut iscsi_context) -> *const c_char;
    /// Sets the iSCSI name of the target to log in to.
    fn iscsi_set_targetname(iscsi: *mut iscsi_context, targetname: *const c_char) -> c_int;
    /// Chooses between a discovery and a normal session.
    fn iscsi_set_session_type(iscsi: *mut iscsi_context, session_type: iscsi_session_type) -> c_int;
    /// Which header digests are offered, and in which order.
    fn iscsi_set_header_digest(iscsi: *mut iscsi_context, header_digest: iscsi_header_digest) -> c_int;
    /// What is offered for the key ImmediateData.
    fn iscsi_set_immediate_data(iscsi: *mut iscsi_context, immediate_data: iscsi_immediate_data) -> c_int;
    /// What is offered for the key InitialR2T.
    fn iscsi_set_initial_r2t(iscsi: *mut iscsi_context, initial_r2t: iscsi_initial_r2t) -> c_int;
    /// CHAP name and secret that the initiator answers with.
    fn iscsi_set_initiator_username_pwd(iscsi: *mut iscsi_context, user: *const c_char, passwd: *const c_char) -> c_int;
    /// CHAP name and secret that the target has to answer with; only after the initiator's own.
    fn iscsi_set_target_username_pwd(iscsi: *mut iscsi_context, user: *const c_char, passwd: *const c_char) -> c_int;
    /// Sets the ISID to the random format (RFC 7143 11.12.5, T = 10b).
    fn iscsi_set_isid_random(iscsi: *mut iscsi_context, rnd: u32, qualifier: u32) -> c_int;
    /// With 1, a lost connection cancels what is in flight instead of being opened again.
    fn iscsi_set_noautoreconnect(iscsi: *mut iscsi_context, state: c_int);
    /// Seconds after which a PDU is given up; 0 for never. See the crate's documentation before using another value.
    fn iscsi_set_timeout(iscsi: *mut iscsi_context, timeout: c_int) -> c_int;

    // Addresses.

    /// Parses `iscsi://[user[%secret]@]host[:port]/target/lun`; null on error.
    fn iscsi_parse_full_url(iscsi: *mut iscsi_context, url: *const c_char) -> *mut iscsi_url;
    /// Frees what [`iscsi_parse_full_url`] returned.
    fn iscsi_destroy_url(iscsi_url: *mut iscsi_url);
    /// Where the target moved to, after a login that ended with [`SCSI_STATUS_REDIRECT`].
    fn iscsi_get_target_address(iscsi: *mut iscsi_context) -> *const c_char;

    // Connection, login, logout.

    /// Starts to connect by TCP. The callback may come twice: when connected, and when the connection is lost.
    fn iscsi_connect_async(
        iscsi: *mut iscsi_context,
        portal: *const c_char,
        cb: iscsi_command_cb,
        private_data: *mut c_void
    ) -> c_int;
    /// Starts the login; negative, without a callback, when it could not be started.
    fn iscsi_login_async(iscsi: *mut iscsi_context, cb: iscsi_command_cb, private_data: *mut c_void) -> c_int;
    /// Starts the logout; negative, without a callback, when it could not be started.
    fn iscsi_logout_async(iscsi: *mut iscsi_context, cb: iscsi_command_cb, private_data: *mut c_void) -> c_int;
    /// Whether the session is in the full feature phase.
    fn iscsi_is_logged_in(iscsi: *mut iscsi_context) -> c_int;

    // Event loop.

    /// The socket to wait on, or -1.
    fn iscsi_get_fd(iscsi: *mut iscsi_context) -> c_int;
    /// The poll(2) events to wait for.
    fn iscsi_which_events(iscsi: *mut iscsi_context) -> c_int;
    /// Handles the events that poll(2) returned; callbacks run inside. Negative when the session is lost.
    fn iscsi_service(iscsi: *mut iscsi_context, revents: c_int) -> c_int;

    // Commands.

    /// Makes a task from a CDB of 1 to 16 bytes; null when out of memory.
    fn scsi_create_task(cdb_size: c_int, cdb: *mut c_uchar, xfer_dir: c_int, expxferlen: c_int) -> *mut scsi_task;
    /// Frees a task and its data-in or sense data.
    fn scsi_free_scsi_task(task: *mut scsi_task);
    /// Where data-in goes; the vector must live as long as the task is in use.
    fn scsi_task_set_iov_in(task: *mut scsi_task, iov: *mut scsi_iovec, niov: c_int);
    /// Where data-out comes from; the vector must live as long as the task is in use.
    fn scsi_task_set_iov_out(task: *mut scsi_task, iov: *mut scsi_iovec, niov: c_int);
    /// Queues a command; negative, without a callback, when it could not be queued (the task stays the caller's).
    fn iscsi_scsi_command_async(
        iscsi: *mut iscsi_context,
        lun: c_int,
        task: *mut scsi_task,
        cb: iscsi_command_cb,
        data: *mut iscsi_data,
        private_data: *mut c_void
    ) -> c_int;
    /// Queues a NOP-Out with up to `len` bytes of ping data.
    fn iscsi_nop_out_async(
        iscsi: *mut iscsi_context,
        cb: iscsi_command_cb,
        data: *mut c_uchar,
        len: c_int,
        private_data: *mut c_void
    ) -> c_int;
    /// Queues a task management request; the callback's data is the response, a `uint32_t`.
    fn iscsi_task_mgmt_async(
        iscsi: *mut iscsi_context,
        lun: c_int,
        function: iscsi_task_mgmt_funcs,
        ritt: u32,
        rcmdscn: u32,
        cb: iscsi_command_cb,
        private_data: *mut c_void
    ) -> c_int;

    // Texts.

    /// The name of a sense key.
    fn scsi_sense_key_str(key: c_int) -> *const c_char;
    /// The text for an additional sense code and qualifier (`asc << 8 | ascq`).
    fn scsi_sense_ascq_str(ascq: c_int) -> *const c_char;
}
