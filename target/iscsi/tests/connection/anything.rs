//! Any bytes: nothing panics, nothing stands still, nothing is answered beyond the room there is. The seed of a failing case
//! is printed; `PROPTEST_RNG_SEED` sets another.

use iesp_iscsi::connection::{OUTBOX_MIN, Received};
use iesp_iscsi::pdu::{DataOut, RESERVED_TAG, TaskFunction};
use iesp_iscsi::{Collect, Command, Connection, Event, Limits, Outbox, TaskId, Timeouts};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use crate::initiator::{INITIATOR, Initiator};
use crate::pair::{Site, limits};

const TASKS: usize = 8;

fn config() -> ProptestConfig {
    let default = ProptestConfig { cases: 400, ..ProptestConfig::default() };
    let rng_seed = if default.rng_seed == RngSeed::Random { RngSeed::Fixed(7143) } else { default.rng_seed };
    ProptestConfig { rng_seed, failure_persistence: None, ..default }
}

/// A driver that answers everything, at a time that depends on the task alone; what it saw, in short.
struct Driver {
    target: Connection<TASKS>,
    input: Vec<u8>,
    /// Units that came before their turn, and those whose turn has come.
    early: Vec<(u32, Vec<u8>)>,
    ready: Vec<Vec<u8>>,
    placing: Option<(TaskId, u32, usize)>,
    log: Vec<String>,
    sent: Vec<u8>,
    ended: bool,
}

impl Driver {
    fn new(limits: Limits) -> Self {
        Self {
            target: Connection::new(limits, Timeouts::default(), 7, 0),
            input: Vec::new(),
            early: Vec::new(),
            ready: Vec::new(),
            placing: None,
            log: Vec::new(),
            sent: Vec::new(),
            ended: false,
        }
    }

    /// More bytes; takes all units that are whole.
    fn feed(&mut self, bytes: &[u8]) {
        self.input.extend(bytes);
        let mut steps = 0;
        while !self.ended && self.step() {
            steps += 1;
            assert!(steps <= 2 * self.input.len() + 10_000, "it goes on for ever");
        }
    }

    fn step(&mut self) -> bool {
        // Just as much room as the connection asks for: more would hide that it takes more.
        let mut buffer = vec![0; OUTBOX_MIN.max(8192 + 64)];
        let mut out = Outbox::new(&mut buffer, 0);
        let goes_on = self.advance(&mut out);
        let len = out.len();
        self.sent.extend(&buffer[..len]);
        goes_on
    }

    fn advance(&mut self, out: &mut Outbox<'_>) -> bool {
        if let Some((task, offset, len)) = self.placing {
            let all = len + self.target.trailer_len();
            if self.input.len() < all {
                return false;
            }
            self.placing = None;
            let unit: Vec<u8> = self.input.drain(..all).collect();
            match self.target.placed(&unit[..len], &unit[len..], out) {
                Ok(Event::Data { complete, .. }) => self.data(task, offset, &unit[..len], complete, out),
                Ok(Event::DataFault { task, fault }) => self.fault(task, &format!("{fault:?}"), out),
                Ok(event) => panic!("{event:?}"),
                Err(close) => self.close(&close.to_string()),
            }
            return true;
        }
        if self.ready.is_empty() {
            let expected = self.target.expected_cmd_sn();
            let ready = self.early.extract_if(.., |(cmd_sn, _)| *cmd_sn == expected);
            self.ready.extend(ready.map(|(_, unit)| unit));
        }
        if let Some(unit) = (!self.ready.is_empty()).then(|| self.ready.remove(0)) {
            self.take(&unit, out);
            return true;
        }
        let input = std::mem::take(&mut self.input);
        let consumed = self.take(&input, out);
        self.input = input;
        self.input.drain(..consumed);
        consumed > 0
    }

