//! The driver against a host controller with a card, both in memory.

extern crate std;

use core::cell::Cell;
use core::pin::pin;
use core::task::{Context, Poll, Waker};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::vec::Vec;

use super::super::command::{acmd, cmd};
use super::super::{BLOCK, Error};
use super::{Answer, Command, Fault, Lines, NativeCard, Response, SdHost};
use crate::Clock;
use crate::card::Card;

const RCA: u32 = 0xb368_0000;
const BLOCKS: u32 = 0x3b38 * 1024;
/// An SDHC card of 8 GB, without the checksum.
const CSD: [u8; 15] = [0x40, 0x0e, 0, 0x32, 0x5b, 0x59, 0, 0, 0x3b, 0x37, 0x7f, 0x80, 0x0a, 0x40, 0];
const CID: [u8; 15] = [3, 0x53, 0x44, b'S', b'U', b'0', b'8', b'G', 0x80, 0x12, 0x34, 0x56, 0x78, 1, 0x23];

#[derive(Clone, Default)]
struct Time(Rc<Cell<u64>>);

impl Clock for Time {
    fn now_us(&self) -> u64 {
        self.0.set(self.0.get() + 1);
        self.0.get()
    }

    async fn sleep_us(&self, us: u32) {
        self.0.set(self.0.get() + u64::from(us));
    }
}

fn run<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("nothing here waits"),
    }
}

/// Controller and card.
struct Slot {
    time: Time,
    present: bool,
    serial: u8,
    state: u32,
    application: bool,
    initialising: u32,
    busy_until: u64,
    erase: [u32; 2],
    lines: Lines,
    clock_hz: u32,
    /// Above this clock data arrive damaged.
    works_to_hz: u32,
    blocks: BTreeMap<u32, [u8; BLOCK]>,
    /// Commands by number, from the start, that fail and how.
    faults: BTreeMap<usize, Fault>,
    commands: Vec<u8>,
}

impl Slot {
    fn new(time: &Time) -> Self {
        Slot {
            time: time.clone(),
            present: true,
            serial: 0,
            state: 0,
            application: false,
            initialising: 3,
            busy_until: 0,
            erase: [0; 2],
            lines: Lines::One,
            clock_hz: 0,
            works_to_hz: u32::MAX,
            blocks: BTreeMap::new(),
            faults: BTreeMap::new(),
            commands: Vec::new(),
        }
    }

    fn is_busy(&self) -> bool {
        self.time.0.get() < self.busy_until
    }

    fn status(&mut self) -> Answer {
        if self.state == 7 && !self.is_busy() {
            self.state = 4;
        }
        let ready = if self.is_busy() { 0 } else { 1 << 8 };
        Answer::Short(self.state << 9 | ready | u32::from(self.application) << 5)
    }

