//! The session's machinery: commands to the library, its event loop, completions back.

use std::ffi::c_int;
use std::io::{PipeReader, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::ptr;
use std::time::{Duration, Instant};

use libiscsi_sys as sys;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::buffer::IoBuffer;
use super::command::Cdb;
use super::error::{Error, Failure};
use super::sense::Sense;
use super::session::{Completion, Owner, Reply, Residual, Session};
use super::slot::{Pinned, Slot, command_done};

impl<B: IoBuffer> Session<B> {
    /// Hands a command to the library and returns its slot; the caller stores what owns `memory` in `held`.
    pub(super) fn queue(
        &mut self,
        cdb: &Cdb,
        direction: c_int,
        memory: Option<(*mut u8, usize)>,
    ) -> Result<usize, Error> {
        let Some(context) = &self.context else { return Err(self.lost_error()) };
        let length = memory.map_or(0, |(_, length)| length);
        let expected = c_int::try_from(length).map_err(|_| Error::TooLarge(length))?;
        let mut bytes = [0; sys::SCSI_CDB_MAX_SIZE];
        let cdb = cdb.as_bytes();
        bytes[..cdb.len()].copy_from_slice(cdb);
        // SAFETY: the length is that of the CDB, 1 to 16, and the bytes are copied.
        let task = unsafe { sys::scsi_create_task(cdb.len() as c_int, bytes.as_mut_ptr(), direction, expected) };
        if task.is_null() {
            return Err(Error::OutOfMemory);
        }
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Pinned::new(Slot::new(self.slots.len(), self.core)));
            self.held.push(None);
            self.slots.len() - 1
        });
        let pinned = self.slots[index];
        let slot = pinned.get();
        slot.begin(task);
        if let Some((base, length)) = memory {
            // SAFETY: the slot was free, so the library holds no pointer to its vector.
            unsafe { *slot.iovec.get() = sys::scsi_iovec { iov_base: base.cast(), iov_len: length } };
            let read = direction == sys::SCSI_XFER_READ;
            let set = if read { sys::scsi_task_set_iov_in } else { sys::scsi_task_set_iov_out };
            // SAFETY: the task is ours; the vector is in the slot, which outlives the task; the buffer stays where it
            // is (`IoBuffer`) and is owned by `held` until the slot is released.
            unsafe { set(task, slot.iovec.get(), 1) };
        }
        // SAFETY: context, task and slot live until the callback ran and longer; no data argument is given.
        let refused = unsafe {
            sys::iscsi_scsi_command_async(
                context.as_ptr(),
                c_int::from(self.lun),
                task,
                Some(command_done),
                ptr::null_mut(),
                pinned.as_private_data(),
            )
        };
        if refused != 0 {
            let reason = context.error();
            self.release(index);
            return Err(Error::Lost { portal: self.portal.clone(), reason });
        }
        if self.in_flight == 0 {
            self.look_at_deadlines = slot.submitted.get() + self.timeout;
        }
        self.in_flight += 1;
        Ok(index)
    }

    /// One turn of the event loop: send, wait, receive, collect.
    pub(super) fn turn(&mut self, timeout: Duration) {
        self.exchange(timeout);
        self.give_up_overdue();
        self.collect();
    }

    fn exchange(&mut self, timeout: Duration) {
        let Some(context) = &self.context else { return };
        let raw = context.as_ptr();
        // SAFETY: the context lives.
        let (fd, mut events, logged_in) =
            unsafe { (sys::iscsi_get_fd(raw), sys::iscsi_which_events(raw), sys::iscsi_is_logged_in(raw) != 0) };
        if fd < 0 {
            let reason = context.error();
            return self.lose_to(reason);
        }
        // The socket nearly always takes what is queued, and it does not block: try before asking poll(2). While
        // connecting, POLLOUT means something else.
        if logged_in && events & c_int::from(PollFlags::OUT.bits()) != 0 {
            if !self.service(PollFlags::OUT) {
                return;
            }
            // SAFETY: `service` returned true, so the context lives.
            events = unsafe { sys::iscsi_which_events(raw) };
        }
        match wait_for(fd, events, self.ear.as_ref(), timeout.min(self.until_deadline())) {
            Ok(flags) if flags.is_empty() => {}
            Ok(flags) => {
                let closed = flags.intersects(PollFlags::RDHUP | PollFlags::HUP);
                // The library would not read what came before a hang-up; RDHUP it does not know.
                let known = flags - PollFlags::RDHUP;
                let known = if logged_in && closed { (known | PollFlags::IN) - PollFlags::HUP } else { known };
                if self.service(known) && closed {
                    self.lose_to("the target closed the connection".to_owned());
                }
            }
            Err(error) => self.lose_to(format!("poll: {error}")),
        }
    }

    /// Lets the library handle events; false when the session is lost thereby.
    fn service(&mut self, flags: PollFlags) -> bool {
        let Some(context) = &self.context else { return false };
        // SAFETY: the context lives. Callbacks run inside and touch only cells of slots and core.
        let result = unsafe { sys::iscsi_service(context.as_ptr(), c_int::from(flags.bits())) };
        if result >= 0 && !self.core.get().cancelled.get() {
            return true;
        }
        let reason = context.error();
        self.lose_to(reason);
        false
    }

    /// Takes the commands whose callback ran out of their slots.
    fn collect(&mut self) {
        loop {
            std::mem::swap(&mut self.ready, &mut *self.core.get().ready.borrow_mut());
            self.ready.append(&mut self.unsent);
            let mut ready = std::mem::take(&mut self.ready);
            let mut all_sent = None;
            for index in ready.drain(..) {
                let write = self.held[index].as_ref().is_some_and(|held| held.direction == sys::SCSI_XFER_WRITE);
                if write && !*all_sent.get_or_insert_with(|| self.all_sent()) {
                    self.unsent.push(index);
                } else {
                    self.finish(index);
                }
            }
            self.ready = ready;
            // Sending may have lost the session, which completes everything.
            let more = !self.core.get().ready.borrow().is_empty() || (self.lost.is_some() && !self.unsent.is_empty());
            if !more {
                return;
            }
        }
    }

    /// Whether the library has sent everything that belongs to commands that were answered.
    ///
    /// A target may answer a write before it has all the data. The answer does not take the write's Data-Out PDUs out
    /// of the send queue, and they point to its task and buffer: both stay until no PDU can be sent. What is left then
    /// has a CmdSN beyond the command window: the queue is in CmdSN order, and a Data-Out PDU has its command's.
    fn all_sent(&mut self) -> bool {
        let pending = |session: &Self| match &session.context {
            // SAFETY: the context lives.
            Some(context) => unsafe {
                sys::iscsi_which_events(context.as_ptr()) & c_int::from(PollFlags::OUT.bits()) != 0
            },
            None => false,
        };
        if pending(self) {
            self.service(PollFlags::OUT);
        }
        !pending(self)
    }

    /// Makes a completion of a slot whose callback ran.
    fn finish(&mut self, index: usize) {
        let slot = self.slots[index].get();
        let Some(held) = self.held[index].take() else { return };
        let latency = slot.done.get().unwrap_or_else(Instant::now).saturating_duration_since(slot.submitted.get());
        // SAFETY: the callback ran and nothing of the command is left in the send queue, so the library does not use
        // the task any more; it is freed by `release` below.
        let task = unsafe { &*slot.task.get() };
        let result = match slot.status.get() {
            // SAM-5 5.3.1: CONDITION MET is what PRE-FETCH ends with when it is done.
            sys::SCSI_STATUS_GOOD | sys::SCSI_STATUS_CONDITION_MET => Ok(()),
            sys::SCSI_STATUS_CHECK_CONDITION => Err(Failure::CheckCondition(Box::new(sense_of(task)))),
            sys::SCSI_STATUS_CANCELLED => Err(match self.lost {
                Some(Error::TimedOut { .. }) if latency >= self.timeout => Failure::TimedOut,
                _ => Failure::Lost,
            }),
            status => Err(u8::try_from(status).map_or_else(|_| Failure::Protocol(slot.reason.take()), Failure::Status)),
        };
        let residual = match task.residual_status {
            sys::SCSI_RESIDUAL_UNDERFLOW => Residual::Underflow(task.residual as u64),
            sys::SCSI_RESIDUAL_OVERFLOW => Residual::Overflow(task.residual as u64),
            _ => Residual::None,
        };
        self.release(index);
        self.in_flight -= 1;
        match held.owner {
            Owner::Caller(buffer) => {
                self.finished.push_back(Completion { cookie: held.cookie, result, buffer, residual, latency });
            }
            Owner::Execute(mut data) => {
                if let (sys::SCSI_XFER_READ, Residual::Underflow(missing)) = (held.direction, residual) {
                    data.truncate(data.len().saturating_sub(usize::try_from(missing).unwrap_or(usize::MAX)));
                }
                self.reply = Some(Reply { result, data, residual, latency });
            }
        }
    }

    /// Frees a slot's task; the library does not use it any more.
    fn release(&mut self, index: usize) {
        self.slots[index].get().free_task();
        self.free.push(index);
    }

    /// A command that is overdue ends the session: only so the library lets go of its buffer.
    fn give_up_overdue(&mut self) {
        if self.in_flight == 0 || self.lost.is_some() {
            return;
        }
        let now = Instant::now();
        if now < self.look_at_deadlines {
            return;
        }
        let pending = self.slots.iter().filter(|slot| slot.get().done.get().is_none());
        let Some(oldest) = pending.map(|slot| slot.get().submitted.get()).min() else { return };
        self.look_at_deadlines = oldest + self.timeout;
        if self.look_at_deadlines <= now {
            self.lose(Error::TimedOut { what: "a command", after: self.timeout });
        }
    }

    fn until_deadline(&self) -> Duration {
        if self.in_flight == 0 {
            return Duration::MAX;
        }
        self.look_at_deadlines.saturating_duration_since(Instant::now())
    }

    fn lose_to(&mut self, reason: String) {
        let reason = if reason.is_empty() { "the connection failed".to_owned() } else { reason };
        self.lose(Error::Lost { portal: self.portal.clone(), reason });
    }

    /// Ends the session: everything in flight completes, and `collect` finds it.
    pub(super) fn lose(&mut self, error: Error) {
        self.lost.get_or_insert(error);
        self.context = None;
    }

    pub(super) fn lost_error(&self) -> Error {
        self.lost
            .clone()
            .unwrap_or_else(|| Error::Lost { portal: self.portal.clone(), reason: "it is over".to_owned() })
    }
}

