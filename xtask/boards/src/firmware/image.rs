//! A program as the tools take it that write it to a board, made of the ELF file: UF2, Intel HEX, an image of an Espressif chip's flash.

use anyhow::{Context, Result, anyhow, ensure};
use espflash::flasher::{FlashData, FlashSettings, FlashSize};
use espflash::image_format::idf::{IdfBootloaderFormat, check_idf_bootloader};
use espflash::target::Chip;
use goblin::elf::Elf;
use goblin::elf::program_header::PT_LOAD;

/// How a board wants its program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Image {
    /// The ELF file alone.
    Elf,
    /// UF2 for the boot loader of the RP2040, too.
    Uf2,
    /// Intel HEX for the Teensy's loader, too.
    Hex,
    /// What such a chip's flash holds from its start on, too.
    Esp(Chip),
}

impl Image {
    /// The ending of the file's name that the board's tool takes beside the ELF file, where there is one.
    pub fn ending(self) -> Option<&'static str> {
        match self {
            Image::Elf => None,
            Image::Uf2 => Some("uf2"),
            Image::Hex => Some("hex"),
            Image::Esp(_) => Some("bin"),
        }
    }

    /// Makes that file of an ELF file.
    ///
    /// # Errors
    /// When it is no program for such a board.
    pub fn convert(self, elf: &[u8]) -> Result<Vec<u8>> {
        match self {
            Image::Elf => Ok(elf.to_vec()),
            Image::Uf2 => uf2(elf),
            Image::Hex => hex(elf),
            Image::Esp(chip) => esp(elf, chip),
        }
    }
}

/// Boot loader, table of partitions and program, as espflash would write them one by one; gaps are as erased flash.
fn esp(elf: &[u8], chip: Chip) -> Result<Vec<u8>> {
    check_idf_bootloader(&elf.to_vec()).map_err(|error| anyhow!("no program for this chip: {error}"))?;
    // A boot loader takes chips from the first revision on where the image asks for none.
    let settings = FlashSettings::new(None, Some(FlashSize::_4Mb), None);
    let flash = FlashData::new(settings, 0, None, chip, chip.default_xtal_frequency());
    let format = IdfBootloaderFormat::new(elf, &flash, None, None, None, None).context("no program for this chip")?;
    let mut image = Vec::new();
    for segment in format.flash_segments() {
        let at = usize::try_from(segment.addr)?;
        ensure!(image.len() <= at, "parts of the image overlap at {at:#x}");
        image.resize(at, 0xff);
        image.extend_from_slice(segment.data());
    }
    Ok(image)
}

/// What an ELF file puts into flash, as one piece from its lowest address on; gaps are as erased flash.
///
/// # Errors
/// When it is no ELF file, or has nothing to load.
pub fn flat(elf: &[u8]) -> Result<(u32, Vec<u8>)> {
    /// No board has more.
    const MOST: u64 = 64 << 20;
    let parsed = Elf::parse(elf).context("no ELF file")?;
    let parts = || parsed.program_headers.iter().filter(|part| part.p_type == PT_LOAD && part.p_filesz > 0);
    let start = parts().map(|part| part.p_paddr).min().context("the program has nothing to load")?;
    let end = parts().map(|part| part.p_paddr + part.p_filesz).max().unwrap_or(start);
    ensure!(end - start <= MOST, "the program is spread over {} bytes", end - start);
    let mut bytes = vec![0xff; usize::try_from(end - start)?];
    for part in parts() {
        let (from, to) = (usize::try_from(part.p_paddr - start)?, usize::try_from(part.p_filesz)?);
        let data = elf.get(part.file_range()).context("an ELF file that is cut")?;
        bytes[from..from + to].copy_from_slice(data);
    }
    Ok((u32::try_from(start)?, bytes))
}

