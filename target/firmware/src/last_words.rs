//! What a panic leaves for the next start.
//!
//! A board keeps [`LastWords`] in RAM that a reset does not clear, and that nothing clears at the start: a section such as `.uninit`. Its
//! panic handler writes, its next start takes. After power on it holds any bits whatever; a checksum tells.

use core::fmt::{self, Write as _};
use core::sync::atomic::{AtomicU32, Ordering};

use heapless::String;

use crate::cut::Cut;

/// Longest text, in bytes; what is longer is cut.
pub const WORDS_MAX: usize = 240;

const MAGIC: u32 = 0x6945_5350;
const CRC: crc::Crc<u32> = crc::Crc::<u32>::new(&crc::CRC_32_ISO_HDLC);

/// The record. Any bits are a valid value of it; atomics, as what it holds at the start is nothing that the compiler knows of.
#[derive(Debug)]
#[repr(C)]
pub struct LastWords {
    magic: AtomicU32,
    len: AtomicU32,
    checksum: AtomicU32,
    text: [AtomicU32; WORDS_MAX / 4],
}

impl LastWords {
    /// None.
    pub const fn new() -> Self {
        Self {
            magic: AtomicU32::new(0),
            len: AtomicU32::new(0),
            checksum: AtomicU32::new(0),
            text: [const { AtomicU32::new(0) }; WORDS_MAX / 4],
        }
    }

    /// Keeps what a panic says: for the panic handler, which then resets the board. Where the one before it was not taken yet,
    /// that stays: it is the cause.
    pub fn write(&self, words: fmt::Arguments<'_>) {
        if self.words().is_some() {
            return;
        }
        let mut bytes = [0; WORDS_MAX];
        let mut text = Cut::new(&mut bytes);
        // What has no room is the end of it.
        let _ = text.write_fmt(words);
        let len = text.len as u32;
        for (place, word) in self.text.iter().zip(bytes.as_chunks().0) {
            place.store(u32::from_le_bytes(*word), Ordering::Relaxed);
        }
        self.len.store(len, Ordering::Relaxed);
        self.checksum.store(sum(len, &bytes), Ordering::Relaxed);
        self.magic.store(MAGIC, Ordering::Relaxed);
    }

    /// What the last panic said, once.
    pub fn take(&self) -> Option<String<WORDS_MAX>> {
        let words = self.words();
        self.magic.store(0, Ordering::Relaxed);
        words
    }

    fn words(&self) -> Option<String<WORDS_MAX>> {
        let mut bytes = [0; WORDS_MAX];
        for (place, word) in bytes.as_chunks_mut().0.iter_mut().zip(&self.text) {
            *place = word.load(Ordering::Relaxed).to_le_bytes();
        }
        let len = self.len.load(Ordering::Relaxed);
        let is_whole =
            self.magic.load(Ordering::Relaxed) == MAGIC && self.checksum.load(Ordering::Relaxed) == sum(len, &bytes);
        let text = bytes.get(..usize::try_from(len).ok().filter(|_| is_whole)?)?;
        String::try_from(core::str::from_utf8(text).ok()?).ok()
    }
}

fn sum(len: u32, text: &[u8; WORDS_MAX]) -> u32 {
    let mut digest = CRC.digest();
    digest.update(&len.to_le_bytes());
    digest.update(text);
    digest.finalize()
}

impl Default for LastWords {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_words_are_kept_and_taken_once() {
        let record = LastWords::new();
        assert_eq!(record.take(), None);
        record.write(format_args!("panicked at {}", 7));
        record.write(format_args!("and again"));
        assert_eq!(record.take().as_deref(), Some("panicked at 7"));
        assert_eq!(record.take(), None);
        record.write(format_args!("panicked at {}", 8));
        record.text[3].fetch_xor(1 << 9, Ordering::Relaxed);
        assert_eq!(record.take(), None, "a bit that fell over");
        record.write(format_args!("{:ä>300}", ""));
        assert_eq!(record.take().unwrap().len(), WORDS_MAX);
    }

    #[test]
    fn what_ram_holds_after_power_on_is_no_record() {
        for (magic, len) in [(MAGIC, 0), (MAGIC, u32::MAX), (0xffff_ffff, 5)] {
            let record = LastWords::new();
            record.magic.store(magic, Ordering::Relaxed);
            record.len.store(len, Ordering::Relaxed);
            record.checksum.store(0x5555_5555, Ordering::Relaxed);
            record.text.iter().for_each(|word| word.store(0xaaaa_aaaa, Ordering::Relaxed));
            assert_eq!(record.take(), None);
        }
    }
}