    fn take(&mut self, command: Command) -> Result<Answer, Fault> {
        let number = self.commands.len();
        self.commands.push(command.index);
        if let Some(fault) = self.faults.remove(&number) {
            return Err(fault);
        }
        if !self.present {
            return if command.response == Response::None { Ok(Answer::None) } else { Err(Fault::NoResponse) };
        }
        let application = core::mem::take(&mut self.application);
        let Command { index, argument, .. } = command;
        if index == cmd::GO_IDLE_STATE {
            (self.state, self.initialising) = (0, 3);
            return Ok(Answer::None);
        }
        if matches!(index, cmd::SEND_STATUS | cmd::SEND_CSD | cmd::SELECT_CARD) && argument != RCA {
            return Err(Fault::NoResponse);
        }
        Ok(match (application, index) {
            (true, acmd::SD_SEND_OP_COND) => {
                self.initialising = self.initialising.saturating_sub(1);
                Answer::Short(if self.initialising == 0 { 0xc0ff_8000 } else { 0x00ff_8000 })
            }
            (_, cmd::SEND_IF_COND) => Answer::Short(argument),
            (_, cmd::APP_CMD) => {
                self.application = true;
                self.status()
            }
            (_, cmd::ALL_SEND_CID) => {
                let mut cid = CID;
                cid[12] = self.serial;
                Answer::Long(cid)
            }
            (_, cmd::SEND_RELATIVE_ADDR) => Answer::Short(RCA | 0x0500),
            (_, cmd::SEND_CSD) => Answer::Long(CSD),
            (_, cmd::SELECT_CARD) => {
                self.state = 4;
                self.status()
            }
            (_, cmd::STOP_TRANSMISSION) => {
                assert!(matches!(self.state, 5 | 6), "CMD12 in state {}", self.state);
                if self.state == 6 {
                    self.busy_until = self.time.0.get() + 3_000;
                }
                self.state = if self.state == 6 { 7 } else { 4 };
                self.status()
            }
            (_, cmd::ERASE_WR_BLK_START_ADDR) => {
                self.erase[0] = argument;
                self.status()
            }
            (_, cmd::ERASE_WR_BLK_END_ADDR) => {
                self.erase[1] = argument;
                self.status()
            }
            (_, cmd::ERASE) => {
                let [first, last] = self.erase;
                self.blocks.retain(|block, _| !(first..=last).contains(block));
                (self.state, self.busy_until) = (7, self.time.0.get() + 5_000);
                self.status()
            }
            _ => self.status(),
        })
    }
}

impl SdHost for Slot {
    async fn reset(&mut self) -> Result<(), Fault> {
        (self.lines, self.clock_hz) = (Lines::One, 400_000);
        Ok(())
    }

    fn set_clock(&mut self, hz: u32) -> u32 {
        self.clock_hz = hz;
        hz
    }

    fn set_lines(&mut self, lines: Lines) {
        self.lines = lines;
    }

    async fn command(&mut self, command: Command) -> Result<Answer, Fault> {
        self.take(command)
    }

    async fn read(&mut self, command: Command, block: usize, data: &mut [u8]) -> Result<Answer, Fault> {
        assert_eq!(data.len() % block, 0);
        let answer = self.take(command)?;
        if self.clock_hz > self.works_to_hz {
            self.state = if command.index == cmd::READ_MULTIPLE_BLOCK { 5 } else { 4 };
            return Err(Fault::DataCrc);
        }
        match command.index {
            cmd::SWITCH_FUNC => data[16] = 1,
            acmd::SEND_SCR => data.copy_from_slice(&[2, 0x35, 0x80, 0, 0, 0, 0, 0]),
            _ => {
                for (block, number) in data.chunks_mut(BLOCK).zip(command.argument..) {
                    block.copy_from_slice(self.blocks.get(&number).unwrap_or(&[0; BLOCK]));
                }
                assert!(self.commands.len() < 30 || self.lines == Lines::Four);
                if command.index == cmd::READ_MULTIPLE_BLOCK {
                    self.state = 5;
                }
            }
        }
        Ok(answer)
    }

    async fn write(&mut self, command: Command, data: &[u8]) -> Result<Answer, Fault> {
        let answer = self.take(command)?;
        for (block, number) in data.as_chunks::<BLOCK>().0.iter().zip(command.argument..) {
            self.blocks.insert(number, *block);
        }
        let multiple = command.index == cmd::WRITE_MULTIPLE_BLOCK;
        self.state = if multiple { 6 } else { 7 };
        self.busy_until = self.time.0.get() + 2_000;
        Ok(answer)
    }
}

fn started() -> NativeCard<Slot, Time> {
    let time = Time::default();
    let mut card = NativeCard::new(Slot::new(&time), time);
    let info = run(card.start()).unwrap();
    assert_eq!((info.csd.blocks(), info.clock_hz), (u64::from(BLOCKS), 50_000_000));
    assert_eq!(card.host.lines, Lines::Four);
    card
}

fn pattern(blocks: usize) -> Vec<u8> {
    (0..blocks * BLOCK).map(|index| (index / 7) as u8).collect()
}

