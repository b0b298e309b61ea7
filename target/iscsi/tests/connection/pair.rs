//! Both ends: the test is the initiator and the driver of the target.

use std::collections::VecDeque;
use std::net::SocketAddr;

use iesp_iscsi::connection::{OUTBOX_MIN, Received};
use iesp_iscsi::login::{Admission, Environment};
use iesp_iscsi::outbox::Digests;
use iesp_iscsi::pdu::{Bhs, LoginStatus, RejectReason, ScsiCommand, Stage, TaskRequest};
use iesp_iscsi::{Close, Collect, CommandFault, Connection, Event, Limits, Outbox, TaskId, Timeouts};

use crate::initiator::{Answer, INITIATOR, Initiator};

/// Tasks of the connection; two of them are kept for immediate commands.
pub const TASKS: usize = 8;
/// MaxCmdSN - ExpCmdSN + 1 where there is no task.
pub const WINDOW: u32 = 6;

/// A target that lets everybody in.
pub struct Site;

impl Environment for Site {
    fn random(&mut self, bytes: &mut [u8]) {
        bytes.fill(0x5a);
    }

    fn admit(&self, _: &str, target: Option<&str>) -> Admission {
        if target.is_none_or(|name| name == "test") { Admission::Open } else { Admission::NotFound }
    }

    fn has_room(&self, _: &str, _: [u8; 6], _: Option<&str>) -> bool {
        true
    }

    fn has_session(&self, _: &str, _: [u8; 6], _: Option<&str>, _: u16) -> bool {
        false
    }

    fn initiator_secret(&self, _: &str, _: Option<&str>, _: &str, _: &mut dyn FnMut(&[u8])) {}

    fn target_secret(&self, _: &str, _: Option<&str>, _: &mut dyn FnMut(&str, &[u8])) {}

    fn target(&self, index: usize) -> Option<&str> {
        (index == 0).then_some("test")
    }

    fn portal(&self, _: usize, index: usize) -> Option<(SocketAddr, u16)> {
        (index == 0).then(|| (SocketAddr::from(([127, 0, 0, 1], 3260)), 1))
    }

    fn portal_group_tag(&self) -> u16 {
        1
    }

    fn alias(&self, _target: Option<&str>) -> Option<&str> {
        None
    }
}

/// An event, with copies of what it borrowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    Command {
        task: TaskId,
        cdb: [u8; 16],
        immediate: Vec<u8>,
        data_in: u32,
        data_out: u32,
        fault: Option<CommandFault>,
    },
    /// `placed`: it was received in place.
    Data {
        task: TaskId,
        offset: u32,
        data: Vec<u8>,
        complete: bool,
        placed: bool,
    },
    /// The data of a unit have a place.
    Place {
        task: TaskId,
        offset: u32,
        len: u32,
    },
    Fault(TaskId, CommandFault),
    Task(TaskRequest, Option<TaskId>),
    Logout,
    Early(u32),
    LoggedIn,
}

/// An initiator, a target's connection, and what is on its way.
pub struct Pair {
    pub initiator: Initiator,
    pub target: Connection<TASKS>,
    pub now: u64,
    /// Bytes that the target has not taken.
    wire: Vec<u8>,
    /// Units that came before their turn.
    early: Vec<(u32, Vec<u8>)>,
    /// Those whose turn has come.
    ready: VecDeque<Vec<u8>>,
    /// All data of a write are asked for as soon as it comes.
    pub eager: bool,
    /// Bytes and trailing bytes of the unit that is being placed.
    placing: Option<(usize, usize)>,
}

/// What sessions here settle on: small numbers, so that each limit is met soon.
pub fn limits() -> Limits {
    Limits {
        max_recv_data_segment_length: 8192,
        max_burst_length: 16384,
        first_burst_length: 8192,
        max_outstanding_r2t: 2,
        ..Limits::default()
    }
}

/// Keys of an initiator whose own limits are smaller still.
pub const KEYS: &str = "MaxRecvDataSegmentLength=4096 MaxBurstLength=16384 FirstBurstLength=8192 InitialR2T=Yes \
    ImmediateData=Yes MaxOutstandingR2T=2";

impl Pair {
    /// Before the login.
    pub fn new(limits: Limits) -> Self {
        let target = Connection::new(limits, Timeouts::default(), 7, 0);
        let (wire, early, ready) = (Vec::new(), Vec::new(), VecDeque::new());
        Self { initiator: Initiator::default(), target, now: 0, wire, early, ready, eager: false, placing: None }
    }

