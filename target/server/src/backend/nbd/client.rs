//! The client of an export: its calls, and its connections, which it makes again where they are lost.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use iesp_scsi::IoError;
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::NbdOptions;
use super::address::Address;
use super::call::{Answer, Call};
use super::connect::{ConnectError, connect, look};
use super::handshake::{Export, HandshakeError};
use super::journal::{Journal, Kept};
use super::lane::Lane;
use super::link::{LinkEnd, Stream, drive};
use super::protocol::{Command, Request};
use super::tls::Tls;
use crate::backend::commits::Commits;
use crate::buffers::Buffer;

/// How long one attempt to connect may take.
pub const ATTEMPT: Duration = Duration::from_secs(10);

/// The first pause between attempts, and the longest; each is twice the one before.
const PAUSES: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));

/// How long a server may owe an answer and say nothing at all.
const SILENCE: Duration = Duration::from_secs(60);

/// So many calls go over one connection before another one is taken.
const TOGETHER: usize = 16;

/// How often the server is asked for the export's size.
const LOOK: Duration = Duration::from_secs(5);

/// How long what is in flight may take to be answered on a connection that is given up.
const GRACE: Duration = Duration::from_secs(2);

/// Writes of the journal that are repeated at the same time.
const REPLAY: usize = 64;

/// How long the connections have to end at a stop.
const STOP: Duration = Duration::from_secs(1);

/// An export, as long as the program serves it. It lives on one thread.
#[derive(Debug)]
pub struct Client {
    address: Address,
    tls: Option<Tls>,
    /// As it was met at first, but for its size.
    pub export: Export,
    /// Bytes in whole blocks, as the last connection says. Others look at it.
    len: Arc<AtomicU64>,
    /// How it is. Others look at it.
    shown: Arc<Shown>,
    /// Bytes of a logical block.
    block_size: u32,
    /// Who is told when that changes.
    watcher: RefCell<Watcher>,
    /// How long calls wait for a server that is away.
    limit: Duration,
    /// The connections that take calls; none while there is no server, or the journal is being written again.
    lanes: RefCell<Vec<Rc<RefCell<Lane>>>>,
    /// The one that the last call went to.
    turn: Cell<usize>,
    /// Calls that wait for a server.
    waiting: RefCell<VecDeque<Call>>,
    /// The server is away for longer than the limit: calls fail at once.
    away: Cell<bool>,
    restart: Notify,
    /// What was answered and not flushed.
    pub journal: Rc<RefCell<Journal>>,
    /// Who waits for which flush, and whether writes were lost: then none says that all is well.
    pub commits: RefCell<Commits<oneshot::Sender<Result<(), IoError>>>>,
    /// How often writes were lost.
    losses: Cell<u64>,
}

/// How an export is, for other threads.
#[derive(Debug, Default)]
pub struct Shown {
    /// There is no connection.
    pub away: AtomicBool,
    /// Writes were lost: every flush fails.
    pub lost: AtomicBool,
}

/// Who is told of another size.
#[derive(Default)]
struct Watcher(Option<Box<dyn Fn(u64) + Send>>);

impl std::fmt::Debug for Watcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0.is_some() { "somebody" } else { "nobody" })
    }
}

impl Client {
    /// A client of what was met there; [`Self::run`] serves its calls.
    pub fn new(
        address: Address,
        tls: Option<Tls>,
        export: Export,
        len: Arc<AtomicU64>,
        shown: Arc<Shown>,
        options: &NbdOptions,
    ) -> Self {
        let NbdOptions { block_size, reconnect: limit, shared, .. } = *options;
        Self {
            address,
            tls,
            export,
            len,
            shown,
            block_size,
            watcher: RefCell::default(),
            limit,
            lanes: RefCell::default(),
            turn: Cell::new(0),
            waiting: RefCell::default(),
            away: Cell::new(false),
            restart: Notify::new(),
            journal: Rc::new(RefCell::new(Journal::new(shared))),
            commits: RefCell::new(Commits::new(1)),
            losses: Cell::new(0),
        }
    }

    /// Sends a request, and again where the connection is lost under it, until it is answered or the server stays away.
    pub async fn call(&self, request: Request, buffer: Buffer, at: usize, keep: bool) -> Answer {
        let (call, answer) = Call::new(request, buffer, at, keep);
        self.dispatch(call);
        answer.await.unwrap_or_else(|_| Answer { result: Err(IoError::NotReady), buffer: Buffer::default() })
    }

    /// Sends a call, or keeps it until it can be sent.
    pub fn dispatch(&self, call: Call) {
        if self.away.get() {
            return call.fail(IoError::NotReady);
        }
        let lanes = self.lanes.borrow();
        let loads = lanes.iter().map(|lane| lane.borrow().load());
        match next_lane(loads, self.turn.get()) {
            Some(turn) => {
                self.turn.set(turn);
                lanes[turn].borrow_mut().push(call);
            }
            None => self.waiting.borrow_mut().push_back(call),
        }
    }

