//! One connection: between its socket, the protocol, the device server and the disk threads.
//!
//! Everything that the page cache holds is served on this thread, between one receive and one send: many commands are
//! taken from one, and their answers leave in the other.

#[cfg(test)]
mod allocation_test;
#[cfg(target_os = "linux")]
mod alone;
#[cfg(target_os = "linux")]
mod company;
mod execute;
mod input;
mod leaving;
mod login;
mod management;
mod parked;
mod reads;
mod socket;
mod tasks;
mod wait;
#[cfg(target_os = "linux")]
mod waiting;

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use iesp_iscsi::connection::{OUTBOX_MIN, TEXT_MAX};
use iesp_iscsi::pdu::{AsyncEvent, LoginStatus};
use iesp_iscsi::{Close, Connection, Outbox, TaskId};
use iesp_session::{Early, Turn};
use tokio::net::TcpStream;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};
use tokio::time::{Instant, timeout};

use crate::buffers::Buffers;
use crate::clock::Clock;
use crate::latency::Ended;
use crate::luns::Luns;
use crate::messages::Message;
use crate::node::{Admitted, Entry, Listing, Node, PortalId};
use crate::statistics::{Failure, Refusal};
use crate::target::Guest;
use crate::threads::Served;
use crate::trace::Tracer;
use leaving::Leaving;
use management::Management;
use parked::Parked;
use socket::{Inbox, Outgoing};
use tasks::{Slots, Workspace};

/// Tasks of a connection. The command window is this less what is kept for immediate commands.
pub const TASKS: usize = 136;

/// Answers are sent when about this many bytes wait, or when no more commands do.
const OUTGOING: usize = (2 << 20) + 4096;

/// What must be free behind these before a command is taken: the answers of all tasks that may end before the next
/// send, but for what reads send; with digests, in the smallest segments. It is not touched in the usual case.
const ANSWER_ROOM: usize = OUTBOX_MIN + TASKS * (iesp_scsi::REPLY_MAX + 9 * 64);

/// What reads leave of that free, for answers to a peer that does not take what lies before them.
const STALLED_ROOM: usize = 64 << 10;

/// Most PDUs that wait for earlier commands, and most bytes of them.
const EARLY_PDUS: usize = 256;
const EARLY_BYTES: usize = 1 << 20;

/// Bytes of the largest PDU of a login: a header, all that may stand behind it, and text.
const LOGIN_UNIT: usize = 48 + 255 * 4 + 4 + TEXT_MAX + 4;

