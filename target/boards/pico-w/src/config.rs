//! `cfg-iESP.json` in the flash: two sectors for what a card brought, and in the last one the owner's text, which
//! `picotool load -o 0x101ff000` writes.

use embassy_rp::Peri;
use embassy_rp::flash::{Blocking, Flash};
use embassy_rp::peripherals::FLASH;
use iesp_firmware::config::FILE_MAX;
use iesp_firmware::flash::sectors::{SECTOR, TwoSectors};
use iesp_firmware::flash::text;

/// Bytes of the flash, and where the program sees it.
const BYTES: usize = 2 << 20;
const BASE: usize = 0x1000_0000;
/// From the flash's start; the linker leaves these sectors alone (memory.x).
const OWNERS: usize = BYTES - SECTOR as usize;
const KEPT: u32 = OWNERS as u32 - 2 * SECTOR;

/// The owner's text, or none where the sector is erased.
pub fn in_flash() -> Option<&'static [u8]> {
    // SAFETY: flash, mapped and never written while the program runs: what is written are the sectors before it.
    let sector = unsafe { core::slice::from_raw_parts((BASE + OWNERS) as *const u8, FILE_MAX) };
    text(sector)
}

/// The place for what a card brought. While it is written nothing else runs: code lies in the same flash.
pub fn kept(flash: Peri<'static, FLASH>) -> TwoSectors<Flash<'static, FLASH, Blocking, BYTES>> {
    TwoSectors::new(Flash::new_blocking(flash), KEPT)
}