    /// How many bytes were taken.
    fn take(&mut self, input: &[u8], out: &mut Outbox<'_>) -> usize {
        let (consumed, event) = match self.target.next(0, input, out, &mut Site) {
            Ok(Received::Incomplete { need }) => {
                assert!(need > input.len());
                assert!(need <= <Connection<TASKS>>::largest_unit(&limits()), "{need}");
                return 0;
            }
            Ok(Received::Full) => panic!("an empty outbox is full"),
            Ok(Received::Unit { consumed, event }) => (consumed, event),
            Err(close) => {
                self.close(&close.to_string());
                return 0;
            }
        };
        assert!((1..=input.len()).contains(&consumed));
        match event {
            Event::Handled => {}
            Event::LoggedIn => self.log.push("logged in".into()),
            Event::Command(command) => {
                let Command { task, fault, .. } = command;
                let immediate = command.immediate_data;
                self.log.push(format!("{task:?} {:02x?} {} {fault:?}", command.cdb, immediate.len()));
                assert!(fault.is_some() || immediate.len() <= command.data_out as usize);
                if fault.is_some() {
                    self.target.respond(task, out, 2, &[0x70; 18], 0);
                } else if self.target.collect(task, command.data_out, out) == Collect::Complete {
                    self.end(task, command.data_in, out);
                }
            }
            Event::Data { task, offset, data, complete } => self.data(task, offset, data, complete, out),
            Event::Place { task, offset, len } => self.placing = Some((task, offset, len as usize)),
            Event::DataFault { task, fault } => self.fault(task, &format!("{fault:?}"), out),
            Event::TaskManagement(request, named) => {
                self.log.push(format!("{:?} {named:?}", request.function));
                if let Some(task) = named {
                    self.target.forget(task);
                }
                self.target.task_response(&request, iesp_iscsi::pdu::TaskResult::Complete, out);
            }
            Event::Logout => {
                self.target.logout_response(out);
                self.close("logged out");
            }
            Event::Early { cmd_sn } => {
                assert!(self.early.len() < 1000, "no bound");
                self.early.push((cmd_sn, input[..consumed].to_vec()));
            }
        }
        consumed
    }

    fn data(&mut self, task: TaskId, offset: u32, data: &[u8], complete: bool, out: &mut Outbox<'_>) {
        // Received in place or not depends on how the bytes came.
        self.log.push(format!("{task:?} at {offset}: {:08x}", iesp_iscsi::digest::digest(data)));
        if complete {
            self.end(task, 0, out);
        }
    }

    fn fault(&mut self, task: TaskId, fault: &str, out: &mut Outbox<'_>) {
        self.log.push(format!("{task:?} {fault}"));
        self.target.respond(task, out, 2, &[0x70; 18], 0);
    }

    fn end(&mut self, task: TaskId, data_in: u32, out: &mut Outbox<'_>) {
        let len = self.target.data_in_len(task, (data_in as usize).min(512));
        if len == 0 {
            return self.target.respond(task, out, 0, &[], 0);
        }
        out.data_room(self.target.digests(), len).expect("room for a small answer").fill(3);
        self.target.data_in(task, out, len, Some(len as u32));
    }

    fn close(&mut self, why: &str) {
        self.log.push(why.to_owned());
        self.ended = true;
    }
}

/// What an initiator may do next.
#[derive(Debug, Clone)]
enum Act {
    Read(u32),
    Write { len: u32, immediate: u16, unsolicited: bool },
    DataOut { task: u8, ttt: Option<u32>, data_sn: u8, offset: u32, len: u16, last: bool },
    Ping(u16, bool),
    Abort(u8),
    Reset,
    Text,
    Skip,
    Repeat,
    Logout,
}

/// Lengths that fit together often enough for a write to go on.
fn len() -> impl Strategy<Value = u32> {
    prop_oneof![Just(512), Just(4096), Just(8192), Just(12_288), 0..70_000u32]
}

/// A Target Transfer Tag as this target makes them: generation, R2TSN, place.
fn ttt() -> impl Strategy<Value = u32> {
    (0..2u32, 0..3u32, 0..4u32).prop_map(|(generation, r2t_sn, place)| generation << 16 | r2t_sn << 9 | place)
}

