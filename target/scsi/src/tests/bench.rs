//! A disk in memory: the driver that tests run commands with.

use crate::*;
use std::vec;
use std::vec::Vec;

/// Sense key, ASC, ASCQ.
pub type Code = (u8, u8, u8);

pub const INVALID_FIELD: Code = (5, 0x24, 0);
pub const OUT_OF_RANGE: Code = (5, 0x21, 0);
pub const WRITE_PROTECTED: Code = (7, 0x27, 0);
pub const LIST_LENGTH: Code = (5, 0x1a, 0);
pub const MISCOMPARE: Code = (0xe, 0x1d, 0);

/// The nexus that commands come by if nothing else is said.
pub const HOST: NexusId = NexusId(0);
pub const OTHER: NexusId = NexusId(1);

pub struct Disk {
    pub unit: LogicalUnit<4>,
    pub bytes: Vec<u8>,
    pub mapped: Vec<bool>,
    /// Writes since the last flush that weren't durable by themselves.
    pub volatile: bool,
    pub steps: Vec<Step>,
    /// The step with this number fails.
    pub failing: Option<(usize, IoError)>,
    /// The longest extent that the backend tells of at once.
    pub longest_extent: u64,
    pub scratch_blocks: usize,
}

/// How a command ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub status: u8,
    pub sense: Vec<u8>,
    pub data: Vec<u8>,
    pub data_in_len: u32,
    pub data_out_len: u32,
}

impl Answer {
    /// The data of a command that went well.
    #[track_caller]
    pub fn good(self) -> Vec<u8> {
        assert_eq!((self.status, &self.sense[..]), (status::GOOD, &[][..]));
        self.data
    }

    /// Sense key, ASC and ASCQ, whatever the format.
    #[track_caller]
    pub fn code(&self) -> Code {
        assert_eq!(self.status, status::CHECK_CONDITION, "{self:?}");
        match self.sense[0] & 0x7f {
            0x70 => (self.sense[2], self.sense[12], self.sense[13]),
            0x72 => (self.sense[1], self.sense[2], self.sense[3]),
            code => panic!("response code {code:02x}"),
        }
    }

    /// INFORMATION of fixed format sense data.
    #[track_caller]
    pub fn information(&self) -> u32 {
        assert_eq!(self.sense[0], 0xf0, "{self:?}");
        u32::from_be_bytes(self.sense[3..7].try_into().unwrap())
    }
}

pub fn capabilities() -> Capabilities {
    Capabilities {
        blocks: 10_000,
        block_size: 512,
        physical_block_exponent: 3,
        read_only: false,
        volatile_cache: true,
        unmap: Some(Unmap { granularity: 8, alignment: 0 }),
        max_transfer_blocks: 1024,
        optimal_transfer_blocks: 128,
        rotational: false,
    }
}

pub fn identity() -> Identity {
    Identity::new(*b"0123456789abcdef", "iqn.2026-01.test:disk", 1, 0).unwrap()
}

/// A CDB of up to 16 bytes.
pub fn cdb(bytes: &[u8]) -> [u8; 16] {
    let mut cdb = [0; 16];
    cdb[..bytes.len()].copy_from_slice(bytes);
    cdb
}

impl Disk {
    pub fn new(capabilities: Capabilities) -> Self {
        let blocks = capabilities.blocks as usize;
        let bytes = vec![0; blocks * capabilities.block_size as usize];
        Self {
            unit: LogicalUnit::new(capabilities, identity()),
            bytes,
            mapped: vec![false; blocks],
            volatile: false,
            steps: Vec::new(),
            failing: None,
            longest_extent: u64::MAX,
            scratch_blocks: 4,
        }
    }

    pub fn plain() -> Self {
        Self::new(capabilities())
    }

    /// Runs a command with as much data as it asks for.
    pub fn run(&mut self, cdb_bytes: &[u8], data_out: &[u8]) -> Answer {
        self.run_by(HOST, cdb_bytes, data_out)
    }

    pub fn run_by(&mut self, nexus: NexusId, cdb_bytes: &[u8], data_out: &[u8]) -> Answer {
        let data_in = if data_out.is_empty() { 1 << 24 } else { 0 };
        self.run_with(nexus, &cdb(cdb_bytes), data_out, Transfer { data_out: data_out.len() as u32, data_in })
    }

    pub fn run_with(&mut self, nexus: NexusId, cdb: &[u8; 16], data_out: &[u8], transfer: Transfer) -> Answer {
        let mut task = self.unit.begin(nexus, &[0, 3, 200], cdb, transfer);
        let (data_out_len, data_in_len) = (task.data_out_len(), task.data_in_len());
        let data_out = &data_out[..data_out.len().min(data_out_len as usize)];
        let mut reply = vec![0xee; REPLY_MAX];
        let mut scratch = vec![0xdd; self.scratch_blocks * self.block_size()];
        let mut data = Vec::new();
        let mut outcome = Outcome::Start;
        self.steps.clear();
        loop {
            let buffers = Buffers { data_out, reply: &mut reply, scratch: &mut scratch };
            let step = task.step(&self.unit, outcome, buffers);
            if let Step::Done(completion) = step {
                data.extend_from_slice(&reply[..completion.reply_len as usize]);
                let sense = completion.sense.as_slice().to_vec();
                return Answer { status: completion.status, sense, data, data_in_len, data_out_len };
            }
            self.steps.push(step);
            assert!(self.steps.len() < 20_000, "no end: {step:?}");
            outcome = match self.failing {
                Some((number, error)) if number + 1 == self.steps.len() => Outcome::Failed(error),
                _ => self.execute(step, data_out, &mut scratch, &mut data, transfer.data_in as usize),
            };
        }
    }

