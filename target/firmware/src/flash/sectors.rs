//! A text on two sectors of NOR flash that take turns: what was written last stays until the next one is there as a whole.

use embedded_storage::nor_flash::NorFlash;

use super::{FlashError, FlashStore};
use crate::config::FILE_MAX;

/// Bytes of a sector.
pub const SECTOR: u32 = 4096;

const MAGIC: u32 = 0x6945_5353;
const CRC: crc::Crc<u32> = crc::Crc::<u32>::new(&crc::CRC_32_ISO_HDLC);

/// Bytes before the text: magic number, number of the write, length, checksum of these and the text; each of 32 bits, little-endian.
const HEAD: usize = 16;

/// What is read and written at once: a whole number of what any such flash takes, where it takes it from.
#[repr(C, align(4))]
struct Chunk([u8; 256]);

/// A record's head.
#[derive(Clone, Copy)]
struct Head {
    number: u32,
    len: usize,
    checksum: u32,
}

/// The two sectors.
#[derive(Debug)]
pub struct TwoSectors<F> {
    flash: F,
    first: u32,
}

impl<F: NorFlash> TwoSectors<F> {
    /// The sectors at `first` and after it, from the flash's start; `first` is a multiple of [`SECTOR`].
    pub const fn new(flash: F, first: u32) -> Self {
        const {
            assert!(F::ERASE_SIZE <= SECTOR as usize && (SECTOR as usize).is_multiple_of(F::ERASE_SIZE));
            assert!(HEAD.is_multiple_of(F::WRITE_SIZE) && HEAD.is_multiple_of(F::READ_SIZE));
            assert!(F::WRITE_SIZE <= 4 && F::READ_SIZE <= 4, "a text is padded to words");
        }
        Self { flash, first }
    }

    fn address(&self, sector: u32) -> u32 {
        self.first + sector * SECTOR
    }

    fn head(&mut self, sector: u32) -> Option<Head> {
        let mut chunk = Chunk([0; 256]);
        let bytes = chunk.0.first_chunk_mut::<HEAD>()?;
        self.flash.read(self.address(sector), bytes).ok()?;
        let (words, _) = bytes.as_chunks::<4>();
        let mut words = words.iter().map(|word| u32::from_le_bytes(*word));
        let (magic, number, len, checksum) = (words.next()?, words.next()?, words.next()?, words.next()?);
        let len = usize::try_from(len).ok().filter(|len| magic == MAGIC && *len <= FILE_MAX)?;
        Some(Head { number, len, checksum })
    }

    /// The text of a sector, where it is whole; it stands at the start of `room`, which holds [`FILE_MAX`] bytes.
    fn text(&mut self, sector: u32, head: Head, room: &mut [u8]) -> Option<()> {
        let mut sum = checksum(head.number, head.len);
        let mut at = self.address(sector) + HEAD as u32;
        for part in room.get_mut(..head.len)?.chunks_mut(size_of::<Chunk>()) {
            let mut chunk = Chunk([0; 256]);
            self.flash.read(at, chunk.0.get_mut(..part.len().next_multiple_of(4))?).ok()?;
            part.copy_from_slice(chunk.0.get(..part.len())?);
            sum.update(part);
            at += part.len() as u32;
        }
        (sum.finalize() == head.checksum).then_some(())
    }

    /// The sector with the text that was written last, and its head: the other one is free.
    fn newest(&mut self, room: &mut [u8]) -> Option<(u32, Head)> {
        let heads = [self.head(0), self.head(1)];
        // Numbers go round: the newer one is less than half of them ahead.
        let second_first =
            matches!(heads, [Some(first), Some(second)] if second.number.wrapping_sub(first.number) < 1 << 31);
        let order = if second_first { [1, 0] } else { [0, 1] };
        order.into_iter().find_map(|sector| {
            let head = (*heads.get(sector as usize)?)?;
            self.text(sector, head, room).map(|()| (sector, head))
        })
    }

