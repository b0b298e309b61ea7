//! Initiators of all kinds.

use std::collections::HashMap;
use std::rc::Rc;

use embedded_io_async::{Read, Write};
use iesp_simulator::node::{Disk, Listener};
use iesp_simulator::time::{now_us, sleep_until_us};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use crate::session::{Ended, Gone, Session};
use crate::world::{BLOCKS, BOUND_US, FIRST, LUNS, PRIZE, WIDTH, World, count};

/// Blocks of the last logical unit that cannot be read.
pub const UNREADABLE: std::ops::Range<u64> = FIRST + 3..FIRST + 5;

const GOOD: u8 = 0x00;
const CHECK_CONDITION: u8 = 0x02;
const TASK_SET_FULL: u8 = 0x28;
const MISCOMPARE: u8 = 0x0e;

/// Random numbers of an actor.
pub struct Dice(ChaCha8Rng);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(ChaCha8Rng::seed_from_u64(seed))
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        self.0.next_u64() % limit
    }
}

/// What an actor needs.
pub struct Actor {
    pub world: Rc<World>,
    pub listener: Listener,
    pub number: u8,
    pub dice: Dice,
    pub delay_us: u64,
}

/// A command of a well-behaved initiator.
struct Command {
    kind: Kind,
    lun: u8,
    lba: u64,
    blocks: u64,
    value: u64,
    old: u64,
    began: u64,
    began_us: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Read,
    Write,
    Swap,
    Flush,
    Verify,
}

pub fn block(value: u64) -> Vec<u8> {
    value.to_be_bytes().repeat(64)
}

/// The value of each block; the run fails where one is torn.
pub fn values(data: &[u8]) -> Vec<u64> {
    let value = |block: &[u8]| {
        let value = u64::from_be_bytes(*block.first_chunk().expect("a block"));
        assert!(block.chunks(8).all(|word| word == value.to_be_bytes()), "a block is torn: {value:x}");
        value
    };
    data.chunks(512).map(value).collect()
}

pub fn sixteen(opcode: u8, flags: u8, lba: u64, blocks: u32) -> [u8; 16] {
    let mut cdb = [0; 16];
    (cdb[0], cdb[1]) = (opcode, flags);
    cdb[2..10].copy_from_slice(&lba.to_be_bytes());
    cdb[10..14].copy_from_slice(&blocks.to_be_bytes());
    cdb
}

impl Actor {
    async fn pause(&mut self, most_us: u64) {
        let us = 1 + self.dice.below(most_us);
        sleep_until_us(now_us() + us).await;
    }

    /// Logs in, again and again until there is a place.
    async fn log_in(&mut self) -> Session {
        loop {
            self.world.login_begins(self.number);
            if let Some(session) = Session::login(&self.listener, self.number, self.delay_us).await {
                self.world.logged_in(self.number);
                return session;
            }
            self.pause(20_000).await;
        }
    }

    /// The first command at each logical unit is told of the power on, and none after it.
    async fn greet(&mut self, session: &mut Session) -> Result<(), Gone> {
        for lun in 0..LUNS {
            let ended = session.run(lun, &[0], 0, &[], BOUND_US).await?;
            assert_eq!(ended.code(), (6, 0x29, 0), "the first command of a session");
            let began = self.world.event();
            let ended = session.run(lun, &[0], 0, &[], BOUND_US).await?;
            match ended.code() {
                (6, 0x2a, 1) => self.world.attention(self.number, lun, began),
                _ => {
                    assert!(ended.is_good(), "told twice of the power on: {:?}", ended.code());
                    self.world.no_attention(self.number, lun, began);
                }
            }
        }
        Ok(())
    }

    /// Reads and writes with up to `depth` commands at once; reconnects now and then.
    pub async fn behave_well(mut self, depth: usize, races: bool) {
        let mut session = self.log_in().await;
        loop {
            let gone = self.session(&mut session, depth, races).await.is_err();
            // Reinstatement: the old connection is still there, but not for long.
            let old = (!gone && self.dice.below(2) == 0).then_some(session);
            session = self.log_in().await;
            drop(old);
        }
    }

    async fn session(&mut self, session: &mut Session, depth: usize, races: bool) -> Result<(), Gone> {
        self.greet(session).await?;
        let mut under_way: HashMap<u32, Command> = HashMap::new();
        // What the prize was when it was seen last.
        let mut seen = 0;
        loop {
            if self.dice.below(400) == 0 {
                // It goes away in the middle of everything.
                return Ok(());
            }
            while under_way.len() < depth && session.has_room() {
                let command = self.choose(races, seen);
                let itt = self.begin(session, &command).await?;
                under_way.insert(itt, command);
            }
            let ended = session.next(BOUND_US).await?;
            let command = under_way.remove(&ended.itt).expect("a command that is under way");
            self.check(&command, &ended, &mut seen);
            if self.dice.below(50) == 0 {
                self.pause(5_000).await;
            }
        }
    }