/// <https://github.com/microsoft/uf2>: blocks of 512 bytes with 256 bytes of the program each.
fn uf2(elf: &[u8]) -> Result<Vec<u8>> {
    const PAYLOAD: usize = 256;
    const FAMILY_ID_PRESENT: u32 = 0x2000;
    const RP2040: u32 = 0xe48b_ff56;
    let (start, bytes) = flat(elf)?;
    ensure!(start.is_multiple_of(PAYLOAD as u32), "the program begins within a page: {start:#x}");
    let count = bytes.len().div_ceil(PAYLOAD) as u32;
    let mut file = Vec::new();
    for (number, payload) in (0..).zip(bytes.chunks(PAYLOAD)) {
        let head = [
            0x0a32_4655,
            0x9e5d_5157,
            FAMILY_ID_PRESENT,
            start + number * PAYLOAD as u32,
            PAYLOAD as u32,
            number,
            count,
            RP2040,
        ];
        let at = file.len();
        file.extend(head.into_iter().flat_map(u32::to_le_bytes));
        file.extend(payload);
        file.resize(at + 508, 0);
        file.extend(0x0ab1_6f30_u32.to_le_bytes());
    }
    Ok(file)
}

/// Records of 32 bytes, and one before each 64 KiB that says where they are.
fn hex(elf: &[u8]) -> Result<Vec<u8>> {
    const DATA: usize = 32;
    const REACH: u32 = 1 << 16;
    let (start, bytes) = flat(elf)?;
    ensure!(start.is_multiple_of(DATA as u32), "the program begins within a record: {start:#x}");
    let mut records = Vec::new();
    let mut upper = None;
    for (address, value) in (start..).step_by(DATA).zip(bytes.chunks(DATA)) {
        let above = (address / REACH) as u16;
        if upper.replace(above) != Some(above) {
            records.push(ihex::Record::ExtendedLinearAddress(above));
        }
        records.push(ihex::Record::Data { offset: (address % REACH) as u16, value: value.to_vec() });
    }
    records.push(ihex::Record::EndOfFile);
    Ok(ihex::create_object_file_representation(&records)?.into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A 32-bit ELF file with one part to load.
    fn elf(address: u32, data: &[u8]) -> Vec<u8> {
        let mut file = b"\x7fELF\x01\x01\x01".to_vec();
        file.resize(16, 0);
        file.extend([2, 0, 40, 0]);
        for word in [1_u32, address, 52, 0, 0] {
            file.extend(word.to_le_bytes());
        }
        for half in [52_u16, 32, 1, 0, 0, 0] {
            file.extend(half.to_le_bytes());
        }
        for word in [1, 84, address, address, data.len() as u32, data.len() as u32, 5, 4] {
            file.extend(u32::to_le_bytes(word));
        }
        file.extend(data);
        file
    }

    #[test]
    fn uf2_has_its_pages() {
        let file = uf2(&elf(0x1000_0000, &[7; 300])).unwrap();
        assert_eq!(file.len(), 2 * 512);
        assert_eq!(file[..4], *b"UF2\n");
        let word = |at: usize| u32::from_le_bytes(file[at..at + 4].try_into().unwrap());
        assert_eq!([word(512 + 12), word(512 + 16), word(512 + 20), word(512 + 24)], [0x1000_0100, 256, 1, 2]);
        assert_eq!(word(512 + 28), 0xe48b_ff56);
        assert_eq!(file[512 + 32..512 + 32 + 45], [vec![7; 44], vec![0]].concat());
        assert_eq!(word(1020), 0x0ab1_6f30);
        assert!(uf2(&elf(0x1000_0001, &[7])).is_err());
    }

    #[test]
    fn hex_has_its_addresses() {
        let file = String::from_utf8(hex(&elf(0x6000_ffe0, &[7; 40])).unwrap()).unwrap();
        let lines: Vec<&str> = file.lines().collect();
        let data = |count: usize| "07".repeat(count);
        let expected = [
            ":020000046000 9A".replace(' ', ""),
            format!(":20FFE000{}21", data(32)),
            ":020000046001 99".replace(' ', ""),
            format!(":08000000{}C0", data(8)),
            ":00000001FF".to_owned(),
        ];
        assert_eq!(lines, expected);
        assert!(hex(&elf(0x6000_0004, &[7])).is_err());
    }

    #[test]
    fn what_is_no_program_is_refused() {
        assert!(flat(b"nothing").is_err());
        assert!(flat(&elf(0, &[])).is_err());
        assert!(flat(&elf(0, &[1; 8])[..88]).is_err());
        // Without a description of the program, by which the boot loader of these chips knows it.
        assert!(Image::Esp(Chip::Esp32c3).convert(&elf(0x4200_0020, &[1; 8])).is_err());
    }
}
