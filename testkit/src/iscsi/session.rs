//! A session: commands in, completions out.

use std::collections::VecDeque;
use std::ffi::{CStr, c_int, c_void};
use std::io::PipeReader;
use std::time::{Duration, Instant};

use libiscsi_sys as sys;

use super::buffer::IoBuffer;
use super::command::{Cdb, Transfer};
use super::error::{Error, Failure, SubmitError};
use super::slot::{Context, Core, Pinned, Slot, step_done};

/// A session with one logical unit, in the full feature phase.
///
/// Dropping it closes the connection without a logout; commands in flight are given up and their buffers freed.
pub struct Session<B: IoBuffer = Vec<u8>> {
    /// `None` once the session is lost. Dropped before slots and core: see `Drop`.
    pub(super) context: Option<Context>,
    pub(super) core: Pinned<Core>,
    pub(super) slots: Vec<Pinned<Slot>>,
    /// What each slot's command owns while in flight.
    pub(super) held: Vec<Option<Held<B>>>,
    pub(super) free: Vec<usize>,
    /// Writes that were answered while some of their PDUs may still be in the send queue.
    pub(super) unsent: Vec<usize>,
    /// Swapped with the core's list of slots whose callback ran.
    pub(super) ready: Vec<usize>,
    pub(super) finished: VecDeque<Completion<B>>,
    /// The answer to `execute`.
    pub(super) reply: Option<Reply>,
    pub(super) in_flight: usize,
    pub(super) lost: Option<Error>,
    pub(super) portal: String,
    pub(super) lun: u16,
    pub(super) timeout: Duration,
    /// No command in flight can be overdue before.
    pub(super) look_at_deadlines: Instant,
    /// What ends a wait besides the target.
    pub(super) ear: Option<PipeReader>,
}

// SAFETY: the library keeps no thread-local state: a context may be used by any thread, one at a time, and `&mut self`
// (or ownership) sees to that. All pointers lead to memory that the session owns; `B` is `Send`.
unsafe impl<B: IoBuffer> Send for Session<B> {}

/// A command that ended.
#[derive(Debug)]
pub struct Completion<B> {
    /// What was given with the command.
    pub cookie: u64,
    /// GOOD (or CONDITION MET), or what went wrong.
    pub result: Result<(), Failure>,
    /// The buffer; `None` for a command without data.
    pub buffer: Option<B>,
    /// How the amount of data differs from the buffer's length.
    pub residual: Residual,
    /// From submission to the answer.
    pub latency: Duration,
}

/// The answer to [`Session::execute`].
#[derive(Debug)]
pub struct Reply {
    /// GOOD (or CONDITION MET), or what went wrong.
    pub result: Result<(), Failure>,
    /// The buffer; for data-in shortened to what came.
    pub data: Vec<u8>,
    /// How the amount of data differs from the buffer's length.
    pub residual: Residual,
    /// From submission to the answer.
    pub latency: Duration,
}

/// The residual count of a command (RFC 7143 11.4.5), in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Residual {
    /// Exactly the expected data transfer length.
    None,
    /// So many bytes fewer.
    Underflow(u64),
    /// So many bytes more than the buffer takes.
    Overflow(u64),
}

/// READ CAPACITY(16) (SBC-3 5.16.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// Number of logical blocks.
    pub blocks: u64,
    /// Bytes of a logical block.
    pub block_size: u32,
    /// Logical blocks of a physical block, as a power of two.
    pub physical_block_exponent: u8,
    /// Logical block provisioning management enabled: unmapping may work.
    pub lbpme: bool,
    /// Logical block provisioning read zeros: unmapped blocks read as zeros.
    pub lbprz: bool,
}

/// What a command in flight owns.
pub(super) struct Held<B> {
    pub(super) owner: Owner<B>,
    /// The direction, as `SCSI_XFER_*`.
    pub(super) direction: c_int,
    pub(super) cookie: u64,
}

pub(super) enum Owner<B> {
    Caller(Option<B>),
    Execute(Vec<u8>),
}

