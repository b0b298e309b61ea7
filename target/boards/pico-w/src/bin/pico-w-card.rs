//! The path to the card on its own: starts the card, writes blocks one by one and in a row, reads them, and says on the console
//! whether they are what was written; then the same with the place in flash for the configuration. `cargo xtask firmware run pico-w --check` runs it on an emulated RP2040.

#![no_std]
#![no_main]

use core::fmt::Write as _;
use core::panic::PanicInfo;

use embassy_executor::Spawner;
use iesp_board_pico_w::{CardPins, Console, card, kept};
use iesp_firmware::card::Card;
use iesp_firmware::config::FILE_MAX;
use iesp_firmware::flash::FlashStore;

/// Where it writes, and how many blocks at once.
const FIRST: u32 = 4096;
const BLOCKS: usize = 8;
const BLOCK: usize = 512;

#[embassy_executor::main]
async fn main(_spawner: Spawner) {
    let p = embassy_rp::init(Default::default());
    let mut console = Console::new(p.UART0, p.PIN_0);
    let mut card = card(CardPins {
        spi: p.SPI1,
        miso: p.PIN_8,
        mosi: p.PIN_11,
        sck: p.PIN_10,
        select: p.PIN_12,
        send: p.DMA_CH0,
        receive: p.DMA_CH1,
    });
    let mut result = check(&mut card, &mut console).await;
    if result.is_ok() {
        result = check_flash(&mut kept(p.FLASH), &mut console);
    }
    let _ = match result {
        Ok(()) => writeln!(console, "card: PASSED"),
        Err(why) => writeln!(console, "card: FAILED: {why}"),
    };
}

async fn check(card: &mut impl Card, console: &mut Console) -> Result<(), &'static str> {
    let facts = card.start().await.map_err(|error| {
        let _ = writeln!(console, "start: {error}");
        "it does not start"
    })?;
    let _ = writeln!(console, "card: {} blocks, {} kHz", facts.blocks, facts.clock_hz / 1000);
    let mut written = [0; BLOCKS * BLOCK];
    let mut number = 1_u32;
    for byte in &mut written {
        number = number.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        *byte = (number >> 24) as u8;
    }
    let (one, rest) = written.split_at(BLOCK);
    card.write(FIRST, one).await.map_err(|_| "a block cannot be written")?;
    card.write(FIRST + 1, rest).await.map_err(|_| "blocks in a row cannot be written")?;
    card.flush().await.map_err(|_| "a flush fails")?;
    let mut read = [0; BLOCKS * BLOCK];
    card.read(FIRST, &mut read).await.map_err(|_| "blocks cannot be read")?;
    if read != written {
        return Err("what is read is not what was written");
    }
    let _ = writeln!(console, "card: {BLOCKS} blocks written and read");
    Ok(())
}

/// Texts take turns on the two sectors: three of them write one of the sectors again.
fn check_flash(kept: &mut impl FlashStore, console: &mut Console) -> Result<(), &'static str> {
    let mut room = [0; FILE_MAX];
    if kept.read(&mut room).is_some() {
        return Err("there is a text in the flash that nobody wrote");
    }
    for text in [&b"{\"target-name\": \"first\"}"[..], &[b'x'; 700], b"{}"] {
        kept.write(text).map_err(|_| "the flash cannot be written")?;
        if kept.read(&mut room) != Some(text) {
            return Err("the flash does not hold what was written");
        }
    }
    let _ = writeln!(console, "flash: 3 texts written and read");
    Ok(())
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    // SAFETY: nothing else runs any more.
    let p = unsafe { embassy_rp::Peripherals::steal() };
    let _ = writeln!(Console::new(p.UART0, p.PIN_0), "{info}");
    loop {
        cortex_m::asm::wfe();
    }
}
