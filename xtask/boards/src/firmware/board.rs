//! The one table of boards.

use anyhow::{Result, bail};

use espflash::target::Chip;
use xtask_common::toolchain;

use super::image::Image;

/// Which emulator runs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Emulator {
    /// QEMU: all of it.
    Qemu {
        /// QEMU's name of the machine.
        machine: &'static str,
        /// Memory in MiB, where the machine leaves a choice.
        memory_mib: Option<u32>,
    },
    /// rp2040js: the chip and its card, without a network.
    Rp2040,
    /// None: only the board itself.
    None,
}

/// A board.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Board {
    /// Its name: of the binary, and on the command line.
    pub name: &'static str,
    /// What it is.
    pub about: &'static str,
    /// The crate.
    pub package: &'static str,
    /// The workspace that it belongs to, from the project's root.
    pub workspace: &'static str,
    /// The processor, as the compiler calls it.
    pub target: &'static str,
    /// Which of the crate's features, in cargo's words.
    pub options: &'static [&'static str],
    /// How many sessions it takes at once.
    pub sessions: u32,
    /// Whether it has the memory for log, time, discovery and SNMP.
    pub services: bool,
    /// What its tool takes.
    pub image: Image,
    /// Which emulator runs it.
    pub emulator: Emulator,
}

const WORKSPACE: &str = "target/boards";

/// All boards.
pub const BOARDS: &[Board] = &[
    Board {
        name: "qemu-lm3s6965",
        about: "QEMU's lm3s6965evb: Cortex-M3, 64 KB of RAM, Ethernet, SD over SPI",
        package: "iesp-board-qemu-lm3s6965",
        workspace: WORKSPACE,
        target: "thumbv7m-none-eabi",
        options: &[],
        sessions: 1,
        services: false,
        image: Image::Elf,
        emulator: Emulator::Qemu { machine: "lm3s6965evb", memory_mib: None },
    },
    Board {
        name: "qemu-imx6ul",
        about: "QEMU's mcimx6ul-evk: Cortex-A7, Ethernet and SD as the Teensy has them",
        package: "iesp-board-qemu-imx6ul",
        workspace: WORKSPACE,
        target: "armv7a-none-eabi",
        options: &[],
        sessions: 3,
        services: true,
        image: Image::Elf,
        emulator: Emulator::Qemu { machine: "mcimx6ul-evk", memory_mib: Some(64) },
    },
    Board {
        name: "pico-w",
        about: "Raspberry Pi Pico W: RP2040, WiFi, SD over SPI",
        package: "iesp-board-pico-w",
        workspace: WORKSPACE,
        target: "thumbv6m-none-eabi",
        options: &[],
        sessions: 2,
        services: true,
        image: Image::Uf2,
        emulator: Emulator::Rp2040,
    },
    Board {
        name: "esp32c3",
        about: "ESP32-C3: WiFi, SD over SPI",
        package: "iesp-board-esp32c3",
        workspace: WORKSPACE,
        target: "riscv32imc-unknown-none-elf",
        options: &[],
        sessions: 2,
        services: true,
        image: Image::Esp(Chip::Esp32c3),
        emulator: Emulator::None,
    },
    Board {
        name: "esp32c6",
        about: "ESP32-C6: WiFi, SD over SPI",
        package: "iesp-board-esp32c3",
        workspace: WORKSPACE,
        target: "riscv32imac-unknown-none-elf",
        options: &["--no-default-features", "--features", "c6"],
        sessions: 2,
        services: true,
        image: Image::Esp(Chip::Esp32c6),
        emulator: Emulator::None,
    },
    Board {
        name: "esp32",
        about: "ESP32, Wemos D1 mini32: WiFi, SD over SPI; takes Espressif's compiler",
        package: "iesp-board-esp32",
        workspace: WORKSPACE,
        target: "xtensa-esp32-none-elf",
        options: &[],
        sessions: 1,
        services: true,
        image: Image::Esp(Chip::Esp32),
        emulator: Emulator::None,
    },
    Board {
        name: "wt32-eth01",
        about: "WT32-ETH01, an ESP32: Ethernet, SD over SPI; takes Espressif's compiler",
        package: "iesp-board-esp32",
        workspace: WORKSPACE,
        target: "xtensa-esp32-none-elf",
        options: &["--no-default-features", "--features", "wt32-eth01"],
        sessions: 1,
        services: true,
        image: Image::Esp(Chip::Esp32),
        emulator: Emulator::None,
    },
    Board {
        name: "teensy41",
        about: "Teensy 4.1: i.MX RT1062 (Cortex-M7), Ethernet, SD slot",
        package: "iesp-board-teensy41",
        workspace: WORKSPACE,
        target: "thumbv7em-none-eabihf",
        options: &[],
        sessions: 3,
        services: true,
        image: Image::Hex,
        emulator: Emulator::None,
    },
];

impl Board {
    /// Whether no compiler but the chip's maker's builds its program.
    pub fn is_elsewhere(&self) -> bool {
        toolchain::is_espressifs(self.target)
    }

    /// The board of this name.
    ///
    /// # Errors
    /// When there is none: the message names all.
    pub fn find(name: &str) -> Result<&'static Board> {
        match BOARDS.iter().find(|board| board.name == name) {
            Some(board) => Ok(board),
            None => {
                let known: Vec<&str> = BOARDS.iter().map(|board| board.name).collect();
                bail!("no board {name}; there are {}", known.join(", "))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use xtask_common::workspace;

    #[test]
    fn each_board_has_its_crate() {
        for board in BOARDS {
            let folder = board.package.trim_start_matches("iesp-board-");
            let file = workspace::root().join(board.workspace).join(folder).join("Cargo.toml");
            let manifest = std::fs::read_to_string(file).unwrap();
            assert!(manifest.contains(&format!("name = \"{}\"", board.package)), "{}", board.name);
        }
    }

    #[test]
    fn an_unknown_board_is_told_with_the_known_ones() {
        let error = Board::find("pico").unwrap_err().to_string();
        assert!(error.contains("no board pico; there are qemu-lm3s6965, "), "{error}");
    }
}
