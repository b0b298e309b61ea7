//! The registers of the emulated card (SD 5.1 to 5.6).

use super::crc::crc7_and_end_bit;

/// What kind of card is emulated.
#[derive(Clone, Debug)]
pub struct Model {
    /// Capacity in blocks of 512 bytes; a multiple of 1024, at most 2^32.
    pub blocks: u64,
    /// Product serial number (CID).
    pub serial: u32,
    /// Knows CMD6 and high speed: 50 MHz instead of 25.
    pub high_speed: bool,
    /// What erased blocks read as: 0 or 0xff.
    pub erased: u8,
    /// Bits are disturbed at clocks above this: the wiring.
    pub reliable_hz: u32,
    /// Knows CMD8: false for a card of version 1.
    pub version_2: bool,
    /// Blocks are addressed by number: false for a card of standard capacity.
    pub high_capacity: bool,
    /// Write-protected by its CSD.
    pub write_protected: bool,
}

impl Model {
    /// An SDHC or SDXC card of `gigabytes` (10^9 bytes, as they are sold), rounded down to what its CSD can say.
    ///
    /// # Panics
    /// When no such card exists: below 4 GB or above 2 TB.
    pub fn of(gigabytes: u64) -> Self {
        assert!((4..=2000).contains(&gigabytes), "SDHC and SDXC cards have 4 to 2000 GB");
        Self {
            blocks: gigabytes * 1_000_000_000 / 512 / 1024 * 1024,
            serial: 0x1e5b_0001,
            high_speed: true,
            erased: 0,
            reliable_hz: 50_000_000,
            version_2: true,
            high_capacity: true,
            write_protected: false,
        }
    }

    pub(super) fn csd(&self, high_speed_now: bool) -> [u8; 16] {
        let c_size = (self.blocks / 1024 - 1) as u32;
        let [_, high, mid, low] = c_size.to_be_bytes();
        let tran_speed = if high_speed_now { 0x5a } else { 0x32 };
        let classes: u16 = if self.high_speed { 0x5b5 } else { 0x1b5 };
        let protection = if self.write_protected { 0x20 } else { 0 };
        let structure = if self.high_capacity { 0x40 } else { 0 };
        let [classes_high, classes_low] = (classes << 4 | 9).to_be_bytes();
        let body = [
            structure,
            0x0e,
            0,
            tran_speed,
            classes_high,
            classes_low,
            0,
            high,
            mid,
            low,
            0x7f,
            0x80,
            0x0a,
            0x40,
            protection,
        ];
        sealed(body)
    }

    pub(super) fn cid(&self) -> [u8; 16] {
        let [a, b, c, d] = self.serial.to_be_bytes();
        // Manufacturer 0x1e, OEM "iE", product "SIMSD" 1.0, November 2026.
        sealed([0x1e, b'i', b'E', b'S', b'I', b'M', b'S', b'D', 0x10, a, b, c, d, 0x01, 0xab])
    }

    pub(super) fn scr(&self) -> [u8; 8] {
        [0x02, if self.erased == 0 { 0x35 } else { 0xb5 }, 0x80, 0, 0, 0, 0, 0]
    }

    /// OCR after (`ready`) or before the end of initialisation.
    pub(super) fn ocr(&self, ready: bool) -> u32 {
        let capacity = if self.high_capacity { 1 << 30 } else { 0 };
        0x00ff_8000 | if ready { 1 << 31 | capacity } else { 0 }
    }

    /// CMD6: the status block, and whether high speed holds afterwards.
    pub(super) fn switch(&self, argument: u32) -> ([u8; 64], bool) {
        let mut status = [0; 64];
        status[1] = 100;
        status[13] = if self.high_speed { 0b11 } else { 0b01 };
        let (set, function) = (argument >> 31 == 1, argument & 0xf);
        let taken = match function {
            0xf | 0 => 0,
            1 if self.high_speed => 1,
            _ => 0xf,
        };
        status[16] = taken;
        (status, set && taken == 1)
    }
}

fn sealed(body: [u8; 15]) -> [u8; 16] {
    let mut register = [0; 16];
    register[..15].copy_from_slice(&body);
    register[15] = crc7_and_end_bit(&body);
    register
}

/// How long a card takes, in microseconds.
#[derive(Clone, Debug)]
pub struct Timing {
    /// From power-up to the end of initialisation.
    pub initialise: u64,
    /// From a read command to its first block.
    pub access: u64,
    /// Between two blocks of CMD18.
    pub next_block: u64,
    /// Busy after a block of CMD25 that goes to the card's buffer.
    pub buffer: u64,
    /// Busy after CMD24, or after the end of CMD25.
    pub program: u64,
    /// Every so many blocks written, the card cleans up ...
    pub clean_every: u32,
    /// ... for so long.
    pub clean: u64,
    /// Busy after an erase.
    pub erase: u64,
}

impl Timing {
    /// A card as they are sold today (class 10, A1).
    pub fn usual() -> Self {
        Self {
            initialise: 120_000,
            access: 250,
            next_block: 2,
            buffer: 3,
            program: 900,
            clean_every: 4096,
            clean: 40_000,
            erase: 3_000,
        }
    }

    /// A card that waits little: more happens in the same time.
    pub fn quick() -> Self {
        Self { initialise: 5_000, program: 150, erase: 300, clean: 2_000, clean_every: 64, ..Self::usual() }
    }
}
