//! A card on another emulator's wires: what goes over them comes by standard input, in records of 16 bytes; the answers to the
//! bytes of the bus leave by standard output.
//!
//! | bytes | what |
//! | --- | --- |
//! | 0 | 0: a byte of the bus; 1: chip select |
//! | 1 | the byte; 1 for a card that is selected |
//! | 2, 3 | 0 |
//! | 4 to 7 | the bus's clock in Hz, little endian |
//! | 8 to 15 | the time in microseconds, little endian |

use std::io::{ErrorKind, Read, Write};
use std::path::Path;

use iesp_simulator::card::{BLOCK, Card, Faults, Model, SparseFile, Timing};

/// Serves the image until the other side ends.
///
/// # Errors
/// When the image cannot be read, or the protocol was violated: every violation is told.
pub fn serve(image: &Path) -> Result<(), String> {
    let told = |error: std::io::Error| format!("{}: {error}", image.display());
    let len = std::fs::metadata(image).map_err(told)?.len();
    let blocks = len / BLOCK as u64 / 1024 * 1024;
    let medium = SparseFile::open(image, blocks).map_err(told)?;
    let model = Model { blocks, ..Model::of(4) };
    let mut card = Card::new(model, Timing::usual(), Box::new(medium), Faults::none(0));
    let (mut input, mut output) = (std::io::stdin().lock(), std::io::stdout().lock());
    let mut selected = false;
    let mut record = [0; 16];
    loop {
        match input.read_exact(&mut record) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => break,
            Err(error) => return Err(format!("standard input: {error}")),
        }
        let [kind, value, _, _, h0, h1, h2, h3, time @ ..] = record;
        let (hz, now_us) = (u32::from_le_bytes([h0, h1, h2, h3]), u64::from_le_bytes(time));
        if kind == 1 {
            selected = value != 0;
            card.select(selected, now_us);
            continue;
        }
        let answer = card.exchange(value, selected, hz.max(1), now_us);
        output
            .write_all(&[answer])
            .and_then(|()| output.flush())
            .map_err(|error| format!("standard output: {error}"))?;
    }
    let counters = card.counters();
    eprintln!("card: {} blocks read, {} written", counters.blocks_read, counters.blocks_written);
    match card.violations() {
        [] => Ok(()),
        violations => {
            let lines: Vec<String> = violations.iter().map(|violation| format!("{violation:?}")).collect();
            Err(format!("the card's protocol was violated: {}", lines.join("; ")))
        }
    }
}
