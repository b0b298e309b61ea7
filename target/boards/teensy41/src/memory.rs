//! What the processor may do with which memory, and the caches.
//!
//! DTCM is cached by nobody: what the Ethernet controller reads and writes lies there (ethernet.rs). The SD controller is polled. So
//! no cache has to be told of anything. All that is not named here is forbidden: the processor looks ahead into memory that it holds
//! for such, and hangs where there is none.

use cortex_m::Peripherals;
use cortex_m::asm::{dsb, isb};

/// RASR (ARMv7-M Architecture Reference Manual, B3.5.9): execute never; access; TEX, C and B.
mod attributes {
    pub const NO_CODE: u32 = 1 << 28;
    pub const READ_WRITE: u32 = 3 << 24;
    pub const READ_ONLY: u32 = 7 << 24;
    pub const UNCACHED: u32 = 1 << 19;
    pub const WRITE_THROUGH: u32 = 1 << 17;
    pub const WRITE_BACK: u32 = 1 << 19 | 1 << 17 | 1 << 16;
    pub const DEVICE: u32 = 2 << 19;
}
use attributes::{DEVICE, NO_CODE, READ_ONLY, READ_WRITE, UNCACHED, WRITE_BACK, WRITE_THROUGH};

/// Regions: where they begin, the power of two that is their length, and what they are. A later one wins over an earlier one.
const REGIONS: [(u32, u32, u32); 8] = [
    // Nothing at all: 4 GiB.
    (0, 32, NO_CODE),
    // ITCM, without its first 32 bytes, where null pointers point to.
    (0, 19, READ_WRITE | UNCACHED),
    (0, 5, NO_CODE),
    // DTCM.
    (0x2000_0000, 19, READ_WRITE | UNCACHED | NO_CODE),
    // OCRAM: what a panic writes there is there after the reset.
    (0x2020_0000, 19, READ_WRITE | WRITE_THROUGH | NO_CODE),
    // The boot ROM.
    (0x0020_0000, 17, READ_ONLY | WRITE_THROUGH),
    // Controllers.
    (0x4000_0000, 26, READ_WRITE | DEVICE | NO_CODE),
    // Flash.
    (0x6000_0000, 23, READ_ONLY | WRITE_BACK),
];

/// Sets the regions, and turns the caches on. For the start: nothing else drives the processor's own registers.
pub fn begin() {
    // SAFETY: called once, before anything else takes them.
    let mut core = unsafe { Peripherals::steal() };
    for (number, (start, power, what)) in (0..).zip(REGIONS) {
        // SAFETY: regions that hold all that the program uses, with the rights that it needs.
        unsafe {
            // The region's number goes with its address (VALID).
            core.MPU.rbar.write(start | 1 << 4 | number);
            // Its length is 2 to the power of SIZE + 1.
            core.MPU.rasr.write(what | (power - 1) << 1 | 1);
        }
    }
    // SAFETY: as above; there is no region but these, in handlers neither.
    unsafe { core.MPU.ctrl.write(1) };
    dsb();
    isb();
    core.SCB.enable_icache();
    core.SCB.enable_dcache(&mut core.CPUID);
}
