//! Several sessions that do everything at once, abort, reset and go away: in the end each one's place is free again.

mod support;

use std::collections::HashSet;
use std::net::SocketAddr;

use iesp_iscsi::pdu::{Opcode, RESERVED_TAG, ScsiCommand, TaskAttribute, TaskFunction};
use support::client::KEYS;
use support::initiator::Answer;
use support::process::{folder, image};
use support::{Client, Iesp, cdb};

/// Blocks of the disk, few, so that ranges overlap.
const BLOCKS: u64 = 2048;

/// A generator of Marsaglia's.
struct Dice(u64);

impl Dice {
    fn throw(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
}

/// A session that does not wait.
struct Chaos {
    client: Client,
    dice: Dice,
    /// Commands that may still be answered.
    open: HashSet<u32>,
    /// How many commands the window takes where there is none.
    window: u32,
}

impl Chaos {
    fn login(address: SocketAddr, number: u8, seed: u64) -> Self {
        let mut dice = Dice(seed);
        let mut keys = KEYS.replace("MaxOutstandingR2T=1", "MaxOutstandingR2T=4");
        if dice.throw(2) == 0 {
            keys = keys.replace("Digest=None", "Digest=CRC32C");
        }
        if dice.throw(2) == 0 {
            keys = keys
                .replace("MaxBurstLength=1048576", "MaxBurstLength=8192")
                .replace("FirstBurstLength=262144", "FirstBurstLength=4096");
        }
        let mut client = Client::session(address, Client::isid(number), &keys);
        // Power on, or a reset of another session's.
        assert_eq!(client.run(&[0]).code().0, 6);
        let window = client.initiator.max_cmd_sn.wrapping_sub(client.initiator.exp_cmd_sn).wrapping_add(1);
        Self { client, dice, open: HashSet::new(), window }
    }

    fn has_room(&self) -> bool {
        let initiator = &self.client.initiator;
        initiator.max_cmd_sn.wrapping_sub(initiator.cmd_sn) as i32 >= 0
    }

    fn begin(&mut self, mut command: ScsiCommand, immediate: &[u8]) {
        command.attribute = match self.dice.throw(8) {
            0 => TaskAttribute::Ordered,
            1 => TaskAttribute::HeadOfQueue,
            _ => TaskAttribute::Simple,
        };
        self.open.insert(command.itt);
        let unit = self.client.initiator.unit(&command.emit(), immediate);
        self.client.send(&unit);
    }

    /// One command, of any kind.
    fn command(&mut self) {
        let blocks = 1 + self.dice.throw(64);
        let lba = self.dice.throw(BLOCKS - blocks);
        let len = blocks << 9;
        let kind = self.dice.throw(9);
        let initiator = &mut self.client.initiator;
        let immediate = vec![kind as u8; len.min(4096) as usize];
        match kind {
            0..3 => {
                let read = initiator.read(&cdb::read(lba, blocks as u32), len as u32);
                self.begin(read, &[]);
            }
            3 => {
                let write = initiator.write(&cdb::write(lba, blocks as u32), len as u32);
                self.begin(write, &[]);
            }
            4 => {
                let write = initiator.write(&cdb::write_fua(lba, blocks as u32), len as u32);
                self.begin(write, &immediate);
            }
            5 => {
                let compare = initiator.write(&cdb::compare_and_write(lba, blocks as u8), 2 * len as u32);
                self.begin(compare, &immediate);
            }
            6 => {
                let (unmap, list) = cdb::unmap(lba, blocks as u32);
                let unmap = initiator.write(&unmap, 24);
                self.begin(unmap, &list);
            }
            7 => {
                let same = initiator.write(&cdb::sixteen(0x93, 0, lba, blocks as u32), 512);
                self.begin(same, &[]);
            }
            _ => {
                let flush = initiator.bare(&cdb::ten(0x35, 0, 0, 0));
                self.begin(flush, &[]);
            }
        }
    }

    /// An answer, where one must come.
    fn hear(&mut self) {
        let answer = self.client.answer();
        self.take(answer);
    }