#[test]
fn what_was_written_is_read() {
    let mut card = started();
    for (first, blocks) in [(0, 1), (7, 9), (BLOCKS - 8, 8)] {
        let (data, mut back) = (pattern(blocks), [0xee].repeat(blocks * BLOCK));
        run(card.write(first, &data)).unwrap();
        assert!(!card.host.is_busy(), "acknowledged while the card was busy");
        run(card.read(first, &mut back)).unwrap();
        assert_eq!(back, data);
    }
    run(card.erase(8, 4)).unwrap();
    assert!(!card.host.is_busy());
    let mut back = [0xee].repeat(9 * BLOCK);
    run(card.read(7, &mut back)).unwrap();
    assert_eq!(back[BLOCK..5 * BLOCK], [0; 4 * BLOCK]);
    assert_eq!(back[5 * BLOCK..], pattern(9)[5 * BLOCK..]);
}

#[test]
fn what_lies_not_on_the_card_is_refused() {
    let mut card = started();
    let sent = card.host.commands.len();
    assert_eq!(run(card.read(BLOCKS, &mut [0; BLOCK])), Err(Error::OutOfRange));
    assert_eq!(run(card.write(BLOCKS - 1, &[0; 2 * BLOCK])), Err(Error::OutOfRange));
    assert_eq!(run(card.write(0, &[0; 100])), Err(Error::Length));
    assert_eq!(run(card.read(0, &mut [])), Err(Error::Length));
    assert_eq!(run(card.erase(u32::MAX, u32::MAX)), Err(Error::OutOfRange));
    assert_eq!(card.host.commands.len(), sent);
}

/// One fault at each command of a write and a read, of each kind: both are done all the same.
#[test]
fn one_fault_anywhere_is_survived() {
    for fault in [Fault::NoResponse, Fault::Response, Fault::DataTimeout, Fault::DataCrc, Fault::Controller] {
        for at in 0..8 {
            let mut card = started();
            let number = card.host.commands.len() + at;
            card.host.faults.insert(number, fault);
            let (data, mut back) = (pattern(5), [0xee].repeat(5 * BLOCK));
            run(card.write(100, &data)).unwrap();
            run(card.read(100, &mut back)).unwrap();
            assert_eq!(back, data, "{fault:?} at command {at}");
        }
    }
}

#[test]
fn a_card_that_is_gone_is_told_and_one_that_is_back_goes_on() {
    let mut card = started();
    run(card.write(3, &pattern(2))).unwrap();
    card.host.present = false;
    assert_eq!(run(card.read(3, &mut [0; BLOCK])), Err(Error::Absent));
    card.host.present = true;
    let mut back = [0; 2 * BLOCK];
    run(card.read(3, &mut back)).unwrap();
    assert_eq!(back[..], pattern(2)[..]);

    card.host.present = false;
    assert_eq!(run(card.write(3, &pattern(2))), Err(Error::Absent));
    (card.host.present, card.host.serial) = (true, 9);
    assert_eq!(run(card.read(3, &mut back)), Err(Error::Changed));
    run(card.start()).unwrap();
    run(card.read(3, &mut back)).unwrap();
}

#[test]
fn the_clock_is_the_highest_at_which_data_arrive_whole() {
    let time = Time::default();
    let mut slot = Slot::new(&time);
    slot.works_to_hz = 20_000_000;
    let mut card = NativeCard::new(slot, time);
    // The registers are read at 400 kHz.
    assert_eq!(run(card.start()).unwrap().clock_hz, 20_000_000);
}

#[test]
fn an_empty_slot_is_told() {
    let time = Time::default();
    let mut slot = Slot::new(&time);
    slot.present = false;
    assert_eq!(run(NativeCard::new(slot, time).start()), Err(Error::Absent));
}

#[test]
fn a_request_that_was_dropped_makes_the_next_one_begin_anew() {
    let mut card = started();
    card.under_way = true;
    let before = card.host.commands.len();
    run(card.write(5, &pattern(1))).unwrap();
    assert_eq!(card.host.commands[before], cmd::GO_IDLE_STATE);
}