impl<B: IoBuffer> Session<B> {
    /// Queues a command; it is sent by the next [`Session::poll`]. The library keeps to the target's command window.
    ///
    /// # Errors
    /// The session is lost, or the command cannot be expressed; the buffer comes back.
    pub fn submit(&mut self, cdb: &Cdb, mut transfer: Transfer<B>, cookie: u64) -> Result<(), SubmitError<B>> {
        let (direction, memory) = match &mut transfer {
            Transfer::None => (sys::SCSI_XFER_NONE, None),
            Transfer::In(buffer) => (sys::SCSI_XFER_READ, Some((buffer.stable_ptr(), buffer.byte_len()))),
            Transfer::Out(buffer) => (sys::SCSI_XFER_WRITE, Some((buffer.stable_ptr(), buffer.byte_len()))),
        };
        match self.queue(cdb, direction, memory) {
            Ok(index) => {
                let buffer = match transfer {
                    Transfer::None => None,
                    Transfer::In(buffer) | Transfer::Out(buffer) => Some(buffer),
                };
                self.held[index] = Some(Held { owner: Owner::Caller(buffer), direction, cookie });
                Ok(())
            }
            Err(error) => Err(SubmitError { error, transfer }),
        }
    }

    /// Sends what is queued and takes what was answered, waiting up to `timeout` for the first answer. Appends to
    /// `completions`; their order is that of the answers.
    ///
    /// # Errors
    /// The session is lost and every completion was already handed out: first come the completions, each with its
    /// [`Failure`].
    pub fn poll(&mut self, timeout: Duration, completions: &mut Vec<Completion<B>>) -> Result<(), Error> {
        if self.finished.is_empty() {
            self.turn(timeout);
        }
        if self.finished.is_empty()
            && let Some(error) = &self.lost
        {
            return Err(error.clone());
        }
        completions.extend(self.finished.drain(..));
        Ok(())
    }

    /// From now on [`Session::poll`] returns as soon as a byte comes here, too: it takes what there is.
    pub fn wake_by(&mut self, ear: PipeReader) {
        self.ear = Some(ear);
    }

    /// Executes one command and waits for its answer. Others in flight go on; their completions wait for
    /// [`Session::poll`].
    ///
    /// # Errors
    /// The session is lost or the command cannot be expressed. A status other than GOOD is in the reply.
    pub fn execute(&mut self, cdb: &Cdb, transfer: Transfer<Vec<u8>>) -> Result<Reply, Error> {
        let (direction, mut data) = match transfer {
            Transfer::None => (sys::SCSI_XFER_NONE, Vec::new()),
            Transfer::In(data) => (sys::SCSI_XFER_READ, data),
            Transfer::Out(data) => (sys::SCSI_XFER_WRITE, data),
        };
        let memory = (direction != sys::SCSI_XFER_NONE).then(|| (data.stable_ptr(), data.byte_len()));
        let index = self.queue(cdb, direction, memory)?;
        self.held[index] = Some(Held { owner: Owner::Execute(data), direction, cookie: 0 });
        loop {
            self.turn(Duration::from_secs(1));
            if let Some(reply) = self.reply.take() {
                return match (&reply.result, &self.lost) {
                    (Err(Failure::Lost | Failure::TimedOut), Some(error)) => Err(error.clone()),
                    _ => Ok(reply),
                };
            }
        }
    }

    /// READ CAPACITY(16).
    ///
    /// # Errors
    /// The session is lost, the command fails, or the answer is too short.
    pub fn capacity(&mut self) -> Result<Capacity, Error> {
        const WHAT: &str = "READ CAPACITY(16)";
        let data = self.ask(WHAT, &Cdb::read_capacity16(32), 32)?;
        let answer: &[u8; 16] = data
            .first_chunk()
            .ok_or_else(|| Error::Answer { what: WHAT, reason: format!("it has only {} bytes", data.len()) })?;
        let [l0, l1, l2, l3, l4, l5, l6, l7, b0, b1, b2, b3, _, exponents, lbp, _] = *answer;
        let block_size = u32::from_be_bytes([b0, b1, b2, b3]);
        let blocks = u64::from_be_bytes([l0, l1, l2, l3, l4, l5, l6, l7]).checked_add(1);
        match (blocks, block_size) {
            (Some(blocks), 1..) => Ok(Capacity {
                blocks,
                block_size,
                physical_block_exponent: exponents & 0x0f,
                lbpme: lbp & 0x80 != 0,
                lbprz: lbp & 0x40 != 0,
            }),
            _ => Err(Error::Answer { what: WHAT, reason: format!("{block_size} bytes a block") }),
        }
    }