    /// A normal session.
    pub fn full() -> Self {
        Self::with(limits(), KEYS)
    }

    /// A normal session with these limits and keys.
    pub fn with(limits: Limits, keys: &str) -> Self {
        let mut pair = Self::new(limits);
        let response = pair.log_in(&format!("InitiatorName={INITIATOR} TargetName=test SessionType=Normal {keys}"));
        assert!(response.contains("TargetPortalGroupTag=1"), "{response}");
        pair
    }

    pub fn log_in(&mut self, pairs: &str) -> String {
        let request = self.initiator.login(Stage::OperationalNegotiation, Stage::FullFeaturePhase, pairs);
        assert_eq!(self.send(&request), [Seen::LoggedIn]);
        let Answer::Login(response, text) = self.answer() else { panic!("no Login Response") };
        assert_eq!((response.status, response.tsih), (LoginStatus::Success, 7));
        let has = |pair: &str| text.split(' ').any(|other| other == pair);
        self.initiator.digests = Digests { header: has("HeaderDigest=CRC32C"), data: has("DataDigest=CRC32C") };
        assert_eq!(self.initiator.digests, self.target.digests());
        text
    }

    /// Bytes on their way to the target, which takes all that are whole.
    #[track_caller]
    pub fn send(&mut self, bytes: &[u8]) -> Vec<Seen> {
        self.try_send(bytes).expect("the connection goes on")
    }

    pub fn try_send(&mut self, bytes: &[u8]) -> Result<Vec<Seen>, Close> {
        self.wire.extend(bytes);
        let mut seen = Vec::new();
        while let Some(event) = self.step()? {
            seen.extend(event);
        }
        Ok(seen)
    }

    /// The connection ends by these bytes.
    #[track_caller]
    pub fn close(&mut self, bytes: &[u8]) -> Close {
        self.try_send(bytes).expect_err("the connection ends")
    }

    /// One unit: `None` where none is whole, `Some(None)` where there was nothing to see.
    fn step(&mut self) -> Result<Option<Option<Seen>>, Close> {
        if self.placing.is_some() {
            return self.place();
        }
        if self.ready.is_empty() {
            let expected = self.target.expected_cmd_sn();
            let ready = self.early.extract_if(.., |(cmd_sn, _)| *cmd_sn == expected);
            self.ready.extend(ready.map(|(_, unit)| unit));
        }
        if let Some(unit) = self.ready.pop_front() {
            return self.take(&unit, true).map(|(_, seen)| Some(seen));
        }
        let wire = std::mem::take(&mut self.wire);
        let taken = self.take(&wire, false);
        self.wire = wire;
        let (consumed, seen) = taken?;
        self.wire.drain(..consumed);
        Ok((consumed > 0).then_some(seen))
    }

    /// The rest of a unit whose data have a place, once it is whole.
    fn place(&mut self) -> Result<Option<Option<Seen>>, Close> {
        let Some((len, trailer)) = self.placing.filter(|(len, trailer)| self.wire.len() >= len + trailer) else {
            return Ok(None);
        };
        self.placing = None;
        let unit: Vec<u8> = self.wire.drain(..len + trailer).collect();
        let event = self.with_outbox(|target, out| match target.placed(&unit[..len], &unit[len..], out) {
            Ok(Event::Data { task, offset, data: [], complete }) => {
                Ok(Seen::Data { task, offset, data: unit[..len].to_vec(), complete, placed: true })
            }
            Ok(Event::DataFault { task, fault }) => Ok(Seen::Fault(task, fault)),
            Ok(other) => panic!("{other:?}"),
            Err(close) => Err(close),
        });
        event.map(|seen| Some(Some(seen)))
    }

    fn take(&mut self, wire: &[u8], early: bool) -> Result<(usize, Option<Seen>), Close> {
        let now = self.now;
        let received = self.with_outbox(|target, out| {
            if early { target.turn(now, wire, out, &mut Site) } else { target.next(now, wire, out, &mut Site) }
        });
        let (consumed, event) = match received? {
            Received::Incomplete { need } => {
                assert!(need > wire.len(), "{need} bytes are there");
                return Ok((0, None));
            }
            Received::Full => panic!("an empty outbox is full"),
            Received::Unit { consumed, event } => (consumed, event),
        };
        let seen = self.see(event, &wire[..consumed]);
        if self.eager
            && let Some(Seen::Command { task, data_out, fault: None, .. }) = seen
        {
            self.collect(task, data_out);
        }
        Ok((consumed, seen))
    }

