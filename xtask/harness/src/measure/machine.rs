//! The machine that measures: what it is, whether it is idle, and where its disk in memory is.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use serde::Serialize;

/// Where tmpfs is on every Linux.
const TMPFS: &str = "/dev/shm";
/// The begin of the folder's name; the id of the process follows.
const PREFIX: &str = "iesp-bench-";

/// What results depend on.
#[derive(Debug, Serialize)]
pub struct Machine {
    /// CPUs that this process may use.
    pub cpus: usize,
    /// The CPU's name.
    pub model: String,
    /// The kernel's version.
    pub kernel: String,
    /// How busy all CPUs together were before the first measurement, in percent.
    pub busy_before: f64,
}

impl Machine {
    /// Looks at the machine for a second.
    pub fn look() -> Self {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let cpuinfo = read("/proc/cpuinfo");
        let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        let before = cpu_ticks(&read("/proc/stat"));
        std::thread::sleep(Duration::from_secs(1));
        let after = cpu_ticks(&read("/proc/stat"));
        Self {
            cpus: std::thread::available_parallelism().map_or(1, usize::from),
            model: model.map_or("unknown", |(_, model)| model).to_owned(),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            busy_before: busy(before, after),
        }
    }
}

/// Idle ticks and all ticks of all CPUs.
fn cpu_ticks(stat: &str) -> Option<(u64, u64)> {
    let line = stat.lines().next()?.strip_prefix("cpu ")?;
    let ticks: Vec<u64> = line.split_whitespace().map_while(|field| field.parse().ok()).collect();
    // user nice system idle iowait irq softirq steal; the guest fields behind are contained in user and nice.
    let all = ticks.iter().take(8).sum();
    Some((ticks.get(3)? + ticks.get(4)?, all))
}

fn busy(before: Option<(u64, u64)>, after: Option<(u64, u64)>) -> f64 {
    match (before, after) {
        (Some((idle_before, all_before)), Some((idle, all))) if all > all_before => {
            100.0 * (1.0 - (idle - idle_before) as f64 / (all - all_before) as f64)
        }
        _ => 0.0,
    }
}

/// A folder on tmpfs that is removed when dropped; what a killed run left is removed by the next.
#[derive(Debug)]
pub struct MemoryFolder(PathBuf);

impl MemoryFolder {
    /// Makes a folder of this process.
    ///
    /// # Errors
    /// There is no tmpfs at the usual place, or it cannot be written.
    pub fn new() -> Result<Self> {
        remove_leftovers(Path::new(TMPFS));
        let path = Path::new(TMPFS).join(format!("{PREFIX}{}", std::process::id()));
        std::fs::create_dir(&path).with_context(|| format!("cannot make {} on tmpfs", path.display()))?;
        Ok(Self(path))
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Makes a folder inside.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn folder(&self, name: &str) -> Result<PathBuf> {
        let path = self.0.join(name);
        std::fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(path)
    }
}

impl Drop for MemoryFolder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Removes folders of processes that are gone.
fn remove_leftovers(tmpfs: &Path) {
    for entry in std::fs::read_dir(tmpfs).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let pid = name.to_str().and_then(|name| name.strip_prefix(PREFIX)?.parse::<u32>().ok());
        if pid.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

/// Writes an image without holes whose bytes do not repeat.
///
/// # Errors
/// It does not fit.
pub fn full_image(path: &Path, bytes: u64) -> Result<()> {
    let mut file = std::fs::File::create(path)?;
    let mut chunk = vec![0; 1 << 20];
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut left = bytes;
    while left > 0 {
        for word in chunk.chunks_exact_mut(8) {
            // xorshift64: any bytes do that are neither zeros nor repeat.
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            word.copy_from_slice(&state.to_le_bytes());
        }
        let length = left.min(chunk.len() as u64);
        file.write_all(&chunk[..length as usize])
            .with_context(|| format!("{bytes} bytes of memory are needed for {}", path.display()))?;
        left -= length;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_of_proc_stat() {
        let stat = "cpu  10 0 20 60 10 0 0 0 5 5\ncpu0 1 2 3\n";
        assert_eq!(cpu_ticks(stat), Some((70, 100)));
        assert_eq!(busy(Some((70, 100)), Some((120, 200))), 50.0);
        assert_eq!(busy(None, Some((1, 2))), 0.0);
    }

    #[test]
    fn an_image_has_no_holes_and_the_folder_goes_away() {
        use std::os::unix::fs::MetadataExt;
        let folder = MemoryFolder::new().unwrap();
        let image = folder.path().join("disk");
        full_image(&image, (1 << 20) + 4096).unwrap();
        let meta = image.metadata().unwrap();
        assert_eq!(meta.len(), (1 << 20) + 4096);
        assert!(meta.blocks() * 512 >= meta.len());
        let path = folder.path().to_owned();
        drop(folder);
        assert!(!path.exists());
    }

    #[test]
    fn leftovers_of_the_dead_are_removed() {
        let dir = tempfile::tempdir().unwrap();
        let (dead, alive) = (format!("{PREFIX}2147483646"), format!("{PREFIX}{}", std::process::id()));
        for name in [&dead, &alive] {
            std::fs::create_dir(dir.path().join(name)).unwrap();
        }
        remove_leftovers(dir.path());
        assert!(!dir.path().join(dead).exists() && dir.path().join(alive).exists());
    }
}