fn data_out() -> impl Strategy<Value = Act> {
    let offset = prop_oneof![3 => Just(0), 1 => Just(4096), 1 => 0..20_000u32];
    let last = prop::bool::weighted(0.7);
    let data_sn = prop_oneof![3 => Just(0), 1 => 0..3u8];
    (0..6u8, prop::option::of(ttt()), data_sn, offset, len(), last).prop_map(
        |(task, ttt, data_sn, offset, len, last)| Act::DataOut {
            task,
            ttt,
            data_sn,
            offset,
            len: len.min(8200) as u16,
            last,
        },
    )
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        4 => (0..70_000u32).prop_map(Act::Read),
        4 => (len(), prop_oneof![Just(0), 0..9000u16], any::<bool>())
            .prop_map(|(len, immediate, unsolicited)| Act::Write { len, immediate, unsolicited }),
        6 => data_out(),
        2 => (0..9000u16, any::<bool>()).prop_map(|(len, immediate)| Act::Ping(len, immediate)),
        2 => (0..8u8).prop_map(Act::Abort),
        1 => Just(Act::Reset),
        1 => Just(Act::Text),
        1 => Just(Act::Skip),
        1 => Just(Act::Repeat),
        1 => Just(Act::Logout),
    ]
}

/// The bytes of a session that logs in and acts so.
fn session(digests: bool, acts: &[Act]) -> Vec<u8> {
    let mut initiator = Initiator::default();
    let word = if digests { "CRC32C" } else { "None" };
    let pairs = format!(
        "InitiatorName={INITIATOR} TargetName=test SessionType=Normal InitialR2T=No HeaderDigest={word} DataDigest={word} \
         FirstBurstLength=8192 MaxBurstLength=16384 MaxRecvDataSegmentLength=8192"
    );
    let stage = iesp_iscsi::pdu::Stage::OperationalNegotiation;
    let mut bytes = initiator.login(stage, iesp_iscsi::pdu::Stage::FullFeaturePhase, &pairs);
    initiator.digests = iesp_iscsi::outbox::Digests { header: digests, data: digests };
    let mut last = Vec::new();
    for act in acts {
        let unit = match act {
            Act::Read(len) => {
                let read = initiator.read(&[8], *len);
                initiator.unit(&read.emit(), &[])
            }
            Act::Write { len, immediate, unsolicited } => {
                let mut write = initiator.write(&[10], *len);
                write.is_final = !unsolicited;
                initiator.unit(&write.emit(), &vec![9; usize::from(*immediate)])
            }
            Act::DataOut { task, ttt, data_sn, offset, len, last } => {
                let unit = DataOut {
                    is_final: *last,
                    lun: 0,
                    itt: u32::from(*task) + 2,
                    ttt: ttt.unwrap_or(RESERVED_TAG),
                    exp_stat_sn: 0,
                    data_sn: (*data_sn).into(),
                    offset: *offset,
                };
                initiator.unit(&unit.emit(), &vec![*data_sn; usize::from(*len)])
            }
            Act::Ping(len, immediate) => {
                let ping = initiator.ping(*immediate);
                initiator.unit(&ping.emit(), &vec![1; usize::from(*len)])
            }
            Act::Abort(task) => {
                let number = u32::from(*task);
                let request = initiator.manage(TaskFunction::AbortTask, number + 2, number + 1);
                initiator.unit(&request.emit(), &[])
            }
            Act::Reset => {
                let request = initiator.manage(TaskFunction::LogicalUnitReset, 0, 0);
                initiator.unit(&request.emit(), &[])
            }
            Act::Text => {
                let request = initiator.text_request();
                initiator.unit(&request.emit(), b"SendTargets=\0X-key=1\0")
            }
            Act::Skip => {
                initiator.cmd_sn += 1;
                Vec::new()
            }
            Act::Repeat => last.clone(),
            Act::Logout => {
                let logout = initiator.logout(iesp_iscsi::pdu::LogoutReason::CloseSession);
                initiator.unit(&logout.emit(), &[])
            }
        };
        bytes.extend(&unit);
        last = unit;
    }
    bytes
}

