//! How much flash and RAM a board's program takes, and the budgets that it is held against (`ci/firmware.toml`).

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use espflash::target::Chip;
use goblin::elf::Elf;
use goblin::elf::program_header::{PF_W, PT_LOAD};
use serde::{Deserialize, Serialize};
use xtask_common::workspace;

use super::board::Board;
use super::image::Image;

/// Bytes of a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Size {
    /// In flash: code, constants, initial values.
    pub flash: u64,
    /// In RAM from the start on: variables, and code that runs there. The stack is not in it.
    pub ram: u64,
    /// Where RAM's part ends, and where the stack above it begins to grow down (`_stack_start`), where both are known.
    #[serde(skip)]
    pub stack_area: Option<(u64, u64)>,
}

/// What a board may take, in bytes.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Budget {
    /// Flash that the board has.
    pub flash_limit: u64,
    /// RAM that the board has.
    pub ram_limit: u64,
    /// Flash that the program may take.
    pub flash: u64,
    /// RAM that the program may take, without its stack.
    pub ram: u64,
    /// The stack that there has to be room for, and that it may take, where it is measured.
    #[serde(default)]
    pub stack: u64,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    board: std::collections::BTreeMap<String, Budget>,
}

impl Size {
    /// Of a board's ELF file.
    ///
    /// # Errors
    /// When it cannot be read, or is no ELF file.
    pub fn of(elf: &Path, board: &Board) -> Result<Self> {
        let bytes = std::fs::read(elf).with_context(|| format!("cannot read {}", elf.display()))?;
        let parsed = Elf::parse(&bytes).with_context(|| format!("{} is no ELF file", elf.display()))?;
        let symbol = |name| {
            parsed
                .syms
                .iter()
                .find(|symbol| parsed.strtab.get_at(symbol.st_name) == Some(name))
                .map(|symbol| symbol.st_value)
        };
        let (top, bottom) = (symbol("_stack_start"), symbol("_stack_end"));
        let (mut flash, mut ram, mut ram_end) = (0, 0, 0);
        for part in parsed.program_headers.iter().filter(|part| part.p_type == PT_LOAD && part.p_memsz > 0) {
            flash += part.p_filesz;
            let in_ram = match board.image {
                // What is neither written nor in the file holds a place in one of the two views that these chips have of their RAM.
                Image::Esp(chip) => part.p_flags & PF_W != 0 || part.p_filesz > 0 && !is_esp_flash(chip, part.p_vaddr),
                Image::Elf | Image::Uf2 | Image::Hex => part.p_flags & PF_W != 0 || part.p_vaddr != part.p_paddr,
            };
            if in_ram {
                let end = part.p_vaddr + part.p_memsz;
                let stack = match (bottom, top) {
                    (Some(bottom), Some(top)) if part.p_vaddr <= bottom && top <= end => top - bottom,
                    _ => 0,
                };
                ram += part.p_memsz - stack;
                ram_end = ram_end.max(end);
            }
        }
        let stack_area = top.map(|top| (bottom.unwrap_or(ram_end), top)).filter(|(end, top)| end < top);
        Ok(Size { flash, ram, stack_area })
    }

    /// Holds it against a budget.
    ///
    /// # Errors
    /// When it takes more.
    pub fn check(&self, board: &str, budget: &Budget) -> Result<()> {
        for (what, takes, may) in [("flash", self.flash, budget.flash), ("RAM", self.ram, budget.ram)] {
            ensure!(
                takes <= may,
                "{board} takes {takes} bytes of {what}, {} more than its budget in ci/firmware.toml",
                takes - may
            );
        }
        if let Some((end, top)) = self.stack_area {
            ensure!(
                top - end >= budget.stack,
                "{board} leaves {} bytes for its stack, {} less than its budget in ci/firmware.toml",
                top - end,
                budget.stack - (top - end)
            );
        }
        Ok(())
    }