/// How long an initiator has to log out at shutdown (Time3 of the asynchronous message, RFC 7143 11.9.1), in seconds.
const LOGOUT_LIMIT: u16 = 1;

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub enum End {
    /// The initiator logged out.
    #[error("logged out")]
    LoggedOut,
    /// The peer closed the connection.
    #[error("closed by the initiator")]
    Disconnected,
    /// The protocol says so.
    #[error("{0}")]
    Protocol(#[from] Close),
    /// The target says so.
    #[error("{0}")]
    Closed(&'static str),
    /// The network says so.
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// A login that is complete is refused after all.
pub struct Refused(pub LoginStatus);

/// What to do when nothing more can be done at once.
enum Next {
    /// Send: there is no room for more answers.
    Send,
    /// Send, let others have their turn, then go on, with bytes (this many in all) where some have come.
    More(Option<usize>),
    /// Send, then wait for bytes (this many in all) or messages.
    Wait(usize),
    /// The login is complete: take the place of the session that it reinstates, then go on.
    Join,
}

/// A connection and all that belongs to it.
pub struct Driver<'t> {
    node: &'t Arc<Node>,
    protocol: Connection<TASKS>,
    clock: Clock,
    entry: Entry,
    portal: PortalId,
    /// When this round began, in nanoseconds of the clock.
    round: u64,
    /// Commands that ended in this round.
    ended: Ended,
    local: SocketAddr,
    peer: SocketAddr,
    /// The session's logical units. Its own copy of the table: nobody else counts references to it.
    luns: Arc<Luns>,
    /// Those that are gone, as long as commands are left for them.
    leaving: Vec<Leaving>,
    inbox: Inbox,
    outgoing: Outgoing,
    /// Bytes of the largest PDU that the initiator may send.
    largest: usize,
    /// The outgoing bytes that were there before the response that completes the login.
    accepted_at: usize,
    /// What an idle session needs not was given back.
    is_lean: bool,
    slots: Slots,
    workspace: Workspace,
    spare: Vec<Workspace>,
    buffers: Buffers<'t>,
    /// Reads whose data are being sent, in order.
    reading: VecDeque<TaskId>,
    early: Early<Vec<u8>, EARLY_PDUS>,
    management: Management,
    /// A Data-Out unit that is received in place: its task, where, how many of its bytes have come.
    placing: Option<input::Placing>,
    mailbox: UnboundedReceiver<Message>,
    mail: UnboundedSender<Message>,
    /// Since when the peer has not taken all that was to be sent, in milliseconds.
    stalled: Option<u64>,
    /// What is left of this round.
    turn: Turn,
    /// When others on this thread had their turn last, in nanoseconds.
    given_way: u64,
    /// Tasks that wait for memory.
    parked: VecDeque<Parked>,
    /// Tasks whose next step waits for the next turn.
    resting: VecDeque<TaskId>,
    /// Messages that came while there was no room.
    deferred: VecDeque<Message>,
    guest: Option<Guest>,
    /// A login was accepted: there is a session, of either kind.
    joined: bool,
    /// Why the login was refused, beside what the peer was told.
    note: Option<String>,
    /// What the answer to SendTargets tells, while it takes several units.
    listing: Option<Arc<Listing>>,
    tracer: Tracer,
    logging_out: bool,
    ending: Option<End>,
    deadline: Option<Instant>,
    #[cfg(target_os = "linux")]
    pace: alone::Pace,
    #[cfg(target_os = "linux")]
    company: company::Company,
    #[cfg(target_os = "linux")]
    waiting: waiting::Waiting,
}

/// Serves a connection until it ends.
pub async fn serve(stream: TcpStream, peer: SocketAddr, guest: Admitted) {
    let Admitted { node, portal, entry, mail, mut mailbox } = guest;
    let mut stream = stream;
    let began = node.clock.now();
    let Ok(local) = stream.local_addr() else { return };
    if !says_something(&stream, &mut mailbox, node.catalog().settings.timeouts.login).await {
        return tracing::debug!(%peer, "connected, and said nothing");
    }
    let _served = Served::begin();
    let Some(driver) = Driver::new(&node, portal, [local, peer], entry, (mail, mailbox), began) else {
        return tracing::warn!(%peer, "refused: there is no memory for a connection");
    };
    let mut driver = Box::new(driver);
    let end = driver.run(&mut stream).await;
    driver.finish(&mut stream, &end).await;
    driver.tell(&end);
    driver.count_end(&end);
}

/// Whether anything comes in time (0: any time will do). Until then a connection is little more than its socket.
async fn says_something(stream: &TcpStream, mailbox: &mut UnboundedReceiver<Message>, limit: u64) -> bool {
    let told =
        async { while !matches!(mailbox.recv().await, None | Some(Message::Close(_) | Message::Shutdown(_))) {} };
    let first = async {
        let late = Duration::from_millis(if limit == 0 { u64::MAX / 1_000_000 } else { limit });
        matches!(timeout(late, stream.peek(&mut [0])).await, Ok(Ok(1..)))
    };
    tokio::select! {
        said = first => said,
        () = told => false,
    }
}

impl<'t> Driver<'t> {
    fn new(
        node: &'t Arc<Node>,
        portal: PortalId,
        [local, peer]: [SocketAddr; 2],
        entry: Entry,
        (mail, mailbox): (UnboundedSender<Message>, UnboundedReceiver<Message>),
        began: u64,
    ) -> Option<Self> {
        let clock = node.clock;
        let catalog = node.catalog();
        let settings = catalog.settings;
        let limits = settings.limits;
        Some(Self {
            node,
            protocol: Connection::new(limits, settings.timeouts, entry.tsih(), began).with_window(settings.window),
            clock,
            entry,
            portal,
            round: clock.nanos(),
            ended: Ended::new(),
            local,
            peer,
            luns: Arc::default(),
            leaving: Vec::new(),
            inbox: Inbox::for_login(LOGIN_UNIT)?,
            outgoing: Outgoing::new(4 * OUTBOX_MIN)?,
            largest: <Connection<TASKS>>::largest_unit(&limits),
            accepted_at: 0,
            is_lean: true,
            slots: tasks::no_tasks(),
            workspace: Workspace::none(),
            spare: Vec::new(),
            buffers: Buffers::new(&node.budget),
            reading: VecDeque::with_capacity(TASKS),
            early: Early::new(EARLY_BYTES),
            management: Management::default(),
            placing: None,
            mailbox,
            mail,
            stalled: None,
            turn: Turn::begin(0),
            given_way: 0,
            parked: VecDeque::new(),
            resting: VecDeque::new(),
            deferred: VecDeque::new(),
            guest: None,
            joined: false,
            note: None,
            listing: None,
            tracer: Tracer::new(&catalog.trace),
            logging_out: false,
            ending: None,
            deadline: None,
            #[cfg(target_os = "linux")]
            pace: alone::Pace::default(),
            #[cfg(target_os = "linux")]
            company: company::Company::default(),
            #[cfg(target_os = "linux")]
            waiting: waiting::Waiting::new(local.ip() == peer.ip()),
        })
    }

    /// What must be free of the outgoing bytes before a PDU is taken.
    #[inline]
    const fn answer_room(&self) -> usize {
        if self.joined { ANSWER_ROOM } else { OUTBOX_MIN }
    }

    /// One line in the log: how the session, the login or the connection ended.
    fn tell(&self, end: &End) {
        let peer = self.peer;
        let (initiator, target) = self.protocol.asked().unwrap_or_default();
        let target = target.unwrap_or("discovery");
        match end {
            End::LoggedOut => tracing::info!(%peer, initiator, target, "logged out"),
            _ if self.joined => tracing::info!(%peer, initiator, target, reason = %end, "session ended"),
            // Somebody who looked whether the port is open.
            End::Disconnected | End::Closed(_) | End::Io(_) if initiator.is_empty() => {
                tracing::debug!(%peer, "connected, and said nothing");
            }
            _ => {
                let note = self.note.as_deref().unwrap_or_else(|| self.protocol.refusal());
                let reason = if note.is_empty() { end.to_string() } else { format!("{end}: {note}") };
                let reason = reason.trim_start_matches("login refused: ");
                tracing::warn!(%peer, initiator, target, reason, "login refused");
            }
        }
    }

    /// The connection has ended: counts how.
    fn count_end(&self, end: &End) {
        let statistics = &self.node.statistics;
        let counted = self.protocol.statistics();
        self.entry.counters().publish(counted);
        let (initiator, target) = self.protocol.asked().unwrap_or_default();
        match (end, counted.logout) {
            (End::LoggedOut, Some(reason)) => statistics.logged_out(target, reason),
            _ if self.joined => {
                let why = if let End::Protocol(close) = end { Failure::of(close) } else { Failure::Other };
                statistics.session_failed(why, initiator);
            }
            (End::Protocol(Close::LoginFailed(status)), _) => {
                statistics.login_refused(target, Refusal::of(*status), initiator, self.peer);
            }
            _ => {}
        }
    }

    async fn run(&mut self, stream: &mut TcpStream) -> End {
        let mut sleep = Box::pin(tokio::time::sleep(Duration::from_secs(3600)));
        loop {
            let next = match self.advance() {
                Ok(next) => next,
                Err(end) => return end,
            };
            if let Next::Join = next {
                match self.join().await {
                    Ok(()) => continue,
                    Err(Refused(status)) => return self.refuse(status),
                }
            }
            #[cfg(target_os = "linux")]
            if let Next::Wait(need) = next {
                match self.wait_for_company(stream, need) {
                    Ok(true) => continue,
                    Ok(false) => {}
                    Err(error) => return error.into(),
                }
            }
            let sent = self.send(stream).await;
            if let Some(end) = self.ending.take() {
                return end;
            }
            if let Err(error) = sent {
                return error.into();
            }
            if self.logging_out && self.is_quiet() {
                return self.log_out(stream).await;
            }
            let need = match next {
                Next::Wait(need) => Some(need),
                Next::Send if self.stalled.is_some() => None,
                Next::More(need) => match self.give_way(stream, need).await {
                    Ok(()) => continue,
                    Err(end) => return end,
                },
                Next::Send | Next::Join => match self.give_way(stream, None).await {
                    Ok(()) => continue,
                    Err(end) => return end,
                },
            };
            #[cfg(target_os = "linux")]
            if let Some(need) = need {
                match self.wait_alone(stream, need).await {
                    Ok(true) => continue,
                    Ok(false) => {}
                    Err(end) => return end,
                }
            }
            if let Err(end) = self.wait(stream, need, &mut sleep).await {
                return end;
            }
        }
    }

    async fn log_out(&mut self, stream: &mut TcpStream) -> End {
        let mut out = Outbox::new(&mut self.outgoing.bytes, self.outgoing.len);
        self.protocol.logout_response(&mut out);
        self.outgoing.len = out.len();
        match self.send_all(stream).await {
            Ok(()) => End::LoggedOut,
            Err(error) => error.into(),
        }
    }

    /// A message from elsewhere.
    fn receive(&mut self, message: Message) {
        match message {
            Message::Served { task, outcome, buffer } => self.served(task, outcome, buffer),
            Message::Wake { lun } => self.retry_blocked(lun),
            Message::Abort { lun, receipt } => self.abort_for_another(lun, receipt),
            Message::Quiet { number } => self.others_are_quiet(number),
            // Whoever waits tries again when the connection goes on, which it does now.
            Message::Memory => {}
            Message::Close(reason) => self.ending = Some(End::Closed(reason)),
            Message::Shutdown(reason) => self.shut_down(reason),
            Message::Luns { luns, quiet } => self.change_luns(&luns, quiet),
            Message::Trace(wanted) => {
                let initiator = self.protocol.asked().map(|(initiator, _)| initiator);
                self.tracer.change(&wanted, initiator);
            }
            Message::Hurry => self.hurry(),
        }
    }

    /// Asks the initiator to log out (RFC 7143 11.9.1), and ends when the time for that is over.
    fn shut_down(&mut self, reason: &'static str) {
        if self.guest.is_none() {
            self.ending = Some(End::Closed(reason));
            return;
        }
        let event = AsyncEvent::LogoutRequest { time3: LOGOUT_LIMIT };
        let mut out = Outbox::new(&mut self.outgoing.bytes, self.outgoing.len);
        if out.room() >= OUTBOX_MIN {
            self.protocol.notify(event, &mut out);
            self.outgoing.len = out.len();
        }
        self.end_after(LOGOUT_LIMIT, reason);
    }

    /// Ends the connection in so many seconds.
    fn end_after(&self, seconds: u16, reason: &'static str) {
        let mail = self.mail.clone();
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_secs(seconds.into())).await;
            // The connection may have ended by a logout meanwhile.
            let _ = mail.send(Message::Close(reason));
        });
    }

    /// Nothing of this connection may touch the disks when its session is gone.
    async fn finish(&mut self, stream: &mut TcpStream, end: &End) {
        self.abort_all();
        while tasks::any_in_flight(&self.slots) {
            let message = poll_fn(|cx| self.next_message(cx).map_or(Poll::Pending, Poll::Ready)).await;
            if matches!(message, Message::Served { .. } | Message::Abort { .. } | Message::Luns { .. }) {
                self.receive(message);
            }
        }
        if let End::Protocol(_) = end {
            self.trace_sending();
            // The last word says why. A peer that does not take it at once goes without.
            let _ = self.send_at_once(stream).await;
        }
        self.guest = None;
    }

    fn is_quiet(&self) -> bool {
        self.slots.is_empty()
    }
}
