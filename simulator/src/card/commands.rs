//! What the card does for each command (SD 7.3.1).

use super::crc::{crc7_and_end_bit, crc16};
use super::transfer::Writing;
use super::{Card, Fault, IDENTIFICATION_HZ, IDLE, Mode, Phase, UNNOTICED_US, WAKE_CLOCKS};

const R1_IDLE: u8 = 0x01;
const R1_ILLEGAL: u8 = 0x04;
const R1_CRC: u8 = 0x08;
const R1_ERASE_SEQUENCE: u8 = 0x10;
const R1_PARAMETER: u8 = 0x40;
/// R2, second byte: error, out of range.
pub(super) const R2_ERROR: u8 = 0x04;

impl Card {
    pub(super) fn command(&mut self, frame: [u8; 6]) {
        let [start, a, b, c, d, crc] = frame;
        let index = start & 0x3f;
        let argument = u32::from_be_bytes([a, b, c, d]);
        if self.mode == Mode::Native && index != 0 {
            // It waits for CMD0 with chip select low; to anything else it does not answer in this mode.
            return;
        }
        if let Some(count) = self.counters.commands.get_mut(usize::from(index)) {
            *count += 1;
        }
        if self.fault(Fault::Removal) {
            return self.pull_out();
        }
        if self.fault(Fault::LostCommand) {
            return;
        }
        // 7.2.2: the checksum of CMD0 and CMD8 is always looked at.
        let good = crc == crc7_and_end_bit(&frame[..5]);
        if !good && (self.crc_on || matches!(index, 0 | 8)) {
            self.violate("a command with a wrong checksum", index);
            return self.answer(R1_CRC);
        }
        if self.crc_on && self.fault(Fault::CommandCrc) {
            return self.answer(R1_CRC);
        }
        let app = std::mem::take(&mut self.app);
        if self.mode != Mode::Ready && self.clock_hz > IDENTIFICATION_HZ && matches!(index, 0 | 8 | 41 | 59) {
            self.violate("above 400 kHz before the card is initialised", index);
        }
        if !matches!(self.phase, Phase::Command) && !matches!(index, 0 | 12) {
            // CMD58 asks whether a transfer has ended: a host that knew would not have to.
            if index != 58 {
                self.violate("a command within a transfer", index);
            }
            return self.answer(R1_ILLEGAL);
        }
        self.out.clear();
        match (index, app) {
            (0, _) => self.go_idle(),
            (8, _) if self.model.version_2 => {
                self.interface_checked = true;
                self.answer_with(0, &[0, 0, (argument >> 8) as u8 & 0x0f, argument as u8]);
            }
            (41, true) => self.initialise(argument),
            (55, _) => {
                self.app = true;
                self.answer(0);
            }
            (58, _) => {
                let ocr = self.model.ocr(self.mode == Mode::Ready);
                self.answer_with(0, &ocr.to_be_bytes());
            }
            (59, _) => {
                self.crc_on = argument & 1 == 1;
                self.answer(0);
            }
            _ if self.mode == Mode::Ready => self.command_when_ready(index, app, argument),
            _ => self.answer(R1_ILLEGAL),
        }
    }

    fn command_when_ready(&mut self, index: u8, app: bool, argument: u32) {
        match (index, app) {
            (6, false) if self.model.high_speed => {
                let (status, high_speed) = self.model.switch(argument);
                self.high_speed = high_speed;
                self.answer_with_block(&status);
            }
            (9, _) => self.answer_with_block(&self.model.csd(self.high_speed)),
            (10, _) => self.answer_with_block(&self.model.cid()),
            (12, _) => self.stop(),
            (13, false) => {
                let status = std::mem::take(&mut self.status);
                self.answer_with(0, &[status]);
            }
            (17 | 18, _) => self.begin_read(argument, index == 18),
            (22, true) => self.answer_with_block(&self.well_written.to_be_bytes()),
            (23, true) => {
                self.announced = argument & 0x007f_ffff;
                self.answer(0);
            }
            (24 | 25, _) => self.begin_write(argument, index == 25),
            (32, _) => {
                self.erase_range = (Some(argument), None);
                self.answer(self.address_bits(argument));
            }
            (33, _) => {
                self.erase_range.1 = Some(argument);
                self.answer(self.address_bits(argument));
            }
            (38, _) => self.erase(),
            (51, true) => self.answer_with_block(&self.model.scr()),
            _ => self.answer(R1_ILLEGAL),
        }
    }

