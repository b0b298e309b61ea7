//! One core for the target and another for who loads it, so that neither takes the other's time,
//! and both stay where they are.

use anyhow::{Context, Result};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// The two cores; none where this process may use a single one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cores {
    /// The target's.
    pub target: Option<usize>,
    /// The load generator's.
    pub generator: Option<usize>,
}

impl Cores {
    /// Chooses two of the cores that this process may use, far from each other: neighbours may be
    /// one core's two threads.
    ///
    /// # Errors
    /// When the kernel does not say which these are.
    pub fn choose() -> Result<Self> {
        let allowed = sched_getaffinity(None).context("the kernel does not say which cores may be used")?;
        let cores: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|core| allowed.is_set(*core)).collect();
        Ok(Self::among(&cores))
    }

    fn among(cores: &[usize]) -> Self {
        if cores.len() < 2 {
            return Cores { target: None, generator: None };
        }
        Cores { target: cores.first().copied(), generator: cores.get(cores.len() / 2).copied() }
    }
}

impl std::fmt::Display for Cores {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.target, self.generator) {
            (Some(target), Some(generator)) => write!(f, "the target on core {target}, the load on core {generator}"),
            _ => write!(f, "one core for both: nothing is pinned"),
        }
    }
}

/// Does something on a core: the processes that it starts stay there, this thread goes back to
/// where it was.
///
/// # Errors
/// When the thread cannot be moved, or what is done fails.
pub fn on<T>(core: Option<usize>, what: impl FnOnce() -> Result<T>) -> Result<T> {
    let Some(core) = core else { return what() };
    let before = sched_getaffinity(None).context("the kernel does not say which cores may be used")?;
    let mut only = CpuSet::new();
    only.set(core);
    sched_setaffinity(None, &only).with_context(|| format!("cannot move to core {core}"))?;
    let done = what();
    sched_setaffinity(None, &before).context("cannot go back to all cores")?;
    done
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_two_are_different_cores_where_there_are_two() {
        assert_eq!(Cores::among(&[0, 1]), Cores { target: Some(0), generator: Some(1) });
        assert_eq!(Cores::among(&[2, 3, 6, 7]), Cores { target: Some(2), generator: Some(6) });
        assert_eq!(Cores::among(&[5]), Cores { target: None, generator: None });
    }

    #[test]
    fn a_process_stays_on_its_core_and_this_thread_does_not() {
        let before = sched_getaffinity(None).unwrap();
        let core = Cores::choose().unwrap().generator;
        let allowed = on(core, || {
            let output =
                std::process::Command::new("grep").args(["Cpus_allowed_list", "/proc/self/status"]).output()?;
            Ok(String::from_utf8_lossy(&output.stdout).into_owned())
        });
        let allowed = allowed.unwrap();
        if let Some(core) = core {
            assert_eq!(allowed.split_whitespace().last(), Some(core.to_string().as_str()), "{allowed}");
        }
        let after = sched_getaffinity(None).unwrap();
        assert!((0..CpuSet::MAX_CPU).all(|core| before.is_set(core) == after.is_set(core)));
    }
}