impl<B: IoBuffer> Drop for Session<B> {
    fn drop(&mut self) {
        // First the context: its end runs the callback of everything in flight, and then no pointer is left in C. The
        // buffers in `held` are dropped after this body.
        self.context = None;
        for slot in self.slots.drain(..) {
            slot.get().free_task();
            // SAFETY: the context is gone, and this was the last handle.
            unsafe { slot.free() };
        }
        // SAFETY: context and slots are gone.
        unsafe { self.core.free() };
    }
}

/// Waits for the library's events and for the peer's end of the connection, or until somebody writes to `ear`.
fn wait_for(fd: c_int, events: c_int, ear: Option<&PipeReader>, timeout: Duration) -> Result<PollFlags, Errno> {
    const LONGEST: Duration = Duration::from_secs(3600);
    let timeout = timeout.min(LONGEST);
    let timeout = Timespec { tv_sec: timeout.as_secs() as i64, tv_nsec: i64::from(timeout.subsec_nanos()) };
    let wanted = PollFlags::from_bits_truncate(events as u16) | PollFlags::RDHUP;
    // SAFETY: the descriptor belongs to the context, which lives and is not serviced during this function.
    let target = unsafe { BorrowedFd::borrow_raw(fd) };
    let ear_flags = if ear.is_some() { PollFlags::IN } else { PollFlags::empty() };
    let mut fds = [(target, wanted), (ear.map_or(target, AsFd::as_fd), ear_flags)]
        .map(|(fd, flags)| PollFd::from_borrowed_fd(fd, flags));
    match poll(&mut fds, Some(&timeout)) {
        Ok(_) => {}
        Err(Errno::INTR) => return Ok(PollFlags::empty()),
        Err(error) => return Err(error),
    }
    let [target, called] = fds.map(|fd| fd.revents());
    if let Some(mut ear) = ear.filter(|_| called.contains(PollFlags::IN)) {
        // There is something, so that this does not wait; what is left is for the next time.
        let _ = ear.read(&mut [0; 4096]);
    }
    Ok(target)
}

/// The sense data of a task that ended with CHECK CONDITION: two bytes of length, then the data (RFC 7143 11.4.7).
fn sense_of(task: &sys::scsi_task) -> Sense {
    let length = usize::try_from(task.datain.size).unwrap_or(0);
    if task.datain.data.is_null() || length < 2 {
        return Sense::parse(&[]);
    }
    // SAFETY: the library allocated `size` bytes and filled them from the response.
    let bytes = unsafe { std::slice::from_raw_parts(task.datain.data, length) };
    let sense_length = usize::from(u16::from_be_bytes([bytes[0], bytes[1]]));
    let sense = &bytes[2..];
    Sense::parse(sense.get(..sense_length).unwrap_or(sense))
}