    fn choose(&mut self, races: bool, seen: u64) -> Command {
        let kind = match self.dice.below(20) {
            _ if races => {
                if self.dice.below(2) == 0 {
                    Kind::Read
                } else {
                    Kind::Swap
                }
            }
            0 => Kind::Flush,
            1 => Kind::Verify,
            2..11 => Kind::Read,
            _ => Kind::Write,
        };
        let lun = if races { 0 } else { self.dice.below(LUNS.into()) as u8 };
        let lba = if races { PRIZE } else { FIRST + self.dice.below(WIDTH) };
        let blocks = if races { 1 } else { 1 + self.dice.below((FIRST + WIDTH - lba).min(8)) };
        let began = self.world.event();
        // Of which block it is says its place: each value is written once.
        let value = began << 8 | u64::from(self.number);
        Command { kind, lun, lba, blocks, value, old: seen, began, began_us: now_us() }
    }

    async fn begin(&mut self, session: &mut Session, command: &Command) -> Result<u32, Gone> {
        let Command { kind, lun, lba, blocks, value, old, began, .. } = *command;
        let len = blocks as u32 * 512;
        let fua = self.dice.below(8) == 0;
        let flags = if fua { 0x08 } else { 0 };
        let (cdb, data_in, out) = match kind {
            Kind::Read => (sixteen(0x88, 0, lba, blocks as u32), len, vec![]),
            Kind::Write => (sixteen(0x8a, flags, lba, blocks as u32), 0, block(value).repeat(blocks as usize)),
            Kind::Swap => {
                let mut cdb = sixteen(0x89, flags, lba, 0);
                cdb[13] = 1;
                (cdb, 0, [block(old), block(value)].concat())
            }
            Kind::Flush => (sixteen(0x91, 0, 0, 0), 0, vec![]),
            Kind::Verify => (sixteen(0x8f, 0, lba, blocks as u32), 0, vec![]),
        };
        if matches!(kind, Kind::Write | Kind::Swap) {
            for at in lba..lba + blocks {
                self.world.history.borrow_mut().begin_write((lun, at), value, began, fua);
            }
        }
        let immediate = lun > 0 || self.dice.below(3) > 0;
        let unit = session.command(lun, &cdb, data_in, out.len() as u32);
        session.begin(unit, out, immediate).await
    }

    fn check(&mut self, command: &Command, ended: &Ended, seen: &mut u64) {
        let world = Rc::clone(&self.world);
        let Command { kind, lun, lba, blocks, value, old, began, began_us } = *command;
        let now = world.event();
        let took_us = now_us() - began_us;
        assert!(took_us < BOUND_US, "a command took {took_us} µs");
        count(&world.commands);
        world.latencies.borrow_mut().push(took_us as u32);
        world.note(now_us() << 16 | u64::from(ended.status) << 8 | u64::from(self.number));
        let mut history = world.history.borrow_mut();
        let places = (lba..lba + blocks).map(|at| (lun, at));
        let writes = matches!(kind, Kind::Write | Kind::Swap);
        match (ended.status, ended.code()) {
            (CHECK_CONDITION, (6, 0x2a, 1)) => world.attention(self.number, lun, began),
            _ => world.no_attention(self.number, lun, began),
        }
        match (kind, ended.status, ended.code().0) {
            (Kind::Read, GOOD, _) => {
                assert_eq!(ended.data.len() as u64, blocks * 512);
                for (at, value) in places.zip(values(&ended.data)) {
                    history.read(at, value, began, now);
                    *seen = value;
                }
            }
            (Kind::Write | Kind::Swap, GOOD, _) => {
                for at in places {
                    history.end_write(at, value, now);
                    if kind == Kind::Swap {
                        history.swapped(at, old);
                        count(&world.swaps);
                        *seen = value;
                    }
                }
            }
            (Kind::Flush, GOOD, _) => history.flushed(lun, began),
            (Kind::Verify, GOOD, _) => {}
            (_, TASK_SET_FULL, _) | (_, CHECK_CONDITION, 6) | (Kind::Swap, CHECK_CONDITION, MISCOMPARE) => {
                world.refused.set(world.refused.get() + 1);
                places.filter(|_| writes).for_each(|at| history.cancel_write(at, value));
            }
            (Kind::Read | Kind::Verify, CHECK_CONDITION, 3)
                if lun == LUNS - 1 && lba < UNREADABLE.end && lba + blocks > UNREADABLE.start => {}
            other => panic!("{other:?} with {:?}", ended.code()),
        }
    }

