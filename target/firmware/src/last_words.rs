//! What a panic leaves for the next start.
//!
//! A board keeps [`LastWords`] in RAM that a reset does not clear, and that nothing clears at the start: a section `.uninit`. Its
//! panic handler writes, its next start takes. After power on it holds any bits whatever; a checksum tells.

use core::fmt::{self, Write as _};

use heapless::String;

use crate::cut::Cut;

/// Longest text, in bytes; what is longer is cut.
pub const WORDS_MAX: usize = 240;

const MAGIC: u32 = 0x6945_5350;
const CRC: crc::Crc<u32> = crc::Crc::<u32>::new(&crc::CRC_32_ISO_HDLC);

/// The record. Any bits are a valid value of it.
#[derive(Clone, Debug)]
#[repr(C)]
pub struct LastWords {
    magic: u32,
    len: u32,
    checksum: u32,
    text: [u8; WORDS_MAX],
}

impl LastWords {
    /// None.
    pub const fn new() -> Self {
        Self { magic: 0, len: 0, checksum: 0, text: [0; WORDS_MAX] }
    }

    /// Keeps what a panic says: for the panic handler, which then resets the board. Where the one before it was not taken yet,
    /// that stays: it is the cause.
    pub fn write(&mut self, words: fmt::Arguments<'_>) {
        if self.words().is_some() {
            return;
        }
        self.text = [0; WORDS_MAX];
        let mut text = Cut::new(&mut self.text);
        // What has no room is the end of it.
        let _ = text.write_fmt(words);
        (self.magic, self.len) = (MAGIC, text.len as u32);
        self.checksum = self.sum();
    }

    /// What the last panic said, once.
    pub fn take(&mut self) -> Option<String<WORDS_MAX>> {
        let words = self.words().and_then(|words| String::try_from(words).ok());
        self.magic = 0;
        words
    }

    fn words(&self) -> Option<&str> {
        let is_whole = self.magic == MAGIC && self.checksum == self.sum();
        let len = usize::try_from(self.len).ok().filter(|_| is_whole)?;
        core::str::from_utf8(self.text.get(..len)?).ok()
    }

    fn sum(&self) -> u32 {
        let mut digest = CRC.digest();
        digest.update(&self.len.to_le_bytes());
        digest.update(&self.text);
        digest.finalize()
    }
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
        let mut record = LastWords::new();
        assert_eq!(record.take(), None);
        record.write(format_args!("panicked at {}", 7));
        record.write(format_args!("and again"));
        let mut kept = record.clone();
        assert_eq!(record.take().as_deref(), Some("panicked at 7"));
        assert_eq!(record.take(), None);
        kept.text[3] ^= 1;
        assert_eq!(kept.take(), None, "a bit that fell over");
        record.write(format_args!("{:ä>300}", ""));
        assert_eq!(record.take().unwrap().len(), WORDS_MAX);
    }

    #[test]
    fn what_ram_holds_after_power_on_is_no_record() {
        for (magic, len) in [(MAGIC, 0), (MAGIC, u32::MAX), (0xffff_ffff, 5)] {
            assert_eq!(LastWords { magic, len, checksum: 0x5555_5555, text: [0xaa; WORDS_MAX] }.take(), None);
        }
    }
}
