//! A path with a cache of its own that does not hear of writes on other paths.

use std::collections::{BTreeMap, HashMap};

use iesp_initiator::proxy::Tamper;
use iesp_initiator::{Pdu, field};
use iesp_iscsi::pdu::Opcode;

/// Returns of each block of one LUN what its first read on this connection returned, until it is written on this
/// connection. It keeps as much as was read: the disk at most.
#[derive(Debug)]
pub struct StaleReads {
    lun: u16,
    block: usize,
    /// Reads under way: where they begin, by their tags.
    reads: HashMap<u32, u64>,
    cache: BTreeMap<u64, Box<[u8]>>,
}

impl StaleReads {
    /// On this LUN, with blocks of so many bytes.
    #[must_use]
    pub fn new(lun: u16, block: usize) -> Self {
        Self { lun, block, reads: HashMap::new(), cache: BTreeMap::new() }
    }

    fn forget(&mut self, lba: u64, blocks: u64) {
        let end = lba.saturating_add(blocks);
        let stale: Vec<u64> = self.cache.range(lba..end).map(|(&block, _)| block).collect();
        stale.iter().for_each(|block| {
            self.cache.remove(block);
        });
    }
}

/// What a command does to blocks.
#[derive(Debug, PartialEq, Eq)]
enum Access {
    Read { lba: u64 },
    Write { lba: u64, blocks: u64 },
    WriteAnywhere,
    Neither,
}

/// Of a CDB of SBC-3.
fn access(cdb: [u8; 16]) -> Access {
    let word = |at: usize| u64::from(u32::from_be_bytes([cdb[at], cdb[at + 1], cdb[at + 2], cdb[at + 3]]));
    let (lba10, count10) = (word(2), u64::from(u16::from_be_bytes([cdb[7], cdb[8]])));
    let (lba16, count16) = (word(2) << 32 | word(6), word(10));
    let lba6 = word(0) & 0x1f_ffff;
    let count6 = if cdb[4] == 0 { 256 } else { u64::from(cdb[4]) };
    match cdb[0] {
        0x08 => Access::Read { lba: lba6 },
        0x28 | 0xa8 => Access::Read { lba: lba10 },
        0x88 => Access::Read { lba: lba16 },
        0x0a => Access::Write { lba: lba6, blocks: count6 },
        0x2a | 0x2e => Access::Write { lba: lba10, blocks: count10 },
        0xaa | 0xae => Access::Write { lba: lba10, blocks: word(6) },
        0x8a | 0x8e => Access::Write { lba: lba16, blocks: count16 },
        // COMPARE AND WRITE has its number of blocks in one byte.
        0x89 => Access::Write { lba: lba16, blocks: u64::from(cdb[13]) },
        // WRITE SAME: 0 blocks are all to the end.
        0x41 if count10 > 0 => Access::Write { lba: lba10, blocks: count10 },
        0x93 if count16 > 0 => Access::Write { lba: lba16, blocks: count16 },
        0x41 | 0x93 | 0x42 | 0x04 | 0x83 => Access::WriteAnywhere,
        _ => Access::Neither,
    }
}

impl Tamper for StaleReads {
    fn request(&mut self, pdu: &mut Pdu) -> bool {
        if !pdu.is(Opcode::ScsiCommand) || pdu.lun() != self.lun {
            return true;
        }
        match access(pdu.cdb()) {
            Access::Read { lba } => {
                self.reads.insert(pdu.itt(), lba);
            }
            Access::Write { lba, blocks } => self.forget(lba, blocks),
            Access::WriteAnywhere => self.cache.clear(),
            Access::Neither => {}
        }
        true
    }

    fn response(&mut self, pdu: &mut Pdu) -> bool {
        match pdu.opcode() {
            Some(Opcode::CommandResponse) => {
                self.reads.remove(&pdu.itt());
            }
            Some(Opcode::DataIn) => {
                let Some(&start) = self.reads.get(&pdu.itt()) else { return true };
                // BufferOffset (RFC 7143 11.7.5). Targets cut at whole blocks; what does not begin with one is left alone.
                let offset = pdu.get(field::BUFFER_OFFSET);
                if offset.is_multiple_of(self.block as u64) {
                    let first = start + offset / self.block as u64;
                    for (lba, data) in (first..).zip(pdu.data.chunks_exact_mut(self.block)) {
                        match self.cache.get(&lba) {
                            Some(old) => data.copy_from_slice(old),
                            None => {
                                self.cache.insert(lba, (&*data).into());
                            }
                        }
                    }
                }
                // The status came with the data (S).
                if pdu.get(field::STATUS_PRESENT) != 0 {
                    self.reads.remove(&pdu.itt());
                }
            }
            _ => {}
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(lun: u8, cdb: &[u8]) -> Pdu {
        let mut pdu = Pdu::new(Opcode::ScsiCommand).with_byte(9, lun).with(field::INITIATOR_TASK_TAG, 5);
        pdu.bhs.0[32..32 + cdb.len()].copy_from_slice(cdb);
        pdu
    }

    fn read(tamper: &mut StaleReads, lun: u8, disk: &[u8]) -> Vec<u8> {
        tamper.request(&mut command(lun, &[0x28, 0, 0, 0, 0, 4, 0, 0, 2]));
        let mut pdu = Pdu::new(Opcode::DataIn).with(field::STATUS_PRESENT, 1).with(field::INITIATOR_TASK_TAG, 5);
        pdu.data = disk.to_vec();
        assert!(tamper.response(&mut pdu));
        assert!(tamper.reads.is_empty());
        pdu.data
    }

    #[test]
    fn a_block_stays_as_it_was_read_first_until_it_is_written_here() {
        let mut path = StaleReads::new(1, 512);
        let (old, new) = ([1; 1024], [2; 1024]);
        assert_eq!(read(&mut path, 1, &old), old);
        assert_eq!(read(&mut path, 1, &new), old);
        assert_eq!(read(&mut path, 0, &new), new, "another LUN");
        path.request(&mut command(1, &[0x2a, 0, 0, 0, 0, 5, 0, 0, 1]));
        assert_eq!(read(&mut path, 1, &new), [[1; 512], [2; 512]].concat());
        path.request(&mut command(1, &[0x42]));
        assert_eq!(read(&mut path, 1, &new), new);
    }

    #[test]
    fn commands_and_their_blocks() {
        let of = |cdb: &[u8]| {
            let mut whole = [0; 16];
            whole[..cdb.len()].copy_from_slice(cdb);
            access(whole)
        };
        assert_eq!(of(&[0x08, 0xe1, 2, 3, 0]), Access::Read { lba: 0x1_0203 });
        assert_eq!(of(&[0x0a, 0, 0, 1, 0]), Access::Write { lba: 1, blocks: 256 });
        assert_eq!(of(&[0x88, 0, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 8]), Access::Read { lba: 0x1_0000_0002 });
        assert_eq!(of(&[0x8a, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 1, 0]), Access::Write { lba: 2, blocks: 256 });
        assert_eq!(of(&[0xaa, 0, 0, 0, 0, 9, 0, 0, 0, 3]), Access::Write { lba: 9, blocks: 3 });
        assert_eq!(of(&[0x93]), Access::WriteAnywhere);
        assert_eq!(of(&[0x12]), Access::Neither);
    }
}
