//! What differs between two configurations.

use crate::config::{Config, DiskConfig, Source, TargetConfig};
use crate::disk;

/// What becomes of a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// It stays, perhaps with another size.
    Kept,
    /// It comes, and can be opened while the others are served: it may be another path to one of them.
    Added,
    /// It comes, and is a disk that is served in another way, which has to end first.
    Reopened,
}

/// The way from what holds to what shall.
#[derive(Debug)]
pub struct Plan {
    /// What shall.
    pub fresh: Config,
    /// Of each target and LUN that shall be.
    disks: Vec<(String, u16, Change)>,
    /// Targets that hold, each with its LUNs.
    old: Vec<(String, Vec<u16>)>,
}

impl Plan {
    /// From what holds to what shall.
    pub fn new(old: &Config, fresh: Config) -> Self {
        let mut disks = Vec::new();
        for target in &fresh.targets {
            let before = old.targets.iter().find(|before| before.name == target.name);
            for (number, disk) in &target.disks {
                let here = before.and_then(|before| disk_of(before, *number));
                let change = match here {
                    Some(here) if is_same(here, disk) => Change::Kept,
                    _ if old.disks().any(|other| is_in_the_way(other, disk)) => Change::Reopened,
                    _ => Change::Added,
                };
                disks.push((target.name.clone(), *number, change));
            }
        }
        let numbers = |target: &TargetConfig| target.disks.iter().map(|(number, _)| *number).collect();
        let before = old.targets.iter().map(|target| (target.name.clone(), numbers(target))).collect();
        Self { fresh, disks, old: before }
    }

    /// Whether a target stays.
    pub fn keeps_target(&self, name: &str) -> bool {
        self.fresh.targets.iter().any(|target| target.name == name)
    }

    /// Whether a disk of a target that stays does, too.
    pub fn keeps_disk(&self, target: &str, number: u16) -> bool {
        self.change(target, number) == Some(Change::Kept)
    }

    fn change(&self, target: &str, number: u16) -> Option<Change> {
        self.disks.iter().find(|(name, lun, _)| name == target && *lun == number).map(|(_, _, change)| *change)
    }

    /// The disks of which this becomes.
    pub fn wanted(&self, change: Change) -> Vec<(String, u16, DiskConfig)> {
        let mut wanted = Vec::new();
        for target in &self.fresh.targets {
            for (number, disk) in &target.disks {
                if self.change(&target.name, *number) == Some(change) {
                    wanted.push((target.name.clone(), *number, disk.clone()));
                }
            }
        }
        wanted
    }

    /// The disks that were to be opened again cannot be: what was in the places of some of them.
    pub fn reopened_before(&self, old: &Config) -> Vec<(String, u16, DiskConfig)> {
        let reopened = self.disks.iter().filter(|(.., change)| *change == Change::Reopened);
        let before = reopened.filter_map(|(name, number, _)| {
            let target = old.targets.iter().find(|target| target.name == *name)?;
            Some((name.clone(), *number, disk_of(target, *number)?.clone()))
        });
        before.collect()
    }

    /// Puts these disks into a configuration in place of those that were to be opened again.
    pub fn put_back(&self, config: &mut Config, disks: &[(String, u16, DiskConfig)]) {
        for target in &mut config.targets {
            target.disks.retain(|(number, _)| self.change(&target.name, *number) != Some(Change::Reopened));
            let own = disks.iter().filter(|(name, ..)| *name == target.name);
            target.disks.extend(own.map(|(_, number, disk)| (*number, disk.clone())));
            target.disks.sort_by_key(|(number, _)| *number);
        }
    }

    /// What cannot change while the program runs.
    pub fn at_next_start(&self, old: &Config) -> Vec<&'static str> {
        let mut later = Vec::new();
        if self.fresh.threads != old.threads {
            later.push("threads");
        }
        if self.fresh.engine != old.engine {
            later.push("io-engine");
        }
        if self.fresh.pid_file != old.pid_file {
            later.push("pid-file");
        }
        if self.fresh.control != old.control {
            later.push("control");
        }
        later
    }

    /// What changes, for people.
    pub fn describe(&self) -> String {
        let mut changes = Vec::new();
        let was = |name: &str| self.old.iter().find(|(old, _)| old == name).map(|(_, luns)| luns);
        for target in &self.fresh.targets {
            let Some(before) = was(&target.name) else {
                changes.push(format!("target {} added", target.name));
                continue;
            };
            for (number, _) in &target.disks {
                match self.change(&target.name, *number) {
                    Some(Change::Kept) => {}
                    _ if before.contains(number) => changes.push(format!("LUN {number} of {} replaced", target.name)),
                    _ => changes.push(format!("LUN {number} of {} added", target.name)),
                }
            }
            for number in before.iter().filter(|number| self.change(&target.name, **number).is_none()) {
                changes.push(format!("LUN {number} of {} removed", target.name));
            }
        }
        for (name, _) in self.old.iter().filter(|(name, _)| !self.keeps_target(name)) {
            changes.push(format!("target {name} removed"));
        }
        if changes.is_empty() { "no target or disk comes or goes".to_owned() } else { changes.join(", ") }
    }
}

fn disk_of(target: &TargetConfig, number: u16) -> Option<&DiskConfig> {
    target.disks.iter().find(|(lun, _)| *lun == number).map(|(_, disk)| disk)
}

/// Whether the disk is the same one: its size may change, and how it is made says nothing of one that is there.
fn is_same(old: &DiskConfig, new: &DiskConfig) -> bool {
    let source = match (&old.source, &new.source) {
        (Source::Ram(_), Source::Ram(_)) => old.source.clone(),
        _ => new.source.clone(),
    };
    *old == DiskConfig { source, create: old.create, ..new.clone() }
}

/// Whether two disks are the same thing, which is served in another way now.
fn is_in_the_way(old: &DiskConfig, new: &DiskConfig) -> bool {
    let in_another_way = disk::differs(old, new).is_some() || old.uuid != new.uuid;
    in_another_way && disk::is_same(&old.source, &new.source)
}