    fn write_all(&mut self, sector: u32, number: u32, text: &[u8]) -> Result<(), F::Error> {
        let start = self.address(sector);
        self.flash.erase(start, start + SECTOR)?;
        let mut sum = checksum(number, text.len());
        let mut at = start + HEAD as u32;
        for part in text.chunks(size_of::<Chunk>()) {
            sum.update(part);
            let mut chunk = Chunk([0xff; 256]);
            chunk.0.iter_mut().zip(part).for_each(|(to, from)| *to = *from);
            let whole = part.len().next_multiple_of(4);
            self.flash.write(at, chunk.0.get(..whole).unwrap_or_default())?;
            at += whole as u32;
        }
        // Last, so that there is no record before its text is there.
        let mut chunk = Chunk([0xff; 256]);
        let words = [MAGIC, number, text.len() as u32, sum.finalize()].into_iter().flat_map(u32::to_le_bytes);
        chunk.0.iter_mut().zip(words).for_each(|(to, from)| *to = from);
        self.flash.write(start, chunk.0.get(..HEAD).unwrap_or_default())
    }
}

/// Of a record, before its text.
fn checksum(number: u32, len: usize) -> crc::Digest<'static, u32> {
    let mut sum = CRC.digest();
    sum.update(&number.to_le_bytes());
    sum.update(&(len as u32).to_le_bytes());
    sum
}