    /// Has `changed` called when the export's size changes.
    pub fn watch(&self, changed: Box<dyn Fn(u64) + Send>) {
        *self.watcher.borrow_mut() = Watcher(Some(changed));
    }

    /// Bytes that can be served of an export.
    fn whole_blocks(&self, export: &Export) -> u64 {
        export.len / u64::from(self.block_size) * u64::from(self.block_size)
    }

    /// The size as a new connection says it.
    fn take_size(&self, export: &Export) {
        let len = self.whole_blocks(export);
        if self.len.swap(len, Ordering::Relaxed) == len {
            return;
        }
        self.journal.borrow_mut().cut(len);
        if let Watcher(Some(changed)) = &*self.watcher.borrow() {
            changed(len);
        }
    }

    /// The server failed to make writes durable, and may have dropped any that no flush has covered. Nothing is sent any more
    /// until the journal was written again, over new connections. A shared export's writes are lost at once.
    pub fn sync_failed(&self) {
        self.journal.borrow_mut().flush_failed();
        if self.journal.borrow().is_shared() {
            return self.abandon_journal();
        }
        self.close();
        self.restart.notify_one();
    }

    /// Serves the calls, over these connections and those that come after them.
    pub async fn run(&self, mut streams: Vec<Box<dyn Stream>>) {
        let mut export = self.export;
        let mut pause = PAUSES.0;
        let mut lost_since = None;
        loop {
            let began = Instant::now();
            let (end, fruitful) = self.session(streams, &export).await;
            if let LinkEnd::Stopped = end {
                return;
            }
            tracing::warn!(export = %self.address, reason = %end, "the connection to the NBD server is lost");
            if self.journal.borrow().is_shared() {
                // Before anything else is sent: another client may have written over them when the server is back.
                self.abandon_journal();
            }
            if fruitful {
                (pause, lost_since) = (PAUSES.0, None);
            } else {
                // It takes connections and answers nothing: no reason to be in a hurry.
                pause = (pause * 2).min(PAUSES.1);
                sleep(pause).await;
            }
            let since = *lost_since.get_or_insert(began.max(Instant::now() - pause));
            (streams, export) = self.reconnect(since, pause).await;
            self.take_size(&export);
            let connections = streams.len();
            if self.away.get() {
                // As loud as that it stays away.
                tracing::error!(export = %self.address, connections, "the NBD server is back: commands are served again");
            } else {
                tracing::warn!(export = %self.address, connections, "connected to the NBD server again");
            }
        }
    }

    /// From fresh connections until one of them is lost; whether any reply came.
    async fn session(&self, streams: Vec<Box<dyn Stream>>, export: &Export) -> (LinkEnd, bool) {
        let mut lanes = Vec::new();
        let mut links = JoinSet::new();
        for stream in streams {
            let lane = Rc::new(RefCell::new(Lane::new(Rc::clone(&self.journal), export.extended)));
            links.spawn_local(drive(stream, Rc::clone(&lane), *export));
            lanes.push(lane);
        }
        let end = tokio::select! {
            end = next_end(&mut links) => end,
            end = self.serve(&lanes) => end,
        };
        self.close();
        if !matches!(end, LinkEnd::Silent) {
            lanes.iter().for_each(|lane| lane.borrow_mut().retire());
            // A server that is gone has closed the others, too.
            let _ = timeout(GRACE, async { while links.join_next().await.is_some() {} }).await;
        }
        links.abort_all();
        while links.join_next().await.is_some() {}
        let fruitful = lanes.iter().any(|lane| lane.borrow().answered() > 0);
        self.take_back(&lanes, &end);
        (end, fruitful)
    }

    async fn serve(&self, lanes: &[Rc<RefCell<Lane>>]) -> LinkEnd {
        if let Some(lane) = lanes.first() {
            self.replay(lane).await;
        }
        self.away.set(false);
        self.shown.away.store(false, Ordering::Relaxed);
        *self.lanes.borrow_mut() = lanes.to_vec();
        let waiting = self.waiting.take();
        waiting.into_iter().for_each(|call| self.dispatch(call));
        let mut look_at = Some(Instant::now() + LOOK);
        loop {
            let second = async {
                sleep(SILENCE / 60).await;
                if look_at.is_none_or(|at| Instant::now() < at) {
                    return None;
                }
                // NBD has no way to be told: each connection has the size that it was made with.
                Some(look(&self.address, self.tls.as_ref()).await)
            };
            let looked = tokio::select! {
                () = self.restart.notified() => return LinkEnd::FlushFailed,
                looked = second => looked,
            };
            if let Some(seen) = looked {
                look_at = seen.map(|_| Instant::now() + LOOK);
                if seen.is_some_and(|export| self.is_resized(&export)) {
                    self.settle(lanes).await;
                    return LinkEnd::Resized;
                }
            }
            let silent =
                |lane: &Rc<RefCell<Lane>>| lane.borrow().silent_since().is_some_and(|since| since.elapsed() >= SILENCE);
            if lanes.iter().any(silent) {
                return LinkEnd::Silent;
            }
            let overdue =
                |lane: &Rc<RefCell<Lane>>| lane.borrow().retiring_since().is_some_and(|since| since.elapsed() >= GRACE);
            if lanes.iter().any(overdue) {
                return LinkEnd::Retired;
            }
        }
    }

