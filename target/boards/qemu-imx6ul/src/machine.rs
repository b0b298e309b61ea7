//! Start, clock, sleep and console of the i.MX 6UltraLite, as QEMU has it.

#![expect(clippy::undocumented_unsafe_blocks, reason = "registers have one reason together")]

use core::arch::{asm, global_asm};

use bare::{Machine, Register, Serial};

// Secure supervisor mode, caches and MMU off, one core. Sets the stack, clears what has to be zero, and goes on in Rust.
global_asm!(
    ".section .text.start, \"ax\"",
    ".global _start",
    "_start:",
    "cpsid if",
    "ldr sp, =_stack_start",
    "ldr r0, =__bss_start",
    "ldr r1, =__bss_end",
    "mov r2, #0",
    "1: cmp r0, r1",
    "strlo r2, [r0], #4",
    "blo 1b",
    // The stack is painted, so that what was used of it can be seen.
    "ldr r2, =0xcccccccc",
    "3: cmp r0, sp",
    "strlo r2, [r0], #4",
    "blo 3b",
    "bl start_in_rust",
    "2: wfi",
    "b 2b",
);

// SAFETY (all of these): registers of the i.MX 6UltraLite (Reference Manual, chapters 48 and 57) and of its interrupt
// controller (GIC-400), which this file alone drives.
const UART_DATA: Register = unsafe { Register::at(0x0202_0040) };
const UART_CONTROL_1: Register = unsafe { Register::at(0x0202_0080) };
const UART_CONTROL_2: Register = unsafe { Register::at(0x0202_0084) };
const UART_STATUS_1: Register = unsafe { Register::at(0x0202_0094) };
const DISTRIBUTOR_CONTROL: Register = unsafe { Register::at(0x00a0_1000) };
const DISTRIBUTOR_ENABLE: [Register; 5] = unsafe {
    [
        Register::at(0x00a0_1100),
        Register::at(0x00a0_1104),
        Register::at(0x00a0_1108),
        Register::at(0x00a0_110c),
        Register::at(0x00a0_1110),
    ]
};
const CPU_CONTROL: Register = unsafe { Register::at(0x00a0_2000) };
const CPU_PRIORITY_MASK: Register = unsafe { Register::at(0x00a0_2004) };
const RESET_STATUS: Register = unsafe { Register::at(0x020d_8008) };
const WATCHDOG_CONTROL: Register = unsafe { Register::at(0x020b_c000) };

/// Interrupt lines: the two physical timers of the core, and the first Ethernet controller.
const LINES: [u32; 3] = [29, 30, 118 + 32];
const TRANSMITTER_READY: u32 = 1 << 13;

/// The machine: the core's generic timer is its clock and alarm.
pub struct Imx6ul;

/// Starts clocks and the console.
pub fn begin() {
    UART_CONTROL_1.set(1);
    UART_CONTROL_2.set(1 << 2 | 1);
    for line in LINES {
        DISTRIBUTOR_ENABLE[line as usize / 32].write(1 << (line % 32));
    }
    CPU_PRIORITY_MASK.write(0xff);
    CPU_CONTROL.write(0b11);
    DISTRIBUTOR_CONTROL.write(0b11);
}

/// Why the chip was started (SRSR, which is cleared).
pub fn reset_reason() -> &'static str {
    let cause = RESET_STATUS.read();
    RESET_STATUS.write(cause);
    match cause {
        cause if cause & 1 << 4 != 0 => "watchdog",
        _ => "power on",
    }
}

/// Resets the chip, by its watchdog's software reset.
pub fn reset() -> ! {
    WATCHDOG_CONTROL.write(0);
    loop {
        wait_for_interrupt();
    }
}

/// Ticks a second of the generic timer.
fn frequency() -> u64 {
    let hz: u32;
    // SAFETY: reads CNTFRQ.
    unsafe { asm!("mrc p15, 0, {}, c14, c0, 0", out(reg) hz, options(nomem, nostack, preserves_flags)) };
    u64::from(hz.max(1))
}

fn ticks() -> u64 {
    let (low, high): (u32, u32);
    // SAFETY: reads CNTPCT.
    unsafe { asm!("isb", "mrrc p15, 0, {}, {}, c14", out(reg) low, out(reg) high, options(nomem, nostack)) };
    u64::from(high) << 32 | u64::from(low)
}

/// The alarm: an interrupt in so many ticks, or none.
fn set_alarm(ticks: Option<u32>) {
    let control = u32::from(ticks.is_some());
    // SAFETY: writes CNTP_TVAL and CNTP_CTL, which nothing else uses.
    unsafe {
        asm!("mcr p15, 0, {}, c14, c2, 0", in(reg) ticks.unwrap_or(0), options(nomem, nostack, preserves_flags));
        asm!("mcr p15, 0, {}, c14, c2, 1", "isb", in(reg) control, options(nomem, nostack, preserves_flags));
    }
}

fn wait_for_interrupt() {
    // SAFETY: waits; interrupts are masked, so one that is pending ends the wait and is not taken.
    unsafe { asm!("wfi", options(nomem, nostack, preserves_flags)) }
}

impl Machine for Imx6ul {
    fn now_us(&self) -> u64 {
        let (ticks, hz) = (ticks(), frequency());
        ticks / hz * 1_000_000 + ticks % hz * 1_000_000 / hz
    }

    fn sleep(&self, until_us: u64) {
        let us = until_us.saturating_sub(self.now_us()).min(1_000_000);
        if us == 0 {
            return;
        }
        set_alarm(Some(u32::try_from(us * frequency() / 1_000_000).unwrap_or(u32::MAX).max(1)));
        wait_for_interrupt();
        set_alarm(None);
        super::ethernet::acknowledge();
    }
}

/// UART 1.
pub fn serial() -> Serial {
    Serial { data: UART_DATA, status: UART_STATUS_1, takes: |status| status & TRANSMITTER_READY != 0 }
}