proptest! {
    #![proptest_config(config())]

    /// Bytes that mean nothing, before the login.
    #[test]
    fn noise(pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..20)) {
        let mut driver = Driver::new(limits());
        pieces.iter().for_each(|piece| driver.feed(piece));
    }

    /// A connection that is renewed has nothing of the one before it, however that ended.
    #[test]
    fn a_renewed_connection_is_a_new_one(
        before in prop::collection::vec(act(), 0..20),
        cut in 0.0..1.0,
        digests: (bool, bool),
        acts in prop::collection::vec(act(), 0..20),
    ) {
        let (before, bytes) = (session(digests.0, &before), session(digests.1, &acts));
        let mut used = Driver::new(limits());
        used.feed(&before[..(before.len() as f64 * cut) as usize]);
        let mut renewed = Driver { target: used.target, ..Driver::new(limits()) };
        renewed.target.renew(limits(), Timeouts::default(), 7, 0);
        let mut new = Driver::new(limits());
        prop_assert_eq!(format!("{:?}", renewed.target), format!("{:?}", new.target));
        renewed.feed(&bytes);
        new.feed(&bytes);
        prop_assert_eq!((renewed.log, renewed.sent), (new.log, new.sent));
    }

    /// Bytes that mean nothing, in full feature phase: headers with right lengths, so that they are looked at.
    #[test]
    fn noise_after_the_login(
        digests: bool,
        units in prop::collection::vec((any::<[u8; 24]>(), any::<[u8; 24]>(), 0..40usize), 1..40),
    ) {
        let mut driver = Driver::new(limits());
        driver.feed(&session(digests, &[]));
        let digests = driver.target.digests();
        for (first, second, len) in units {
            let mut bhs = iesp_iscsi::pdu::Bhs([first, second].concat().try_into().expect("48 bytes"));
            // Every other one with an opcode of an initiator's, its CmdSN in the window.
            if first[1] & 1 != 0 {
                bhs.0[0] = (bhs.0[0] & 0x40) | (first[2] % 7);
            }
            if first[1] & 2 != 0 {
                let cmd_sn = driver.target.expected_cmd_sn().wrapping_add(u32::from(first[3] % 3));
                bhs.0[24..28].copy_from_slice(&cmd_sn.to_be_bytes());
            }
            driver.feed(&crate::initiator::frame(digests, &bhs, &[], &vec![0x41; len]));
        }
    }

    /// A session that keeps to the form of everything, and to the rules as it happens.
    #[test]
    fn sessions(digests: bool, acts in prop::collection::vec(act(), 0..40)) {
        let mut driver = Driver::new(limits());
        driver.feed(&session(digests, &acts));
    }

    /// The same with some bytes changed, left out or doubled.
    #[test]
    fn spoilt_sessions(
        digests: bool,
        acts in prop::collection::vec(act(), 1..30),
        faults in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..3u8), 1..6),
    ) {
        let mut bytes = session(digests, &acts);
        for (at, value, kind) in faults {
            let at = at.index(bytes.len());
            match kind {
                0 => bytes[at] ^= value | 1,
                1 => drop(bytes.remove(at)),
                _ => bytes.insert(at, value),
            }
        }
        let mut driver = Driver::new(limits());
        driver.feed(&bytes);
    }

    /// How the bytes are cut makes no difference: not to what the driver sees, not to what is sent.
    #[test]
    fn cuts_make_no_difference(
        digests: bool,
        acts in prop::collection::vec(act(), 0..20),
        cuts in prop::collection::vec(1..3000usize, 1..20),
    ) {
        let bytes = session(digests, &acts);
        let mut whole = Driver::new(limits());
        whole.feed(&bytes);
        let mut cut = Driver::new(limits());
        let mut rest = &bytes[..];
        for len in cuts.iter().cycle() {
            let (piece, behind) = rest.split_at((*len).min(rest.len()));
            cut.feed(piece);
            rest = behind;
            if rest.is_empty() {
                break;
            }
        }
        prop_assert_eq!(&whole.log, &cut.log);
        prop_assert_eq!(&whole.sent, &cut.sent);
    }

}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..config() })]

    /// Byte by byte.
    #[test]
    fn single_bytes_make_no_difference(digests: bool, acts in prop::collection::vec(act(), 0..6)) {
        let bytes = session(digests, &acts);
        let mut whole = Driver::new(limits());
        whole.feed(&bytes);
        let mut single = Driver::new(limits());
        bytes.iter().for_each(|byte| single.feed(&[*byte]));
        prop_assert_eq!(&whole.log, &single.log);
        prop_assert_eq!(&whole.sent, &single.sent);
    }
}