    /// Before connections are left without need: has a shared export flushed, as what waits for that would be lost with them.
    async fn settle(&self, lanes: &[Rc<RefCell<Lane>>]) {
        self.close();
        let Some(first) = lanes.first().filter(|_| self.journal.borrow().is_shared()) else { return };
        let flushed = timeout(GRACE, async {
            while lanes.iter().any(|lane| lane.borrow().load() > 0) {
                sleep(PAUSES.0).await;
            }
            let mark = self.journal.borrow().mark();
            let request = Request { command: Command::Flush, flags: 0, offset: 0, len: 0 };
            let (call, answer) = Call::new(request, Buffer::default(), 0, false);
            first.borrow_mut().push(call);
            if let Ok(Answer { result: Ok(_), .. }) = answer.await {
                self.journal.borrow_mut().flushed(mark);
            }
        });
        // Where it fails the writes are lost, as with any lost connection.
        let _ = flushed.await;
    }

    fn is_resized(&self, export: &Export) -> bool {
        self.is_usable(export) && self.whole_blocks(export) != self.len.load(Ordering::Relaxed)
    }

    fn is_usable(&self, export: &Export) -> bool {
        self.export.is_served_by(export) && self.whole_blocks(export) > 0
    }

    /// No call goes to the connections any more.
    fn close(&self) {
        self.shown.away.store(true, Ordering::Relaxed);
        self.lanes.borrow_mut().clear();
    }

    /// What was not answered waits for the next connection, unless it has waited for long enough.
    fn take_back(&self, lanes: &[Rc<RefCell<Lane>>], end: &LinkEnd) {
        let mut calls: VecDeque<_> =
            lanes.iter().flat_map(|lane| lane.borrow_mut().drain()).filter(Call::is_wanted).collect();
        calls.append(&mut self.waiting.borrow_mut());
        let (mut patient, mut tired) = (VecDeque::new(), VecDeque::new());
        for mut call in calls {
            call.losses += 1;
            call.progress = Default::default();
            let age = call.born.elapsed();
            let enough = match end {
                LinkEnd::Silent => age >= SILENCE,
                // One connection may be lost under any call; a server that loses each one answers it never.
                _ => call.losses > 1 && age >= self.limit,
            };
            if enough { &mut tired } else { &mut patient }.push_back(call);
        }
        *self.waiting.borrow_mut() = patient;
        self.give_up(tired);
    }

    /// These calls fail. From now on the initiator may reach the disk by another way and write there, so that nothing
    /// older may be written again.
    fn give_up(&self, calls: VecDeque<Call>) {
        if calls.is_empty() {
            return;
        }
        calls.into_iter().for_each(|call| call.fail(IoError::NotReady));
        self.abandon_journal();
    }

    fn abandon_journal(&self) {
        if self.journal.borrow_mut().give_up() {
            self.shown.lost.store(true, Ordering::Relaxed);
            self.losses.set(self.losses.get() + 1);
            self.commits.borrow_mut().poison();
            tracing::error!(
                export = %self.address,
                "writes since the last flush may be lost: every flush fails from now on; check the disk, then give it \
                 back by `iesp restore`"
            );
        }
    }

    /// What nothing is durable by, after writes were lost. While the server is away another path may have it.
    pub const fn lost(&self) -> IoError {
        if self.away.get() { IoError::NotReady } else { IoError::Medium }
    }

    /// How often writes were lost.
    pub const fn losses(&self) -> u64 {
        self.losses.get()
    }

    /// Somebody has looked into what was lost: flushes are made again.
    pub fn restore(&self) {
        self.journal.borrow_mut().restore();
        self.commits.borrow_mut().restore();
        self.shown.lost.store(false, Ordering::Relaxed);
        tracing::warn!(export = %self.address, "the disk was given back: flushes are made again");
    }

