//! Clock, sleep and console of the LM3S6965, as QEMU has it.

#![expect(clippy::undocumented_unsafe_blocks, reason = "registers have one reason together")]

use core::cell::Cell;

use bare::{Machine, Register, Serial};

/// The system clock after a reset: QEMU takes the divider of the PLL (16), whether that is on or not.
const HZ: u64 = 12_500_000;
const TICKS_PER_US_TIMES_2: u64 = HZ * 2 / 1_000_000;

// SAFETY (all of these): registers of the LM3S6965 (data sheet, register maps of chapters 3 and 5 to 16), which this crate
// alone drives.
const SYSTICK_CONTROL: Register = unsafe { Register::at(0xe000_e010) };
const SYSTICK_RELOAD: Register = unsafe { Register::at(0xe000_e014) };
const SYSTICK_CURRENT: Register = unsafe { Register::at(0xe000_e018) };
const NVIC_ENABLE: [Register; 2] = unsafe { [Register::at(0xe000_e100), Register::at(0xe000_e104)] };
const NVIC_UNPEND: [Register; 2] = unsafe { [Register::at(0xe000_e280), Register::at(0xe000_e284)] };
const INTERRUPT_CONTROL: Register = unsafe { Register::at(0xe000_ed04) };
const RESET_CAUSE: Register = unsafe { Register::at(0x400f_e05c) };
const CLOCK_GATES: [Register; 2] = unsafe { [Register::at(0x400f_e104), Register::at(0x400f_e108)] };
const TIMER_CONFIG: Register = unsafe { Register::at(0x4003_0000) };
const TIMER_MODE: Register = unsafe { Register::at(0x4003_0004) };
const TIMER_CONTROL: Register = unsafe { Register::at(0x4003_000c) };
const TIMER_MASK: Register = unsafe { Register::at(0x4003_0018) };
const TIMER_CLEAR: Register = unsafe { Register::at(0x4003_0024) };
const TIMER_LOAD: Register = unsafe { Register::at(0x4003_0028) };
const UART_DATA: Register = unsafe { Register::at(0x4000_c000) };
const UART_FLAGS: Register = unsafe { Register::at(0x4000_c018) };

/// Interrupt numbers.
const TIMER_0A: u32 = 19;
const ETHERNET: u32 = 42;
/// SysTick counts 24 bits.
const SYSTICK_MASK: u32 = 0x00ff_ffff;
const UART_FULL: u32 = 1 << 5;

/// The machine: SysTick is its clock, timer 0 its alarm.
pub struct Lm3s {
    /// SysTick as it was read last, and the ticks until then.
    last: Cell<u32>,
    ticks: Cell<u64>,
}

// SAFETY: one core, and no interrupt is taken.
unsafe impl Sync for Lm3s {}

impl Lm3s {
    pub const fn new() -> Self {
        Lm3s { last: Cell::new(SYSTICK_MASK), ticks: Cell::new(0) }
    }

    /// Starts clocks and the console.
    pub fn begin(&self) {
        // SSI0, UART0 and timer 0; GPIO A and D; MAC and PHY.
        CLOCK_GATES[0].set(1 << 4 | 1 | 1 << 16);
        CLOCK_GATES[1].set(1 | 1 << 3 | 1 << 28 | 1 << 30);
        SYSTICK_RELOAD.write(SYSTICK_MASK);
        SYSTICK_CURRENT.write(0);
        // On, with its exception, by the system clock: it ends a sleep before the counter has gone round twice.
        SYSTICK_CONTROL.write(0b111);
        TIMER_CONFIG.write(0);
        TIMER_MODE.write(1);
        TIMER_MASK.write(1);
        for line in [TIMER_0A, ETHERNET] {
            NVIC_ENABLE[line as usize / 32].write(1 << (line % 32));
        }
        self.last.set(SYSTICK_CURRENT.read());
    }

    /// Why the chip was started (RESC, which is cleared).
    pub fn reset_reason(&self) -> &'static str {
        let cause = RESET_CAUSE.read();
        RESET_CAUSE.write(0);
        match cause {
            cause if cause & 1 << 3 != 0 => "watchdog",
            cause if cause & 1 << 4 != 0 => "software",
            cause if cause & 1 << 2 != 0 => "low voltage",
            _ => "power on",
        }
    }
}

impl Machine for Lm3s {
    fn now_us(&self) -> u64 {
        let current = SYSTICK_CURRENT.read();
        let passed = self.last.replace(current).wrapping_sub(current) & SYSTICK_MASK;
        let ticks = self.ticks.get() + u64::from(passed);
        self.ticks.set(ticks);
        ticks * 2 / TICKS_PER_US_TIMES_2
    }

    fn sleep(&self, until_us: u64) {
        let us = until_us.saturating_sub(self.now_us());
        if us == 0 {
            return;
        }
        let ticks = (us.min(1_000_000) * TICKS_PER_US_TIMES_2 / 2).max(1);
        TIMER_CONTROL.write(0);
        TIMER_CLEAR.write(1);
        TIMER_LOAD.write(u32::try_from(ticks).unwrap_or(u32::MAX));
        TIMER_CONTROL.write(1);
        wait_for_interrupt();
        TIMER_CONTROL.write(0);
        TIMER_CLEAR.write(1);
        super::ethernet::acknowledge();
        // Nothing is taken, so what was pending is put back by hand: SysTick's exception, too (PENDSTCLR).
        NVIC_UNPEND.iter().for_each(|register| register.write(u32::MAX));
        INTERRUPT_CONTROL.write(1 << 25);
    }
}

fn wait_for_interrupt() {
    // SAFETY: waits; with PRIMASK set a pending interrupt ends the wait and is not taken.
    unsafe { core::arch::asm!("wfi", options(nomem, nostack, preserves_flags)) }
}

/// No interrupt is taken from now on.
pub fn mask_interrupts() {
    // SAFETY: sets PRIMASK.
    unsafe { core::arch::asm!("cpsid i", options(nomem, nostack, preserves_flags)) }
}

/// Resets the chip.
pub fn reset() -> ! {
    // SAFETY: the application interrupt and reset control register; SYSRESETREQ with its key.
    unsafe { Register::at(0xe000_ed0c) }.write(0x05fa_0004);
    loop {
        wait_for_interrupt();
    }
}

/// UART 0.
pub fn serial() -> Serial {
    Serial { data: UART_DATA, status: UART_FLAGS, takes: |status| status & UART_FULL == 0 }
}