    /// Changes mode parameters, so that all others are told.
    pub async fn administrate(mut self) {
        let mut descriptors = [false; LUNS as usize];
        let mut session = self.log_in().await;
        if self.greet(&mut session).await.is_err() {
            panic!("an idle session ended");
        }
        loop {
            self.pause(40_000).await;
            let lun = self.dice.below(LUNS.into()) as u8;
            let descriptor = !descriptors[usize::from(lun)];
            descriptors[usize::from(lun)] = descriptor;
            let page = [0x0a, 0x0a, 0x20 | u8::from(descriptor) << 2, 0x10, 0, 0, 0, 0, 0, 0, 0, 0];
            let list = [&[0, 0, 0, 0][..], &page].concat();
            self.world.change_begins(self.number, lun);
            let ended = session.run(lun, &[0x15, 0x10, 0, 0, 16, 0], 0, &list, BOUND_US).await;
            assert!(ended.is_ok_and(|ended| ended.is_good()), "MODE SELECT");
            self.world.change_ended(self.number, lun);
        }
    }

    /// Asks for much and takes nothing of it, or little.
    pub async fn be_deaf(mut self) {
        loop {
            let mut session = self.log_in().await;
            for _ in 0..12 {
                let lun = self.dice.below(LUNS.into()) as u8;
                let command = session.command(lun, &sixteen(0x88, 0, FIRST - 64, 256), 256 * 512, 0);
                if session.begin(command, vec![], false).await.is_err() {
                    break;
                }
            }
            // A write whose data never come.
            let command = session.command(0, &sixteen(0x8a, 0, 0, 64), 0, 64 * 512);
            let _ = session.begin(command, vec![], false).await;
            let until = now_us() + 1 + self.dice.below(15_000_000);
            let drips = self.dice.below(2) == 0;
            while now_us() < until {
                sleep_until_us(now_us() + 50_000).await;
                let mut little = [0; 300];
                if drips && session.io.read(&mut little).await.is_ok_and(|count| count == 0) {
                    break;
                }
            }
        }
    }

    /// Sends what no initiator sends.
    pub async fn be_hostile(mut self) {
        loop {
            self.pause(100_000).await;
            let mut io = self.listener.connect(self.delay_us);
            if self.dice.below(2) == 0 {
                let mut session = self.log_in().await;
                let command = session.command(0, &sixteen(0x88, 0, FIRST, 8), 4096, 0);
                let mut unit = session.initiator.unit(&command.emit(), &[]);
                for _ in 0..1 + self.dice.below(4) {
                    let at = self.dice.below(unit.len() as u64) as usize;
                    // None of these writes: the models would not know.
                    if at < 32 && at != 1 {
                        unit[at] ^= 1 << self.dice.below(8);
                    }
                }
                unit[32] = 0x88;
                let _ = session.send(&unit).await;
                io = session.io;
            } else {
                let noise: Vec<u8> = (0..self.dice.below(300)).map(|_| self.dice.below(256) as u8).collect();
                let _ = io.write_all(&noise).await;
            }
            self.pause(2_000_000).await;
        }
    }
}

/// The disk answers nothing for a while, now and then.
pub async fn freeze(disk: Disk, mut dice: Dice) {
    loop {
        sleep_until_us(now_us() + 1 + dice.below(3_000_000)).await;
        disk.freeze(dice.below(300_000));
    }
}

/// After a power cut: what the blocks hold, which has to be nothing that was replaced for good.
pub async fn audit(listener: Listener, world: Rc<World>) {
    let mut session = Session::login(&listener, 99, 100).await.expect("the target is there again");
    let mut found = std::collections::BTreeMap::new();
    for lun in 0..LUNS {
        let ended = session.run(lun, &[0], 0, &[], BOUND_US).await.expect("a session");
        assert_eq!(ended.code(), (6, 0x29, 0));
        for lba in (FIRST..=PRIZE).step_by(1) {
            let cdb = sixteen(0x88, 0, lba, 1);
            let ended = session.run(lun, &cdb, 512, &[], BOUND_US).await.expect("a session");
            assert!(ended.is_good(), "{:?}", ended.code());
            let value = values(&ended.data)[0];
            if let Err(lost) = world.history.borrow().may_survive((lun, lba), value) {
                panic!("after a power cut {lost}");
            }
            found.insert((lun, lba), value);
        }
    }
    assert!(u64::from(BLOCKS) > PRIZE);
    world.history.borrow_mut().restart(found);
}