    /// INQUIRY: standard data, or a vital product data page.
    ///
    /// # Errors
    /// The session is lost, or the command fails (for a page: it is not supported).
    pub fn inquiry(&mut self, page: Option<u8>) -> Result<Vec<u8>, Error> {
        self.ask("INQUIRY", &Cdb::inquiry(page, 1024), 1024)
    }

    /// Sends a logout and closes the connection; commands in flight are given up.
    ///
    /// # Errors
    /// The target did not answer.
    pub fn logout(mut self) -> Result<(), Error> {
        let after = self.timeout;
        let done = self.step("logout", Instant::now() + after, after, |context, core| {
            // SAFETY: context and core live (the session owns both).
            unsafe { sys::iscsi_logout_async(context, Some(step_done), core) }
        });
        match done? {
            (sys::SCSI_STATUS_GOOD, _) => Ok(()),
            (_, reason) => Err(Error::Lost { portal: self.portal.clone(), reason }),
        }
    }

    /// How many commands were submitted whose completion was not handed out yet.
    pub fn in_flight(&self) -> usize {
        self.in_flight + self.finished.len()
    }

    /// Host and port that the session is with.
    pub fn portal(&self) -> &str {
        &self.portal
    }

    pub(super) fn new(context: Context, core: Pinned<Core>, portal: String, lun: u16, timeout: Duration) -> Self {
        Self {
            context: Some(context),
            core,
            slots: Vec::new(),
            held: Vec::new(),
            free: Vec::new(),
            unsent: Vec::new(),
            ready: Vec::new(),
            finished: VecDeque::new(),
            reply: None,
            in_flight: 0,
            lost: None,
            portal,
            lun,
            timeout,
            look_at_deadlines: Instant::now(),
            ear: None,
        }
    }

    /// Starts connect, login or logout and waits for its end: the status, and the library's text.
    pub(super) fn step(
        &mut self,
        what: &'static str,
        deadline: Instant,
        after: Duration,
        start: impl FnOnce(*mut sys::iscsi_context, *mut c_void) -> c_int,
    ) -> Result<(c_int, String), Error> {
        let core = self.core;
        core.get().step.take();
        match &self.context {
            Some(context) if start(context.as_ptr(), core.as_private_data()) == 0 => {}
            Some(context) => return Ok((sys::SCSI_STATUS_ERROR, context.error())),
            None => return Err(self.lost_error()),
        }
        loop {
            if let Some(done) = core.get().step.take() {
                return Ok(done);
            }
            if self.lost.is_some() {
                return Err(self.lost_error());
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                self.lose(Error::TimedOut { what, after });
                return Err(self.lost_error());
            }
            self.turn(left);
        }
    }

    /// Where the last login was sent to (RFC 7143 13.8: `address:port,portal-group-tag`).
    pub(super) fn redirected_to(&self) -> Option<String> {
        let context = self.context.as_ref()?;
        // SAFETY: the context lives; the text belongs to it and is copied here.
        let address = unsafe { CStr::from_ptr(sys::iscsi_get_target_address(context.as_ptr())) };
        let address = address.to_str().ok()?;
        (!address.is_empty()).then(|| address.to_owned())
    }

    /// A command for data-in that has to succeed.
    fn ask(&mut self, what: &'static str, cdb: &Cdb, allocation: usize) -> Result<Vec<u8>, Error> {
        let reply = self.execute(cdb, Transfer::In(vec![0; allocation]))?;
        reply.result.map_err(|failure| Error::Command { what, failure })?;
        Ok(reply.data)
    }
}
