//! The memory map: the program runs where it lies in flash, by way of the instruction cache; data and the stack are in DTCM, which is
//! not cached and which the Ethernet controller reaches, too.

use imxrt_rt::{Family, FlexRamBanks, Memory, RuntimeBuilder};

/// Flash of the Teensy 4.1 without its last sectors, which are the boot loader's.
const FLASH: usize = 7936 * 1024;
/// The stack lies below all else in DTCM: one that is too small ends by a fault, and not in somebody's data.
const STACK: usize = 96 * 1024;

fn main() {
    RuntimeBuilder::from_flexspi(Family::Imxrt1060, FLASH)
        .flexram_banks(FlexRamBanks { ocram: 0, itcm: 1, dtcm: 15 })
        .text(Memory::Flash)
        .rodata(Memory::Flash)
        .vectors(Memory::Dtcm)
        .data(Memory::Dtcm)
        .bss(Memory::Dtcm)
        .stack(Memory::Dtcm)
        .stack_size(STACK)
        // The heap, and what a reset leaves as it is (last_words.rs).
        .uninit(Memory::Ocram)
        .linker_script_name("teensy41.x")
        .build()
        .expect("the parts of the memory map fit together");
    // The linker puts nothing between the boot header and the vectors.
    for argument in ["--nmagic", "-Tteensy41.x"] {
        println!("cargo::rustc-link-arg-bins={argument}");
    }
}
