//! The board's clock.

/// A clock that never goes back. It has nothing to do with the time of day.
pub trait Clock {
    /// Microseconds since a moment in the past, the same one for as long as the program runs.
    fn now_us(&self) -> u64;

    /// Waits for at least `us` microseconds and lets other tasks run meanwhile.
    fn sleep_us(&self, us: u32) -> impl Future<Output = ()>;
}

/// The clock of embassy-time, whose driver the board links.
#[derive(Clone, Copy, Debug, Default)]
pub struct TimeClock;

impl Clock for TimeClock {
    fn now_us(&self) -> u64 {
        embassy_time::Instant::now().as_micros()
    }

    async fn sleep_us(&self, us: u32) {
        embassy_time::Timer::after_micros(us.into()).await;
    }
}