    pub fn block_size(&self) -> usize {
        self.unit.capabilities().block_size as usize
    }

    /// The bytes of a range; panics where a step goes beyond the medium.
    fn range(&self, lba: u64, blocks: u64) -> core::ops::Range<usize> {
        assert!(blocks > 0, "a step over no blocks");
        assert!(lba.checked_add(blocks).is_some_and(|end| end <= self.unit.capabilities().blocks), "beyond the medium");
        lba as usize * self.block_size()..(lba + blocks) as usize * self.block_size()
    }

    fn write(&mut self, lba: u64, data: &[u8], fua: bool) {
        let blocks = (data.len() / self.block_size()) as u64;
        let range = self.range(lba, blocks);
        self.bytes[range].copy_from_slice(data);
        self.mapped[lba as usize..(lba + blocks) as usize].fill(true);
        self.volatile |= !fua;
    }

    fn zero(&mut self, lba: u64, blocks: u64, mapped: bool) {
        let range = self.range(lba, blocks);
        self.bytes[range].fill(0);
        self.mapped[lba as usize..(lba + blocks) as usize].fill(mapped);
        self.volatile = true;
    }

    fn execute(&mut self, step: Step, out: &[u8], scratch: &mut [u8], data: &mut Vec<u8>, room: usize) -> Outcome {
        let size = self.block_size();
        match step {
            Step::Read { lba, blocks } => {
                let bytes = &self.bytes[self.range(lba, blocks.into())];
                data.extend_from_slice(&bytes[..bytes.len().min(room)]);
            }
            Step::Write { lba, blocks, offset, fua } => {
                let len = blocks as usize * size;
                self.write(lba, &out[offset as usize..offset as usize + len], fua);
            }
            Step::ReadScratch { lba, blocks } => {
                scratch[..blocks as usize * size].copy_from_slice(&self.bytes[self.range(lba, blocks.into())]);
            }
            Step::WriteScratch { lba, blocks, fua } => {
                self.write(lba, &scratch[..blocks as usize * size], fua);
            }
            Step::Flush => self.volatile = false,
            Step::Unmap { lba, blocks } => self.zero(lba, blocks, false),
            Step::Zero { lba, blocks, unmap } => self.zero(lba, blocks, !unmap),
            Step::Prefetch { lba, blocks } => drop(self.range(lba, blocks)),
            Step::Extent { lba, blocks } => {
                let states = &self.mapped[lba as usize..(lba + blocks) as usize];
                let run = states.iter().take_while(|mapped| **mapped == states[0]).count() as u64;
                return Outcome::Extent { mapped: states[0], blocks: run.min(self.longest_extent) };
            }
            Step::Blocked | Step::Wake | Step::Done(_) => panic!("{step:?} is no I/O"),
        }
        Outcome::Done
    }

    /// WRITE(10) of `blocks` blocks of `byte`.
    pub fn fill(&mut self, lba: u32, blocks: u16, byte: u8) {
        let data = vec![byte; usize::from(blocks) * self.block_size()];
        self.run(&ten(0x2a, 0, lba, blocks), &data).good();
    }

    /// The blocks as they are on the medium.
    pub fn blocks(&self, lba: u64, blocks: u64) -> &[u8] {
        &self.bytes[self.range(lba, blocks)]
    }
}

/// A 10-byte CDB with LBA and length.
pub fn ten(opcode: u8, flags: u8, lba: u32, blocks: u16) -> [u8; 10] {
    let mut cdb = [0; 10];
    cdb[0] = opcode;
    cdb[1] = flags;
    cdb[2..6].copy_from_slice(&lba.to_be_bytes());
    cdb[7..9].copy_from_slice(&blocks.to_be_bytes());
    cdb
}

/// A 12-byte CDB with LBA and length.
pub fn twelve(opcode: u8, flags: u8, lba: u32, blocks: u32) -> [u8; 12] {
    let mut cdb = [0; 12];
    cdb[0] = opcode;
    cdb[1] = flags;
    cdb[2..6].copy_from_slice(&lba.to_be_bytes());
    cdb[6..10].copy_from_slice(&blocks.to_be_bytes());
    cdb
}

/// A 16-byte CDB with LBA and length.
pub fn sixteen(opcode: u8, flags: u8, lba: u64, blocks: u32) -> [u8; 16] {
    let mut cdb = [0; 16];
    cdb[0] = opcode;
    cdb[1] = flags;
    cdb[2..10].copy_from_slice(&lba.to_be_bytes());
    cdb[10..14].copy_from_slice(&blocks.to_be_bytes());
    cdb
}

/// COMPARE AND WRITE.
pub fn caw(lba: u64, blocks: u8) -> [u8; 16] {
    let mut cdb = sixteen(0x89, 0, lba, 0);
    cdb[13] = blocks;
    cdb
}

/// An UNMAP parameter list.
pub fn unmap_list(ranges: &[(u64, u32)]) -> Vec<u8> {
    let mut list = vec![0; 8];
    list[0..2].copy_from_slice(&(6 + 16 * ranges.len() as u16).to_be_bytes());
    list[2..4].copy_from_slice(&(16 * ranges.len() as u16).to_be_bytes());
    for (lba, blocks) in ranges {
        list.extend_from_slice(&lba.to_be_bytes());
        list.extend_from_slice(&blocks.to_be_bytes());
        list.extend_from_slice(&[0; 4]);
    }
    list
}

/// UNMAP with this parameter list length.
pub fn unmap_cdb(len: usize) -> [u8; 10] {
    let mut cdb = [0x42, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    cdb[7..9].copy_from_slice(&(len as u16).to_be_bytes());
    cdb
}