    /// As it is printed.
    pub fn line(&self, board: &str, budget: &Budget) -> String {
        format!(
            "{board}: flash {} of {} KiB (budget {}), RAM {} of {} KiB (budget {}) and the stack",
            kib(self.flash),
            kib(budget.flash_limit),
            kib(budget.flash),
            kib(self.ram),
            kib(budget.ram_limit),
            kib(budget.ram),
        )
    }
}

/// Where such a chip shows its flash to the program: constants, code.
fn is_esp_flash(chip: Chip, address: u64) -> bool {
    let windows = match chip {
        Chip::Esp32 => [0x3f40_0000..0x3f80_0000, 0x400d_0000..0x4040_0000],
        _ => [0x3c00_0000..0x3e00_0000, 0x4200_0000..0x4400_0000],
    };
    windows.iter().any(|window| window.contains(&address))
}

/// Bytes in KiB, with one decimal.
pub fn kib(bytes: u64) -> String {
    format!("{:.1}", bytes as f64 / 1024.0)
}

/// A board's budget.
///
/// # Errors
/// When it has none, or one that the board has no room for.
pub fn budget(board: &Board) -> Result<Budget> {
    let file = workspace::root().join("ci/firmware.toml");
    let text = std::fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
    budget_in(&text, board.name).with_context(|| format!("{} is wrong", file.display()))
}

fn budget_in(text: &str, board: &str) -> Result<Budget> {
    let file: File = toml::from_str(text)?;
    let Some(budget) = file.board.get(board) else { bail!("no budget for {board}") };
    ensure!(
        budget.flash <= budget.flash_limit && budget.ram + budget.stack <= budget.ram_limit,
        "the budget of {board} is more than the board has"
    );
    Ok(*budget)
}

/// What a stack looks like before it is used.
const PAINT: [u8; 4] = 0xcccc_cccc_u32.to_le_bytes();

/// How many bytes of a painted stack were used: `ram` is the RAM above a program's variables, up to the stack's top.
pub fn used_stack(ram: &[u8]) -> u64 {
    let untouched = ram.as_chunks::<4>().0.iter().take_while(|word| **word == PAINT).count();
    (ram.len() - untouched * 4) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "[board.a]\nflash-limit = 100\nram-limit = 50\nflash = 90\nram = 40\nstack = 10\n";

    #[test]
    fn a_program_that_is_too_large_is_told() {
        let budget = budget_in(TEXT, "a").unwrap();
        Size { flash: 90, ram: 40, stack_area: None }.check("a", &budget).unwrap();
        let error = Size { flash: 93, ram: 40, stack_area: None }.check("a", &budget).unwrap_err().to_string();
        assert!(error.contains("93 bytes of flash, 3 more"), "{error}");
        assert!(Size { flash: 1, ram: 41, stack_area: None }.check("a", &budget).is_err());
        Size { flash: 1, ram: 40, stack_area: Some((40, 50)) }.check("a", &budget).unwrap();
        let error = Size { flash: 1, ram: 40, stack_area: Some((40, 49)) }.check("a", &budget).unwrap_err().to_string();
        assert!(error.contains("9 bytes for its stack, 1 less"), "{error}");
    }

    #[test]
    fn a_budget_that_the_board_has_no_room_for_is_told() {
        assert!(budget_in(TEXT, "b").is_err());
        assert!(budget_in(&TEXT.replace("ram = 40", "ram = 41"), "a").is_err());
    }

    #[test]
    fn chips_show_their_flash_elsewhere() {
        for (chip, flash, ram) in [(Chip::Esp32c3, 0x4200_0020, 0x4038_0000), (Chip::Esp32, 0x400d_0020, 0x4008_0000)] {
            assert!(is_esp_flash(chip, flash) && !is_esp_flash(chip, ram));
        }
    }

    #[test]
    fn the_stack_is_what_is_no_longer_painted() {
        let mut ram = vec![0xcc; 64];
        assert_eq!(used_stack(&ram), 0);
        ram[40] = 1;
        assert_eq!(used_stack(&ram), 24);
        assert_eq!(used_stack(&[0; 12]), 12);
    }

    #[test]
    fn every_board_has_a_budget() {
        for board in super::super::board::BOARDS {
            budget(board).unwrap();
        }
    }
}
