//! `cfg-iESP.json` in the flash: its last sector, which `picotool load -o 0x101ff000` writes.

use iesp_firmware::config::FILE_MAX;
use iesp_firmware::flash::text;

const SECTOR: usize = 0x101f_f000;

/// The text, or none where the sector is erased.
pub fn in_flash() -> Option<&'static [u8]> {
    // SAFETY: flash, mapped and never written while the program runs; the linker leaves this sector alone (memory.x).
    let sector = unsafe { core::slice::from_raw_parts(SECTOR as *const u8, FILE_MAX) };
    text(sector)
}
