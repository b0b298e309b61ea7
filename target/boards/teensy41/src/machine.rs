//! Clock, sleep, reset, watchdog and console of the i.MX RT1062.

use core::cell::Cell;

use bare::{Machine, Register, Serial};
use imxrt_ral as ral;

/// A register of those below.
const fn register(address: usize) -> Register {
    // SAFETY: registers of the i.MX RT1062 (Reference Manual, chapters 21, 49 and 52) and of its processor, which this file
    // alone drives from its `begin` on.
    unsafe { Register::at(address) }
}

const GPT_CONTROL: Register = register(0x401e_c000);
const GPT_PRESCALER: Register = register(0x401e_c004);
const GPT_STATUS: Register = register(0x401e_c008);
const GPT_INTERRUPT: Register = register(0x401e_c00c);
const GPT_ALARM: Register = register(0x401e_c010);
const GPT_COUNT: Register = register(0x401e_c024);
const RESET_STATUS: Register = register(0x400f_8008);
const UART_STATUS: Register = register(0x4019_8014);
const UART_DATA: Register = register(0x4019_801c);
const NVIC_ENABLE: [Register; 4] =
    [register(0xe000_e100), register(0xe000_e104), register(0xe000_e108), register(0xe000_e10c)];
const NVIC_UNPEND: [Register; 4] =
    [register(0xe000_e280), register(0xe000_e284), register(0xe000_e288), register(0xe000_e28c)];

/// Interrupt numbers.
const GPT1: u32 = 100;
const ENET: u32 = 114;
/// GPT: on, in all of the processor's states, from the root clock of periodic timers, without going round at the alarm.
const RUN: u32 = 1 | 1 << 1 | 1 << 3 | 1 << 4 | 1 << 5 | 2 << 6 | 1 << 9;
const TRANSMITTER_EMPTY: u32 = 1 << 23;

/// The board's.
pub static MACHINE: Rt1062 = Rt1062 { last: Cell::new(0), now: Cell::new(0) };

/// The machine: a GPT, which counts microseconds, is its clock and alarm.
pub struct Rt1062 {
    /// The counter as it was read last, and the time then.
    last: Cell<u32>,
    now: Cell<u64>,
}

// SAFETY: one core, and no interrupt is taken.
unsafe impl Sync for Rt1062 {}

const _: () = assert!(teensy4_bsp::board::PERCLK_FREQUENCY == 1_000_000, "the GPT counts microseconds");

impl Rt1062 {
    /// Starts the clock. The board's clocks are set up.
    pub fn begin(&self) {
        GPT_CONTROL.write(0);
        GPT_INTERRUPT.write(0);
        GPT_PRESCALER.write(0);
        GPT_STATUS.write(0x3f);
        // Its clock is chosen before it is turned on.
        GPT_CONTROL.write(RUN & !1);
        GPT_CONTROL.write(RUN);
        for line in [GPT1, ENET] {
            NVIC_ENABLE[line as usize / 32].write(1 << (line % 32));
        }
    }

    /// Waits without sleep.
    pub fn wait_us(&self, us: u64) {
        let end = self.now_us() + us;
        while self.now_us() < end {}
    }
}

impl Machine for Rt1062 {
    fn now_us(&self) -> u64 {
        let count = GPT_COUNT.read();
        let now = self.now.get() + u64::from(count.wrapping_sub(self.last.replace(count)));
        self.now.set(now);
        now
    }

    fn sleep(&self, until_us: u64) {
        let us = until_us.saturating_sub(self.now_us()).min(1_000_000) as u32;
        if us == 0 {
            return;
        }
        let alarm = self.last.get().wrapping_add(us);
        GPT_ALARM.write(alarm);
        GPT_STATUS.write(1);
        GPT_INTERRUPT.write(1);
        // An alarm that was set too late would come when the counter has gone round.
        if (alarm.wrapping_sub(GPT_COUNT.read()) as i32) > 1 {
            cortex_m::asm::dsb();
            cortex_m::asm::wfi();
        }
        GPT_INTERRUPT.write(0);
        GPT_STATUS.write(1);
        super::ethernet::acknowledge();
        // Nothing is taken, so what was pending is put back by hand, after the controllers have withdrawn it.
        cortex_m::asm::dsb();
        NVIC_UNPEND.iter().for_each(|register| register.write(u32::MAX));
    }
}

/// No interrupt is taken from now on.
pub fn mask_interrupts() {
    cortex_m::interrupt::disable();
}

/// Why the chip was started (SRSR, which is cleared).
pub fn reset_reason() -> &'static str {
    let cause = RESET_STATUS.read();
    RESET_STATUS.write(cause);
    match cause {
        cause if cause & (1 << 4 | 1 << 7) != 0 => "watchdog",
        cause if cause & 1 << 8 != 0 => "temperature",
        cause if cause & (1 << 5 | 1 << 6) != 0 => "debugger",
        cause if cause & 1 << 1 != 0 => "software",
        cause if cause & 1 << 3 != 0 => "button",
        _ => "power on",
    }
}

/// Resets the chip.
pub fn reset() -> ! {
    cortex_m::peripheral::SCB::sys_reset()
}

/// WDOG1: it resets the chip when it is not fed for eight seconds, and cannot be stopped.
pub struct Watchdog(ral::wdog::WDOG1);

impl Watchdog {
    /// Seconds are told in halves, less one.
    const LIMIT: u16 = (8 * 2 - 1) << 8;
    /// On; neither of the two signals that a zero gives (WDA, SRS); in low power, too.
    const ON: u16 = 1 << 2 | 1 << 4 | 1 << 5;

    /// Starts it.
    pub fn begin() -> Self {
        // SAFETY: nothing else drives it.
        let registers = unsafe { ral::wdog::WDOG1::instance() };
        ral::write_reg!(ral::wdog, registers, WCR, Self::LIMIT | Self::ON);
        // The counter that watches the start is off.
        ral::write_reg!(ral::wdog, registers, WMCR, 0);
        let mut watchdog = Watchdog(registers);
        iesp_firmware::board::Watchdog::feed(&mut watchdog);
        watchdog
    }
}

impl iesp_firmware::board::Watchdog for Watchdog {
    fn feed(&mut self) {
        ral::write_reg!(ral::wdog, self.0, WSR, 0x5555);
        ral::write_reg!(ral::wdog, self.0, WSR, 0xaaaa);
    }
}

/// LPUART6, once it is set up.
pub fn serial() -> Serial {
    Serial { data: UART_DATA, status: UART_STATUS, takes: |status| status & TRANSMITTER_EMPTY != 0 }
}
