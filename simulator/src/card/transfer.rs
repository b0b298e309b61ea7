//! Memory blocks: tokens, checksums, busy (SD 7.3.3, 7.2.3, 7.2.4).

use super::commands::R2_ERROR;
use super::crc::crc16;
use super::{BLOCK, Card, Fault, IDENTIFICATION_HZ, Mode, Phase};

const START_BLOCK: u8 = 0xfe;
const START_MULTIPLE: u8 = 0xfc;
const STOP_TRAN: u8 = 0xfd;
const ACCEPTED: u8 = 0xe5;
const CRC_ERROR: u8 = 0xeb;
const WRITE_ERROR: u8 = 0xed;
/// Data error tokens: uncorrectable, out of range.
const ECC_FAILED: u8 = 0x04;
const OUT_OF_RANGE: u8 = 0x08;

/// CMD24 or CMD25 in progress.
pub(super) struct Writing {
    next: u32,
    multiple: bool,
    /// The block that is coming: data and checksum.
    block: Option<Vec<u8>>,
    /// A block failed: only CMD12 is sensible now.
    failed: bool,
}

impl Writing {
    pub fn new(first: u32, multiple: bool) -> Self {
        Self { next: first, multiple, block: None, failed: false }
    }
}

impl Card {
    /// Puts the next block of a read into what goes out, when it is time.
    pub(super) fn send_next_block(&mut self) {
        let Phase::Read { next, multiple, ready_at } = self.phase else { return };
        if self.now < ready_at {
            return;
        }
        if self.fault(Fault::ReadTimeout) {
            self.phase = Phase::Read { next, multiple, ready_at: u64::MAX };
            return;
        }
        self.phase = if multiple {
            Phase::Read { next: next.wrapping_add(1), multiple, ready_at: self.now + self.timing.next_block }
        } else {
            Phase::Command
        };
        if u64::from(next) >= self.model.blocks {
            self.violate("CMD18 past the last block", 18);
            return self.end_read_with(OUT_OF_RANGE, next, multiple);
        }
        let Some(block) = self.store.send(next, &mut self.faults) else {
            return self.end_read_with(ECC_FAILED, next, multiple);
        };
        if self.fault(Fault::ReadError) {
            return self.end_read_with(ECC_FAILED, next, multiple);
        }
        self.counters.blocks_read += 1;
        let crc = crc16(&block);
        self.out.push_back(START_BLOCK);
        self.out.extend(block);
        self.out.extend(crc.to_be_bytes());
        if self.fault(Fault::ReadCrc) {
            let at = 1 + self.faults.below(BLOCK as u32) as usize;
            self.out[at] ^= 1 << self.faults.below(8);
        }
        // The next block is fetched while this one goes out.
        if let Phase::Read { ready_at, .. } = &mut self.phase {
            let us = (BLOCK as u64 + 3) * 8_000_000 / u64::from(self.clock_hz);
            *ready_at += us;
        }
    }

    /// A data error token: of CMD18 nothing more comes until CMD12.
    fn end_read_with(&mut self, token: u8, next: u32, multiple: bool) {
        self.out.push_back(token);
        if multiple {
            self.phase = Phase::Read { next, multiple, ready_at: u64::MAX };
        }
    }

    pub(super) fn is_taking_block(&self) -> bool {
        matches!(&self.phase, Phase::Write(Writing { block: Some(_), .. }))
    }

    /// A byte that is neither 0xff nor the first of a command.
    pub(super) fn token(&mut self, token: u8, quiet: bool) {
        let gap = std::mem::take(&mut self.gap);
        let Phase::Write(writing) = &mut self.phase else {
            // At the clock of identification a host resets a card of which it cannot know what it is in.
            if self.mode == Mode::Ready && self.clock_hz > IDENTIFICATION_HZ {
                self.violate("a byte that is no command", token);
            }
            return;
        };
        let resets = self.clock_hz <= IDENTIFICATION_HZ;
        let starts = token == if writing.multiple { START_MULTIPLE } else { START_BLOCK };
        let stops = writing.multiple && token == STOP_TRAN;
        if writing.failed || !(starts || stops) {
            if resets {
                return;
            }
            return self.violate("no such token now", token);
        }
        if starts {
            writing.block = Some(Vec::with_capacity(BLOCK + 2));
        }
        if !quiet && !resets {
            self.violate("a token while the card is busy", token);
        } else if gap == 0 && !resets {
            self.violate("no gap (N_WR) before a token", token);
        }
        if stops {
            self.phase = Phase::Command;
            // N_BR: busy shows one byte later.
            self.out.push_back(0xff);
            self.end_of_writing();
        }
    }

    pub(super) fn take_byte(&mut self, byte: u8) {
        let Phase::Write(writing) = &mut self.phase else { return };
        let Some(block) = &mut writing.block else { return };
        block.push(byte);
        if block.len() == BLOCK + 2 {
            let block = writing.block.take().unwrap_or_default();
            let (address, multiple) = (writing.next, writing.multiple);
            let (data, crc) = block.split_at(BLOCK);
            let good = crc16(data).to_be_bytes() == crc;
            if !good {
                self.violate("a block with a wrong checksum", 0);
            }
            let mut whole = [0; BLOCK];
            whole.copy_from_slice(data);
            self.take_block(address, multiple, good, whole);
        }
    }

    fn take_block(&mut self, address: u32, multiple: bool, good: bool, data: [u8; BLOCK]) {
        if self.fault(Fault::Removal) {
            return self.pull_out();
        }
        if !good || self.fault(Fault::WriteCrc) {
            return self.refuse(CRC_ERROR);
        }
        if self.model.write_protected || self.fault(Fault::WriteError) {
            return self.refuse(WRITE_ERROR);
        }
        if u64::from(address) >= self.model.blocks {
            self.violate("CMD25 past the last block", 25);
            self.status |= R2_ERROR;
            return self.refuse(WRITE_ERROR);
        }
        self.out.push_back(ACCEPTED);
        self.gap = 0;
        if self.fault(Fault::ProgramFailure) {
            self.status |= R2_ERROR;
        } else {
            self.counters.blocks_written += 1;
            self.well_written += 1;
            self.store.take(address, data);
        }
        if let Phase::Write(writing) = &mut self.phase {
            writing.next = address.wrapping_add(1);
        }
        if multiple {
            let cleaning = self.cleaning();
            self.busy(self.timing.buffer + cleaning);
            self.maybe_stick();
        } else {
            self.phase = Phase::Command;
            self.end_of_writing();
        }
    }

    /// Data response with an error: CMD24 is over, CMD25 waits for CMD12.
    fn refuse(&mut self, response: u8) {
        self.out.push_back(response);
        match &mut self.phase {
            Phase::Write(writing) if writing.multiple => writing.failed = true,
            _ => self.phase = Phase::Command,
        }
    }

    /// Busy until everything that was taken is programmed.
    pub(super) fn end_of_writing(&mut self) {
        let cleaning = self.cleaning();
        self.busy(self.timing.program + cleaning);
        self.maybe_stick();
        self.store.finish(self.busy_until);
    }

    fn cleaning(&mut self) -> u64 {
        self.since_cleaning += 1;
        if self.since_cleaning >= self.timing.clean_every {
            self.since_cleaning = 0;
            self.timing.clean
        } else {
            0
        }
    }

    fn maybe_stick(&mut self) {
        if self.fault(Fault::LongBusy) {
            self.busy(3_000_000);
        } else if self.fault(Fault::StuckBusy) {
            self.busy_until = u64::MAX;
        }
    }
}
