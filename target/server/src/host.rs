//! What there is to know about the host, for SNMP and the metrics.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, UNIX_EPOCH};

use crate::system;

/// Over how long, at least, the use of the CPUs is averaged.
const CPU_WINDOW: Duration = Duration::from_secs(1);

/// The host, as far as it stays the same.
#[derive(Debug)]
pub struct Host {
    /// When the program began to answer.
    pub started: Instant,
    /// Its name.
    pub name: String,
    /// The program, its version, the system.
    pub description: String,
    /// The system and the kind of its CPU.
    pub architecture: String,
    /// When the program was built.
    pub build_date: String,
    /// Whom to ask.
    pub contact: String,
    /// Where it stands.
    pub location: String,
    cpus: u32,
    cpu: Mutex<CpuUse>,
}

/// How much of the CPUs' time the program used in the last window.
#[derive(Debug, Clone, Copy)]
struct CpuUse {
    since: Instant,
    used: Duration,
    percent: u32,
}

impl Host {
    /// This one.
    pub fn here(contact: String, location: String) -> Self {
        let started = Instant::now();
        Self {
            started,
            name: system::name(),
            description: format!("iesp {}, an iSCSI target, on {}", env!("CARGO_PKG_VERSION"), system::kernel()),
            architecture: system::kernel(),
            build_date: build_date().unwrap_or_default(),
            contact,
            location,
            cpus: std::thread::available_parallelism().map_or(1, |count| u32::try_from(count.get()).unwrap_or(1)),
            cpu: Mutex::new(CpuUse { since: started, used: system::cpu_time(), percent: 0 }),
        }
    }

    /// How much of the CPUs' time the program used lately.
    pub fn cpu_percent(&self) -> u32 {
        let mut last = self.cpu.lock().unwrap_or_else(PoisonError::into_inner);
        let elapsed = last.since.elapsed();
        if elapsed < CPU_WINDOW {
            return last.percent;
        }
        let used = system::cpu_time();
        let share = used.saturating_sub(last.used).as_secs_f64() / (elapsed.as_secs_f64() * f64::from(self.cpus));
        let percent = (share * 100.0).round().clamp(0.0, 100.0) as u32;
        *last = CpuUse { since: last.since + elapsed, used, percent };
        percent
    }
}

/// The program file's date: no clock is asked while the program is built, so that two builds of a source are the same.
fn build_date() -> Option<String> {
    let modified = std::env::current_exe().ok()?.metadata().ok()?.modified().ok()?;
    let seconds = modified.duration_since(UNIX_EPOCH).ok()?.as_secs();
    let date = chrono::DateTime::from_timestamp(i64::try_from(seconds).ok()?, 0)?;
    Some(date.format("%Y-%m-%d").to_string())
}

/// The host's memory, in kB; 0 where the system does not tell.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    /// RAM.
    pub total: u64,
    /// RAM that nothing uses.
    pub unused: u64,
    /// RAM that programs can have without anything being swapped.
    pub available: u64,
    /// RAM that buffers use.
    pub buffers: u64,
    /// RAM that the page cache uses.
    pub cached: u64,
    /// Swap space.
    pub swap_total: u64,
    /// Swap space that is free.
    pub swap_free: u64,
}

impl Memory {
    /// Now.
    pub fn now() -> Self {
        std::fs::read_to_string("/proc/meminfo").map_or_else(|_| Self::default(), |text| Self::parse(&text))
    }

    fn parse(meminfo: &str) -> Self {
        let number = |name: &str| {
            let line = meminfo.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            line.and_then(|line| line.trim().trim_end_matches("kB").trim_end().parse().ok()).unwrap_or(0)
        };
        Self {
            total: number("MemTotal"),
            unused: number("MemFree"),
            available: number("MemAvailable"),
            buffers: number("Buffers"),
            cached: number("Cached"),
            swap_total: number("SwapTotal"),
            swap_free: number("SwapFree"),
        }
    }
}

/// Bytes of RAM that the program uses; `None` where the system does not tell.
pub fn resident() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.trim().trim_end_matches("kB").trim_end().parse::<u64>().ok()? << 10)
}

/// What the CPUs did since the host started, in 1/100 s: programs, those of low priority, system, idle, waiting.
pub fn cpu_ticks() -> [u64; 5] {
    std::fs::read_to_string("/proc/stat").map_or_else(|_| [0; 5], |text| ticks(&text))
}

fn ticks(stat: &str) -> [u64; 5] {
    let mut ticks = [0; 5];
    let line = stat.lines().find_map(|line| line.strip_prefix("cpu ")).unwrap_or_default();
    for (place, number) in ticks.iter_mut().zip(line.split_whitespace()) {
        // USER_HZ is 100 on every architecture that there is.
        *place = number.parse().unwrap_or(0);
    }
    ticks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn meminfo() {
        let memory = Memory::parse("MemTotal:  8 kB\nMemAvailable:   12345678 kB\nSwapFree: lots\nSwapCached: 7 kB\n");
        assert_eq!(memory, Memory { total: 8, available: 12_345_678, ..Memory::default() });
        assert_eq!(Memory::parse("Cached: 5 kB\n").cached, 5);
        if cfg!(target_os = "linux") {
            let now = Memory::now();
            assert!(now.total > now.unused && now.available > 0, "{now:?}");
        }
    }

    #[test]
    fn stat() {
        assert_eq!(ticks("cpu  1 2 3 4 5 6 7\ncpu0 9 9 9 9 9\n"), [1, 2, 3, 4, 5]);
        assert_eq!(ticks("intr 5\n"), [0; 5]);
    }
}
