//! The board's clock.

/// A clock that never goes back. It has nothing to do with the time of day.
pub trait Clock {
    /// Microseconds since a moment in the past, the same one for as long as the program runs.
    fn now_us(&self) -> u64;

    /// Waits for at least `us` microseconds and lets other tasks run meanwhile.
    fn sleep_us(&self, us: u32) -> impl Future<Output = ()>;
}