    fn go_idle(&mut self) {
        if self.mode == Mode::Native && self.wake_clocks < WAKE_CLOCKS {
            if self.now - self.powered_at > UNNOTICED_US {
                self.violate("fewer than 74 clocks before CMD0", 0);
            }
            return;
        }
        // What the card had taken, it programs on its own power: a reset is no power cut.
        self.store.finish(self.now);
        self.store.pass(self.now);
        self.reset();
        self.mode = Mode::Idle;
        self.answer(0);
    }

    /// ACMD41.
    fn initialise(&mut self, argument: u32) {
        if self.model.version_2 && !self.interface_checked {
            self.violate("ACMD41 without CMD8 before it", 41);
        }
        let ready_at = *self.ready_at.get_or_insert(self.now + self.timing.initialise);
        // 7.2.1: a card of high capacity stays idle for a host that does not know of it (HCS).
        let known = argument & 1 << 30 != 0 || !self.model.high_capacity;
        if self.now >= ready_at && known {
            self.mode = Mode::Ready;
        }
        self.answer(0);
    }

    fn begin_read(&mut self, address: u32, multiple: bool) {
        let bits = self.address_bits(address);
        self.answer(bits);
        if bits == 0 {
            self.phase = Phase::Read { next: address, multiple, ready_at: self.now + self.timing.access };
        }
    }

    fn begin_write(&mut self, address: u32, multiple: bool) {
        let bits = self.address_bits(address);
        self.answer(bits);
        if bits == 0 {
            let announced = std::mem::take(&mut self.announced);
            if multiple {
                self.store.announce(address, announced);
            }
            self.well_written = 0;
            self.gap = 0;
            self.phase = Phase::Write(Writing::new(address, multiple));
        }
    }

    /// CMD12.
    fn stop(&mut self) {
        match std::mem::replace(&mut self.phase, Phase::Command) {
            Phase::Command => {
                self.violate("CMD12 without a transfer", 12);
                self.stuff();
                self.answer(R1_ILLEGAL);
            }
            Phase::Read { .. } => {
                self.stuff();
                self.answer(0);
                self.busy(5);
            }
            Phase::Write(_) => {
                self.stuff();
                self.answer(0);
                self.end_of_writing();
            }
        }
    }

    fn erase(&mut self) {
        let range = std::mem::take(&mut self.erase_range);
        match range {
            (Some(first), Some(last)) if first <= last && self.address_bits(last) == 0 => {
                self.answer(0);
                self.busy(self.timing.erase);
                self.store.erase(first, last - first + 1, self.now + self.timing.erase);
            }
            _ => {
                self.violate("an erase without a range", 38);
                self.answer(R1_ERASE_SEQUENCE);
            }
        }
    }

    fn address_bits(&self, address: u32) -> u8 {
        if u64::from(address) < self.model.blocks { 0 } else { R1_PARAMETER }
    }

    /// R1, after N_CR: one to eight bytes.
    pub(super) fn answer(&mut self, bits: u8) {
        let idle = if self.mode == Mode::Ready { 0 } else { R1_IDLE };
        let wait = self.faults.below(8);
        self.out.extend((0..wait).map(|_| IDLE));
        self.out.push_back(bits | idle);
    }

    fn answer_with(&mut self, bits: u8, rest: &[u8]) {
        self.answer(bits);
        self.out.extend(rest);
    }

    fn answer_with_block(&mut self, block: &[u8]) {
        self.answer_with(0, &[IDLE, IDLE, 0xfe]);
        self.out.extend(block);
        self.out.extend(crc16(block).to_be_bytes());
    }

    /// The byte behind CMD12, of no meaning: it may look like a response.
    fn stuff(&mut self) {
        self.out.push_back(0x3f);
    }

    pub(super) fn busy(&mut self, us: u64) {
        self.busy_until = self.now + us;
    }
}
