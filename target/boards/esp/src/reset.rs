//! The watchdog, why the chip was reset, and what a panic leaves for the next start.

use core::panic::PanicInfo;
use core::sync::atomic::{AtomicBool, Ordering};

use esp_hal::peripherals::RTC_TIMER;
use esp_hal::rtc_cntl::{Rtc, Rwdt, RwdtStage, SocResetReason};
use esp_hal::system;
use esp_hal::time::Duration;
use iesp_firmware::board::Watchdog;
use iesp_firmware::last_words::{LastWords, WORDS_MAX};

use crate::panel::line;

/// How long the program may be busy with one thing.
const PATIENCE: Duration = Duration::from_secs(8);

/// In RTC memory: a reset by the program leaves it as it is.
#[unsafe(link_section = ".rtc_fast.persistent")]
static LAST_WORDS: LastWords = LastWords::new();

/// A panic is being told.
static PANICS: AtomicBool = AtomicBool::new(false);

/// What the panic said that ended the last start. To be asked once.
pub fn last_words() -> Option<heapless::String<WORDS_MAX>> {
    LAST_WORDS.take()
}

/// Why the chip started.
pub fn reason() -> &'static str {
    match system::reset_reason() {
        Some(SocResetReason::ChipPowerOn) => "power on",
        Some(SocResetReason::CoreSw | SocResetReason::Cpu0Sw) => "software",
        Some(SocResetReason::SysBrownOut) => "brown-out: the supply is too weak",
        Some(SocResetReason::CoreDeepSleep) => "sleep",
        Some(SocResetReason::CoreRtcWdt | SocResetReason::Cpu0RtcWdt | SocResetReason::SysRtcWdt) => "watchdog",
        Some(SocResetReason::CoreMwdt0 | SocResetReason::CoreMwdt1) => "watchdog",
        Some(_) => "other",
        None => "unknown",
    }
}

/// The RTC's watchdog, which resets the whole chip.
pub struct Feeding(Rwdt);

impl Feeding {
    /// Starts it.
    pub fn start(timer: RTC_TIMER<'static>) -> Self {
        let mut watchdog = Rtc::new(timer).rwdt;
        watchdog.set_timeout(RwdtStage::Stage0, PATIENCE);
        watchdog.enable();
        Self(watchdog)
    }
}

impl Watchdog for Feeding {
    fn feed(&mut self) {
        self.0.feed();
    }
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    LAST_WORDS.write(format_args!("{info}"));
    // The console may be what panics.
    if PANICS.load(Ordering::Relaxed) {
        system::software_reset()
    }
    PANICS.store(true, Ordering::Relaxed);
    line(format_args!("{info}"));
    system::software_reset()
}