    fn take(&mut self, answer: Answer) {
        match answer {
            Answer::R2t(r2t) => {
                let data = vec![r2t.itt as u8; (r2t.offset + r2t.len) as usize];
                let units = self.client.initiator.answer_r2t(&r2t, &data, 1 + self.dice.throw(20_000) as usize);
                self.client.send(&units);
            }
            Answer::Status(status, _) => {
                assert_eq!(status.response, 0);
                assert!(self.open.remove(&status.itt), "an answer to nothing: {status:?}");
            }
            Answer::Data(unit, _) if unit.status.is_some() => {
                assert!(self.open.remove(&unit.itt), "an answer to nothing: {unit:?}");
            }
            Answer::Data(unit, _) => assert!(self.open.contains(&unit.itt), "data for nobody: {unit:?}"),
            other => panic!("{other:?}"),
        }
    }

    /// Aborts some of what is open, and waits for the answer. What was aborted is not answered any more; what another
    /// session reset may never be.
    fn manage(&mut self, function: TaskFunction) {
        let named = self.open.iter().next().copied().unwrap_or(RESERVED_TAG);
        let request = self.client.initiator.manage(function, named, 0);
        let unit = self.client.initiator.unit(&request.emit(), &[]);
        self.client.send(&unit);
        loop {
            match self.client.answer() {
                Answer::Task(response) if response.itt == request.itt => break,
                other => self.take(other),
            }
        }
        match function {
            TaskFunction::AbortTask => drop(self.open.remove(&named)),
            _ => self.open.clear(),
        }
    }

    /// All that is open is aborted: then the whole window is.
    fn assert_quiet(&mut self) {
        self.manage(TaskFunction::AbortTaskSet);
        let ping = self.client.initiator.ping(true);
        assert_eq!(ping.emit().opcode(), Some(Opcode::NopOut));
        let unit = self.client.initiator.unit(&ping.emit(), &[]);
        self.client.send(&unit);
        let Answer::Nop(pong, _) = self.client.answer() else { panic!("no NOP-In") };
        let window = pong.numbers.max_cmd_sn.wrapping_sub(pong.numbers.exp_cmd_sn).wrapping_add(1);
        assert_eq!((window, pong.numbers.exp_cmd_sn), (self.window, self.client.initiator.cmd_sn));
    }

    fn steps(&mut self, count: usize, resets: bool) {
        for _ in 0..count {
            match self.dice.throw(40) {
                0 => self.manage(TaskFunction::AbortTask),
                1 => self.manage(TaskFunction::AbortTaskSet),
                2 if resets => self.manage(TaskFunction::LogicalUnitReset),
                3 if resets => self.manage(TaskFunction::ClearTaskSet),
                4..16 if !resets && !self.open.is_empty() => self.hear(),
                _ if self.has_room() => self.command(),
                _ => self.manage(TaskFunction::AbortTask),
            }
        }
    }
}

fn sessions(device: &[&str], resets: bool, seed: u64) {
    println!("seed {seed:#x}");
    let mut server = Iesp::start(&[device, &["--threads", "2"]].concat());
    let address = server.address();
    std::thread::scope(|scope| {
        for number in 1..=4u8 {
            scope.spawn(move || {
                for life in 0..3 {
                    let mut chaos = Chaos::login(address, number, seed + u64::from(number) * 16 + life);
                    chaos.steps(150, resets);
                    // Every other life ends without a word.
                    if life % 2 == 0 {
                        chaos.assert_quiet();
                    }
                }
            });
        }
    });
    let mut last = Chaos::login(address, 99, seed);
    last.steps(50, false);
    last.assert_quiet();
    last.client.put(&cdb::write(0, 2048), &vec![9; 1 << 20]).good();
    assert_eq!(last.client.get(&cdb::read(0, 2048), 1 << 20).good(), vec![9; 1 << 20]);
    server.assert_well();
}

#[test]
fn on_a_file() {
    for seed in [1, 2, 3] {
        let folder = folder();
        sessions(&["-d", &image(folder.path(), "disk", BLOCKS << 9)], false, seed << 32);
    }
}

#[test]
fn on_a_file_with_resets() {
    for seed in [4, 5, 6] {
        let folder = folder();
        sessions(&["-d", &image(folder.path(), "disk", BLOCKS << 9)], true, seed << 32);
    }
}

#[test]
fn in_memory() {
    for seed in [7, 8, 9] {
        sessions(&["-b", "ram", "-d", "1M"], seed == 9, seed << 32);
    }
}