    /// Writes the journal again.
    async fn replay(&self, lane: &Rc<RefCell<Lane>>) {
        let mut next = 0;
        loop {
            let batch: Vec<Kept> = self.journal.borrow().batch(next, REPLAY).to_vec();
            if batch.is_empty() {
                return;
            }
            next += batch.len();
            let batch = batch.into_iter().filter(|kept| kept.request.len > 0);
            let send = |kept: Kept| {
                let (call, answer) = Call::new(kept.request, Buffer::of(&kept.data), 0, false);
                lane.borrow_mut().push(call);
                answer
            };
            let answers: Vec<_> = batch.map(send).collect();
            for answer in answers {
                if let Ok(Answer { result: Err(error), .. }) = answer.await {
                    tracing::error!(export = %self.address, ?error, "a write cannot be repeated");
                    return self.abandon_journal();
                }
            }
        }
    }

    /// Tries until there is a server again. Past the limit all calls fail until then.
    async fn reconnect(&self, lost: Instant, mut pause: Duration) -> (Vec<Box<dyn Stream>>, Export) {
        let mut told = None;
        loop {
            let left = if self.away.get() { ATTEMPT } else { self.limit.saturating_sub(lost.elapsed()) };
            let attempt = timeout(ATTEMPT.min(left.max(PAUSES.0)), connect(&self.address, self.tls.as_ref()));
            let error = match attempt.await.unwrap_or(Err(ConnectError::Silent)) {
                Ok((streams, export)) if self.is_usable(&export) => return (streams, export),
                Ok(_) => ConnectError::Changed,
                Err(error) => error,
            };
            // Once for each reason: that it cannot be reached is what it means to be away.
            let reason = error.to_string();
            let expected = matches!(
                error,
                ConnectError::Unreachable(_) | ConnectError::Silent | ConnectError::Handshake(HandshakeError::Io(_))
            );
            if !expected && told.as_ref() != Some(&reason) {
                tracing::error!(export = %self.address, reason, "not connected");
                told = Some(reason);
            }
            if !self.away.get() && lost.elapsed() >= self.limit {
                tracing::error!(export = %self.address, "the NBD server stays away: commands fail");
                self.away.set(true);
                self.give_up(self.waiting.take());
                self.abandon_journal();
            }
            let left = self.limit.saturating_sub(lost.elapsed());
            sleep(if self.away.get() { pause } else { pause.min(left) }).await;
            pause = (pause * 2).min(PAUSES.1);
        }
    }

    /// Ends the connections in order where there are any; calls that were not answered fail.
    pub async fn stop(&self, run: tokio::task::JoinHandle<()>) {
        let lanes = self.lanes.take();
        self.away.set(true);
        lanes.iter().for_each(|lane| lane.borrow_mut().stop());
        // Without a connection there is nobody to say goodbye to.
        let patience = if lanes.is_empty() { Duration::ZERO } else { STOP };
        let abort = run.abort_handle();
        if timeout(patience, run).await.is_err() {
            abort.abort();
        }
        self.waiting.take().into_iter().for_each(|call| call.fail(IoError::NotReady));
    }
}

/// The lane for the next call: the one that the last call went to, as requests that go together cost less; when it has enough,
/// or had nothing to do, another one, so that none is left idle.
fn next_lane(loads: impl ExactSizeIterator<Item = usize> + Clone, last: usize) -> Option<usize> {
    let count = loads.len();
    match loads.clone().nth(last) {
        Some(1..TOGETHER) => Some(last),
        // The first one behind the last among the least loaded.
        _ => (0..count).map(|step| (last + 1 + step) % count).min_by_key(|lane| loads.clone().nth(*lane)),
    }
}

async fn next_end(links: &mut JoinSet<LinkEnd>) -> LinkEnd {
    match links.join_next().await {
        Some(Ok(end)) => end,
        // A link that panicked has said so.
        Some(Err(_)) | None => LinkEnd::Closed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_go_together_and_no_connection_is_idle() {
        let next = |loads: &[usize], last| next_lane(loads.iter().copied(), last);
        assert_eq!(next(&[], 0), None);
        assert_eq!(next(&[3], 7), Some(0), "there were more");
        assert_eq!((next(&[1, 0, 0], 0), next(&[15, 0, 0], 0)), (Some(0), Some(0)));
        assert_eq!((next(&[16, 0, 0], 0), next(&[16, 2, 1], 0)), (Some(1), Some(2)));
        let mut last = 0;
        for turn in [1, 2, 0, 1] {
            last = next(&[0; 3], last).expect("a lane");
            assert_eq!(last, turn, "one call at a time goes round");
        }
        let (mut loads, mut last) = ([0; 4], 0);
        for _ in 0..64 {
            last = next(&loads, last).expect("a lane");
            loads[last] += 1;
        }
        assert_eq!(loads, [16; 4]);
    }
}
