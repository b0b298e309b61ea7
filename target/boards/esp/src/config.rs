//! `cfg-iESP.json` in the flash. Its place is 24 KiB at 0x9000, which the usual table of partitions calls `nvs` and nothing else
//! here uses: the owner's text at the start, and two sectors for what a card brought.

use esp_hal::peripherals::FLASH;
use esp_storage::FlashStorage;
use iesp_firmware::config::{Config, FILE_MAX};
use iesp_firmware::flash::sectors::{SECTOR, TwoSectors};
use iesp_firmware::flash::text;
use static_cell::StaticCell;

/// Where `espflash write-bin` puts the owner's text.
const OWNERS: u32 = 0x9000;

/// Aligned to words, as the flash is read.
#[repr(align(4))]
struct Text([u8; FILE_MAX]);

static TEXT: StaticCell<Text> = StaticCell::new();

/// The place for what a card brought, and the owner's text.
pub fn stores(flash: FLASH<'static>) -> (TwoSectors<FlashStorage<'static>>, Option<&'static [u8]>) {
    let mut flash = FlashStorage::new(flash);
    let Text(room) = TEXT.init(Text([0; FILE_MAX]));
    // A flash that cannot be read has no text.
    let read = flash.read_nor(OWNERS, room);
    let owners = read.ok().and_then(|()| text(room));
    (TwoSectors::new(flash, OWNERS + SECTOR), owners)
}

/// What the owner's text says; the defaults where there is none, or it is wrong: the program tells that later.
pub fn of(owners: Option<&[u8]>) -> Config {
    owners.and_then(|text| Config::parse(text).ok()).unwrap_or_default()
}