    fn see(&mut self, event: Event<'_>, unit: &[u8]) -> Option<Seen> {
        Some(match event {
            Event::Handled => return None,
            Event::LoggedIn => Seen::LoggedIn,
            Event::Command(command) => Seen::Command {
                task: command.task,
                cdb: command.cdb,
                immediate: command.immediate_data.to_vec(),
                data_in: command.data_in,
                data_out: command.data_out,
                fault: command.fault,
            },
            Event::Data { task, offset, data, complete } => {
                Seen::Data { task, offset, data: data.to_vec(), complete, placed: false }
            }
            Event::DataFault { task, fault } => Seen::Fault(task, fault),
            Event::TaskManagement(request, named) => Seen::Task(request, named),
            Event::Logout => Seen::Logout,
            Event::Early { cmd_sn } => {
                self.early.push((cmd_sn, unit.to_vec()));
                Seen::Early(cmd_sn)
            }
            Event::Place { task, offset, len } => {
                self.placing = Some((len as usize, self.target.trailer_len()));
                Seen::Place { task, offset, len }
            }
        })
    }

    /// Calls the target with an empty outbox; what it fills goes to the initiator.
    pub fn with_outbox<T>(&mut self, call: impl FnOnce(&mut Connection<TASKS>, &mut Outbox<'_>) -> T) -> T {
        let mut bytes = vec![0; OUTBOX_MIN + 8192];
        let mut out = Outbox::new(&mut bytes, 0);
        let result = call(&mut self.target, &mut out);
        let len = out.len();
        self.initiator.receive(&bytes[..len]);
        result
    }

    /// Whole units on their way.
    #[track_caller]
    pub fn unit(&mut self, bhs: &Bhs, data: &[u8]) -> Vec<Seen> {
        let unit = self.initiator.unit(bhs, data);
        self.send(&unit)
    }

    /// A command with immediate data, and its task.
    #[track_caller]
    pub fn command(&mut self, command: &ScsiCommand, data: &[u8]) -> TaskId {
        match &self.unit(&command.emit(), data)[..] {
            [Seen::Command { task, fault: None, .. }] => *task,
            other => panic!("{other:?}"),
        }
    }

    /// What the target's driver does with a write: how it goes on.
    pub fn collect(&mut self, task: TaskId, wanted: u32) -> Collect {
        self.with_outbox(|target, out| target.collect(task, wanted, out))
    }

    /// Ends a task.
    pub fn respond(&mut self, task: TaskId, status: u8, sense: &[u8], wanted: u32) {
        self.with_outbox(|target, out| target.respond(task, out, status, sense, wanted));
    }

    /// Sends what a task reads as the target's driver does it, in as few units as may be; `wanted` is what the device
    /// server would have sent.
    pub fn read(&mut self, task: TaskId, data: &[u8], wanted: u32) {
        let mut at = 0;
        while at < data.len() {
            let len = self.target.data_in_len(task, data.len() - at);
            assert!(len > 0);
            self.with_outbox(|target, out| {
                let room = out.data_room(target.digests(), len).expect("room");
                room.copy_from_slice(&data[at..at + len]);
                target.data_in(task, out, len, (at + len == data.len()).then_some(wanted));
            });
            at += len;
        }
    }

    /// The next answer.
    #[track_caller]
    pub fn answer(&mut self) -> Answer {
        self.initiator.answer().expect("an answer")
    }

    /// All answers that there are.
    pub fn answers(&mut self) -> Vec<Answer> {
        std::iter::from_fn(|| self.initiator.answer()).collect()
    }

    /// The one answer that there is: a Reject, its reason; the header that it carries is `bhs` as it was sent.
    #[track_caller]
    pub fn rejected(&mut self, bhs: &Bhs, len: usize) -> RejectReason {
        let mut sent = *bhs;
        sent.set_data_len(len);
        match &self.answers()[..] {
            [Answer::Reject(reject, header)] => {
                assert_eq!(*header, sent);
                reject.reason
            }
            other => panic!("{other:?}"),
        }
    }
}