impl<F: NorFlash> FlashStore for TwoSectors<F> {
    fn read<'b>(&mut self, room: &'b mut [u8]) -> Option<&'b [u8]> {
        let (_, head) = self.newest(room)?;
        room.get(..head.len)
    }

    fn write(&mut self, text: &[u8]) -> Result<(), FlashError> {
        if text.len() > FILE_MAX {
            return Err(FlashError);
        }
        let mut room = [0; FILE_MAX];
        let (sector, number) = match self.newest(&mut room) {
            Some((sector, head)) => (1 - sector, head.number.wrapping_add(1)),
            None => (0, 0),
        };
        self.write_all(sector, number, text).map_err(|_| FlashError)?;
        // What the flash took is not always what it holds.
        match self.newest(&mut room) {
            Some((_, head)) if head.number == number && room.get(..head.len) == Some(text) => Ok(()),
            _ => Err(FlashError),
        }
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::vec;
    use std::vec::Vec;

    use embedded_storage::nor_flash::{ErrorType, NorFlashError, NorFlashErrorKind, ReadNorFlash};

    use super::*;

    const FIRST: u32 = 8192;

    /// NOR flash as it is: a write clears bits, an erasure sets them. The power goes after so many bytes.
    struct Chip {
        bytes: Vec<u8>,
        left: usize,
    }

    #[derive(Debug)]
    struct NoPower;

    impl NorFlashError for NoPower {
        fn kind(&self) -> NorFlashErrorKind {
            NorFlashErrorKind::Other
        }
    }

    impl ErrorType for &mut Chip {
        type Error = NoPower;
    }

    impl ReadNorFlash for &mut Chip {
        const READ_SIZE: usize = 4;

        fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), NoPower> {
            assert!(offset.is_multiple_of(4) && bytes.len().is_multiple_of(4));
            bytes.copy_from_slice(&self.bytes[offset as usize..][..bytes.len()]);
            Ok(())
        }

        fn capacity(&self) -> usize {
            self.bytes.len()
        }
    }

    impl Chip {
        fn new() -> Self {
            Self { bytes: vec![0xff; FIRST as usize + 3 * SECTOR as usize], left: usize::MAX }
        }

        fn change(
            &mut self,
            offset: u32,
            bytes: impl Iterator<Item = u8>,
            how: fn(u8, u8) -> u8,
        ) -> Result<(), NoPower> {
            for (place, byte) in self.bytes[offset as usize..].iter_mut().zip(bytes) {
                self.left = self.left.checked_sub(1).ok_or(NoPower)?;
                *place = how(*place, byte);
            }
            Ok(())
        }
    }

    impl NorFlash for &mut Chip {
        const WRITE_SIZE: usize = 4;
        const ERASE_SIZE: usize = SECTOR as usize;

        fn erase(&mut self, from: u32, to: u32) -> Result<(), NoPower> {
            assert!(from.is_multiple_of(SECTOR) && to == from + SECTOR);
            let sector = core::iter::repeat_n(0xff, SECTOR as usize);
            self.change(from, sector, |_, new| new)
        }

        fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), NoPower> {
            assert!(offset.is_multiple_of(4) && bytes.len().is_multiple_of(4));
            self.change(offset, bytes.iter().copied(), |old, new| old & new)
        }
    }

    fn read(chip: &mut Chip) -> Option<Vec<u8>> {
        TwoSectors::new(chip, FIRST).read(&mut [0; FILE_MAX]).map(<[u8]>::to_vec)
    }

    fn write(chip: &mut Chip, text: &[u8]) -> Result<(), FlashError> {
        TwoSectors::new(chip, FIRST).write(text)
    }

    #[test]
    fn the_last_text_is_read() {
        let mut chip = Chip::new();
        assert_eq!(read(&mut chip), None);
        for len in [0, 1, 3, 4, 255, 256, 257, 2047, FILE_MAX, 5] {
            let text: Vec<u8> = (0..len).map(|n| (n * 7 + len) as u8).collect();
            write(&mut chip, &text).unwrap();
            assert_eq!(read(&mut chip), Some(text));
        }
        assert_eq!(write(&mut chip, &[0; FILE_MAX + 1]), Err(FlashError));
        assert!(chip.bytes[..FIRST as usize].iter().all(|byte| *byte == 0xff), "not before its place");
        assert!(chip.bytes[(FIRST + 2 * SECTOR) as usize..].iter().all(|byte| *byte == 0xff), "not after it");
    }

    #[test]
    fn numbers_go_round() {
        let mut chip = Chip::new();
        let mut sectors = TwoSectors::new(&mut chip, FIRST);
        sectors.write_all(0, u32::MAX, b"old").unwrap();
        sectors.write(b"new").unwrap();
        assert_eq!(read(&mut chip).as_deref(), Some(&b"new"[..]));
        write(&mut chip, b"newer").unwrap();
        assert_eq!(read(&mut chip).as_deref(), Some(&b"newer"[..]));
    }

    #[test]
    fn a_power_cut_leaves_the_old_or_the_new_text() {
        let (old, new) = ([b'o'; 300], [b'n'; 700]);
        let all = SECTOR as usize + HEAD + new.len();
        for rounds in [1, 2] {
            for left in (0..all).step_by(13).chain(all - HEAD - 1..=all) {
                let mut chip = Chip::new();
                for _ in 0..rounds {
                    write(&mut chip, &old).unwrap();
                }
                chip.left = left;
                let written = write(&mut chip, &new);
                assert_eq!(written.is_ok(), left == all, "{left}");
                chip.left = usize::MAX;
                let expected = if left == all { &new[..] } else { &old[..] };
                assert_eq!(read(&mut chip).as_deref(), Some(expected), "{left} bytes after {rounds} writes");
                write(&mut chip, b"after").unwrap();
                assert_eq!(read(&mut chip).as_deref(), Some(&b"after"[..]));
            }
        }
    }

    #[test]
    fn a_bit_that_fell_over_is_noticed() {
        let mut chip = Chip::new();
        write(&mut chip, b"first").unwrap();
        write(&mut chip, b"second").unwrap();
        chip.bytes[(FIRST + SECTOR) as usize + HEAD] ^= 1;
        assert_eq!(read(&mut chip).as_deref(), Some(&b"first"[..]));
        chip.bytes[FIRST as usize + 8] ^= 0x80;
        assert_eq!(read(&mut chip), None);
    }
}
