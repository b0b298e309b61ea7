//! How calls reach a session: a thread that has it for itself uses it in place; threads that share one leave its use to a
//! thread of the session's own, so that the commands of all are in flight together.

use std::collections::HashMap;
use std::io::{PipeWriter, Write, pipe};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use std::{io, thread};

use crate::iscsi::{Cdb, Completion, Error, Session, Transfer};

/// The session gives up by itself after its own, shorter time.
const WAIT: Duration = Duration::from_secs(60);

/// Commands of one call.
pub type Commands = Vec<(Cdb, Transfer<Vec<u8>>)>;

/// Their completions in any order; the cookie is a command's place in the call.
pub type Completions = Vec<Completion<Vec<u8>>>;

/// A way to a session.
pub enum Line {
    /// One call at a time.
    Own(Box<Mutex<Session>>),
    /// As many as there are.
    Shared(Shared),
}

impl Line {
    /// Has the commands of a call carried out, all in flight together; it returns when none of them is any more.
    ///
    /// # Errors
    /// The session is lost, or a command cannot be expressed.
    pub fn exchange(&self, commands: Commands) -> Result<Completions, Error> {
        match self {
            Self::Own(session) => exchange(&mut session.lock().unwrap_or_else(PoisonError::into_inner), commands),
            Self::Shared(shared) => shared.exchange(commands),
        }
    }

    /// Most commands that were in flight at once over a shared session.
    pub fn most_in_flight(&self) -> Option<usize> {
        match self {
            Self::Own(_) => None,
            Self::Shared(shared) => Some(shared.most.load(Relaxed)),
        }
    }
}

fn exchange(session: &mut Session, commands: Commands) -> Result<Completions, Error> {
    let mut failed = None;
    for (index, (cdb, transfer)) in commands.into_iter().enumerate() {
        if let Err(refused) = session.submit(&cdb, transfer, index as u64) {
            failed = Some(refused.error);
            break;
        }
    }
    // Whatever went wrong, nothing of this call may be in flight when the next begins.
    let mut completions = Vec::new();
    while session.in_flight() > 0 {
        if let Err(error) = session.poll(WAIT, &mut completions) {
            return Err(failed.unwrap_or(error));
        }
    }
    failed.map_or(Ok(completions), Err)
}

/// A session with a thread of its own, which ends with it.
pub struct Shared {
    orders: Sender<Order>,
    /// A byte for each order: the session's thread may wait for the target.
    bell: PipeWriter,
    most: Arc<AtomicUsize>,
    portal: String,
}

struct Order {
    commands: Commands,
    done: SyncSender<Result<Completions, Error>>,
}

/// An order under way.
struct Pending {
    /// Completions that have not come.
    left: usize,
    completions: Completions,
    failed: Option<Error>,
    done: SyncSender<Result<Completions, Error>>,
}

impl Shared {
    /// Gives a session its thread.
    ///
    /// # Errors
    /// What the system says.
    pub fn new(mut session: Session) -> io::Result<Self> {
        let (ear, bell) = pipe()?;
        session.wake_by(ear);
        let (orders, inbox) = channel();
        let portal = session.portal().to_owned();
        let most = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&most);
        thread::Builder::new().name("iscsi session".to_owned()).spawn(move || serve(session, &inbox, &counted))?;
        Ok(Self { orders, bell, most, portal })
    }

    fn exchange(&self, commands: Commands) -> Result<Completions, Error> {
        let over = || Error::Lost { portal: self.portal.clone(), reason: "its thread has ended".to_owned() };
        let (done, answer) = sync_channel(1);
        self.orders.send(Order { commands, done }).map_err(|_| over())?;
        (&self.bell).write_all(&[0]).map_err(|_| over())?;
        answer.recv().map_err(|_| over())?
    }
}

/// Until nobody is left to give orders. Whoever gave one waits, so that nothing is in flight then.
fn serve(mut session: Session, inbox: &Receiver<Order>, most: &AtomicUsize) {
    let mut pending: HashMap<u32, Pending> = HashMap::new();
    let mut last = 0u32;
    let mut completions = Vec::new();
    loop {
        let first = if session.in_flight() > 0 {
            None
        } else {
            match inbox.recv() {
                Ok(order) => Some(order),
                Err(_) => return,
            }
        };
        for Order { commands, done } in first.into_iter().chain(inbox.try_iter()) {
            last = last.wrapping_add(1);
            let mut order = Pending { left: 0, completions: Vec::new(), failed: None, done };
            for (index, (cdb, transfer)) in commands.into_iter().enumerate() {
                let cookie = u64::from(last) << 32 | index as u64;
                if let Err(refused) = session.submit(&cdb, transfer, cookie) {
                    order.failed = Some(refused.error);
                    break;
                }
                order.left += 1;
            }
            if let Some(order) = order.settle() {
                pending.insert(last, order);
            }
        }
        most.fetch_max(session.in_flight(), Relaxed);
        if let Err(error) = session.poll(WAIT, &mut completions) {
            // Its completions have been handed out before: this is for what it never took.
            pending.drain().for_each(|(_, order)| drop(order.done.send(Err(error.clone()))));
        }
        for completion in completions.drain(..) {
            let (number, index) = ((completion.cookie >> 32) as u32, completion.cookie & u64::from(u32::MAX));
            let Some(mut order) = pending.remove(&number) else { continue };
            order.left -= 1;
            order.completions.push(Completion { cookie: index, ..completion });
            if let Some(order) = order.settle() {
                pending.insert(number, order);
            }
        }
    }
}

impl Pending {
    /// Answers where nothing is left to wait for; else it comes back.
    fn settle(self) -> Option<Self> {
        if self.left > 0 {
            return Some(self);
        }
        let Self { completions, failed, done, .. } = self;
        // Who gave the order waits for this.
        let _ = done.send(failed.map_or(Ok(completions), Err));
        None
    }
}
