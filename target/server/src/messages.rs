//! What connections, disk threads and the program tell each other.

use std::sync::Arc;

use iesp_iscsi::TaskId;
use iesp_scsi::Outcome;
use tokio::sync::mpsc::{Sender, UnboundedSender};

use crate::logging::Trace;
use crate::luns::Luns;

use crate::buffers::Buffer;

/// To a connection's mailbox.
#[derive(Debug)]
pub enum Message {
    /// A disk thread has done its work.
    Served {
        /// The task.
        task: TaskId,
        /// What became of it.
        outcome: Outcome,
        /// The job's buffer.
        buffer: Buffer,
    },
    /// A task of this logical unit ended that others may wait for.
    Wake {
        /// Logical unit number.
        lun: u16,
    },
    /// Another session's task management function affects this one's tasks.
    Abort {
        /// Of one logical unit, or of all.
        lun: Option<u16>,
        /// Dropped when the tasks are quiet.
        receipt: Receipt,
    },
    /// All receipts of one of this connection's task management functions were given.
    Quiet {
        /// Which of them.
        number: u32,
    },
    /// Others gave memory back that this connection waits for.
    Memory,
    /// End now, for this reason.
    Close(&'static str),
    /// The program stops, or what the session uses is served no longer, which is the reason: tell the initiator.
    Shutdown(&'static str),
    /// The target has other logical units from now on.
    Luns {
        /// All of them.
        luns: Arc<Luns>,
        /// Dropped when no command is left for one that is gone.
        quiet: Sender<()>,
    },
    /// Show its units, or show them no more.
    Trace(Trace),
    /// End the session if commands are left for a logical unit that is gone.
    Hurry,
}

/// Tells a connection, when the last clone's owner drops it, that other sessions' tasks are quiet: also where that
/// session ends meanwhile.
#[derive(Debug)]
pub struct Receipt {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    to: UnboundedSender<Message>,
    number: u32,
}

impl Receipt {
    /// A receipt of function `number` of the connection behind `to`.
    pub fn new(to: UnboundedSender<Message>, number: u32) -> Self {
        Self { inner: Arc::new(Inner { to, number }) }
    }

    /// One for another session.
    pub fn another(&self) -> Self {
        Self { inner: Arc::clone(&self.inner) }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // Nobody waits where the connection has ended.
        let _ = self.to.send(Message::Quiet { number: self.number });
    }
}
