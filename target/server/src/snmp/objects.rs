//! The managed objects: one table of names, types and what each shows. Free of `std`, as a board has the same ones.

use core::cmp::Ordering;

/// A type of the SMI (RFC 2578 7.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// INTEGER, here never negative.
    Integer,
    /// OCTET STRING with text.
    Text,
    /// TimeTicks: 1/100 s.
    TimeTicks,
    /// Counter32.
    Counter32,
    /// Counter64, which SNMPv1 does not know.
    Counter64,
}

/// What an object shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The program and its version.
    Description,
    /// Since the agent began, in 1/100 s.
    UpTime,
    /// Whom to ask.
    Contact,
    /// The host's name.
    Name,
    /// Where it stands.
    Location,
    /// A number that is always the same.
    Fixed(u32),
    /// The program's version.
    Version,
    /// When the program was built.
    BuildDate,
    /// iSCSI units received.
    Units,
    /// Bytes in data segments of SCSI Data-In units.
    DataIn,
    /// Bytes of immediate data, and in data segments of Data-Out units.
    DataOut,
    /// Sessions that ended without a logout.
    SessionFailures,
    /// Wrong digests.
    DigestErrors,
    /// Units with format errors.
    FormatErrors,
    /// Logins accepted.
    Logins,
    /// Logouts.
    Logouts,
    /// Time for which commands waited for devices, all of them added up, in 1/100 s.
    IoWait,
    /// Share of the CPUs' time that the program used lately, in percent.
    CpuUse,
    /// RAM that programs can have, in kB.
    FreeRam,
    /// The disk's number, from 1.
    DiskIndex,
    /// The disk's name; of all of them, the first one's.
    DiskName,
    /// Bytes read: of one disk, or of all.
    BytesRead,
    /// Bytes written.
    BytesWritten,
    /// Reads.
    Reads,
    /// Writes.
    Writes,
    /// How much of the disk takes no space below, in percent; 0 where that is not known.
    DiskFree,
}

/// Of which instances there are values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Instances {
    /// One, whose name is the object's with this behind it.
    One(&'static [u32]),
    /// One a disk, from 1 on: LUN 0 is 1.
    Disks,
}

/// A managed object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Object {
    /// Its name.
    pub name: &'static [u32],
    /// Of what it has values.
    pub instances: Instances,
    /// Its type.
    pub kind: Kind,
    /// What it shows.
    pub source: Source,
}

const fn object(name: &'static [u32], instances: Instances, kind: Kind, source: Source) -> Object {
    Object { name, instances, kind, source }
}

/// An instance of a scalar object of the SMI.
const SCALAR: Instances = Instances::One(&[0]);
/// iESP's habit: the value is where the object is.
const BARE: Instances = Instances::One(&[]);
const DISKS: Instances = Instances::Disks;

/// RFC 3418 2: sysServices is the sum of 2^(layer-1): transport (4), applications (7).
const SERVICES: u32 = 8 + 64;

/// All of them, in the order of their instances' names (a test holds that).
///
/// iESP's users have dashboards on the bare ones and on those of the first disk: they stay where they are, and of their
/// type. Rows by disk stand beside them, of the types that UCD-DISKIO-MIB gives them.
pub const OBJECTS: &[Object] = {
    use Kind::{Counter32, Counter64, Integer, Text, TimeTicks};
    &[
        // SNMPv2-MIB: system.
        object(&[1, 3, 6, 1, 2, 1, 1, 1], SCALAR, Text, Source::Description),
        object(&[1, 3, 6, 1, 2, 1, 1, 3], SCALAR, TimeTicks, Source::UpTime),
        object(&[1, 3, 6, 1, 2, 1, 1, 4], SCALAR, Text, Source::Contact),
        object(&[1, 3, 6, 1, 2, 1, 1, 5], SCALAR, Text, Source::Name),
        object(&[1, 3, 6, 1, 2, 1, 1, 6], SCALAR, Text, Source::Location),
        object(&[1, 3, 6, 1, 2, 1, 1, 7], SCALAR, Integer, Source::Fixed(SERVICES)),
        // sysORLastChange: there is no sysORTable that could change.
        object(&[1, 3, 6, 1, 2, 1, 1, 8], SCALAR, TimeTicks, Source::Fixed(0)),
        // ISCSI-MIB (RFC 7147), where iESP has it.
        object(&[1, 3, 6, 1, 2, 1, 142, 1, 1, 1, 1, 10], BARE, Counter32, Source::SessionFailures),
        object(&[1, 3, 6, 1, 2, 1, 142, 1, 1, 2, 1, 1], BARE, Counter32, Source::DigestErrors),
        object(&[1, 3, 6, 1, 2, 1, 142, 1, 1, 2, 1, 3], BARE, Counter32, Source::FormatErrors),
        object(&[1, 3, 6, 1, 2, 1, 142, 1, 6, 2, 1, 1], BARE, Counter32, Source::Logins),
        object(&[1, 3, 6, 1, 2, 1, 142, 1, 6, 3, 1, 1], BARE, Counter32, Source::Logouts),
        object(&[1, 3, 6, 1, 2, 1, 142, 1, 10, 2, 1, 1], BARE, Counter32, Source::Units),
        object(&[1, 3, 6, 1, 2, 1, 142, 1, 10, 2, 1, 3], BARE, Counter64, Source::DataIn),
        object(&[1, 3, 6, 1, 2, 1, 142, 1, 10, 2, 1, 4], BARE, Counter64, Source::DataOut),
        // UCD-SNMP-MIB: memory, dskPercent, systemStats.
        object(&[1, 3, 6, 1, 4, 1, 2021, 4, 11], SCALAR, Integer, Source::FreeRam),
        object(&[1, 3, 6, 1, 4, 1, 2021, 9, 1, 9], DISKS, Integer, Source::DiskFree),
        object(&[1, 3, 6, 1, 4, 1, 2021, 11, 9], SCALAR, Integer, Source::CpuUse),
        object(&[1, 3, 6, 1, 4, 1, 2021, 11, 54], BARE, Counter32, Source::IoWait),
        // UCD-DISKIO-MIB.
        object(&[1, 3, 6, 1, 4, 1, 2021, 13, 15, 1, 1, 1], DISKS, Integer, Source::DiskIndex),
        object(&[1, 3, 6, 1, 4, 1, 2021, 13, 15, 1, 1, 2], BARE, Text, Source::DiskName),
        object(&[1, 3, 6, 1, 4, 1, 2021, 13, 15, 1, 1, 2], DISKS, Text, Source::DiskName),
        object(&[1, 3, 6, 1, 4, 1, 2021, 13, 15, 1, 1, 3], BARE, Counter64, Source::BytesRead),
        object(&[1, 3, 6, 1, 4, 1, 2021, 13, 15, 1, 1, 3], DISKS, Counter32, Source::BytesRead),
        object(&[1, 3, 6, 1, 4, 1, 2021, 13, 15, 1, 1, 4], BARE, Counter64, Source::BytesWritten),
        object(&[1, 3, 6, 1, 4, 1, 2021, 13, 15, 1, 1, 4], DISKS, Counter32, Source::BytesWritten),
        object(&[1, 3, 6, 1, 4, 1, 2021, 13, 15, 1, 1, 5], BARE, Counter64, Source::Reads),
        object(&[1, 3, 6, 1, 4, 1, 2021, 13, 15, 1, 1, 5], DISKS, Counter32, Source::Reads),
        object(&[1, 3, 6, 1, 4, 1, 2021, 13, 15, 1, 1, 6], BARE, Counter64, Source::Writes),
        object(&[1, 3, 6, 1, 4, 1, 2021, 13, 15, 1, 1, 6], DISKS, Counter32, Source::Writes),
        object(&[1, 3, 6, 1, 4, 1, 2021, 13, 15, 1, 1, 12], DISKS, Counter64, Source::BytesRead),
        object(&[1, 3, 6, 1, 4, 1, 2021, 13, 15, 1, 1, 13], DISKS, Counter64, Source::BytesWritten),
        // UCD-SNMP-MIB: version.
        object(&[1, 3, 6, 1, 4, 1, 2021, 100, 1], BARE, Integer, Source::Fixed(1)),
        object(&[1, 3, 6, 1, 4, 1, 2021, 100, 2], BARE, Text, Source::Version),
        object(&[1, 3, 6, 1, 4, 1, 2021, 100, 3], BARE, Text, Source::BuildDate),
    ]
};

/// An instance of an object: something that has a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Variable {
    /// The object.
    pub object: &'static Object,
    /// Which disk, from 0; `None`: the one instance that there is.
    pub disk: Option<u32>,
}

/// Why a name names no variable (RFC 3416 4.2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Absent {
    /// There is no such object.
    Object,
    /// The object has no such instance.
    Instance,
}

impl Variable {
    /// Its name.
    pub fn name(&self) -> impl Iterator<Item = u32> + use<> {
        let instance: &[u32] = match self.object.instances {
            Instances::One(instance) => instance,
            Instances::Disks => &[],
        };
        self.object.name.iter().chain(instance).copied().chain(self.disk.map(|disk| disk + 1))
    }
}

/// The variable of this name, of a target with so many disks.
///
/// # Errors
/// What is missing.
pub fn find(name: &[u32], disks: u32) -> Result<Variable, Absent> {
    let mut absent = Absent::Object;
    for object in OBJECTS {
        let Some(instance) = name.strip_prefix(object.name) else { continue };
        absent = Absent::Instance;
        match (object.instances, instance) {
            (Instances::One(there), _) if there == instance => return Ok(Variable { object, disk: None }),
            (Instances::Disks, &[number]) if (1..=disks).contains(&number) => {
                return Ok(Variable { object, disk: Some(number - 1) });
            }
            _ => {}
        }
    }
    Err(absent)
}

/// The first variable behind this name that is `wanted`; `None` at the end.
pub fn next(name: &[u32], disks: u32, wanted: impl Fn(&Object) -> bool) -> Option<Variable> {
    OBJECTS.iter().filter(|object| wanted(object)).find_map(|object| {
        let disk = match object.instances {
            Instances::One(_) => {
                let variable = Variable { object, disk: None };
                return variable.name().gt(name.iter().copied()).then_some(variable);
            }
            Instances::Disks => first_disk_behind(name, object)?,
        };
        (disk < disks).then_some(Variable { object, disk: Some(disk) })
    })
}

/// The first row, from 0, behind a name.
fn first_disk_behind(name: &[u32], object: &Object) -> Option<u32> {
    match name.strip_prefix(object.name) {
        // Row 1 is disk 0: behind row N, or anything below it, comes disk N.
        Some(instance) => Some(instance.first().copied().unwrap_or(0)),
        None => (name.cmp(object.name) == Ordering::Less).then_some(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(disks: u32) -> Vec<Vec<u32>> {
        let mut names = Vec::new();
        let mut at = vec![];
        while let Some(variable) = next(&at, disks, |_| true) {
            at = variable.name().collect();
            names.push(at.clone());
        }
        names
    }

    #[test]
    fn a_walk_meets_every_variable_once_in_order() {
        let rows = OBJECTS.iter().filter(|object| object.instances == Instances::Disks).count();
        for disks in [0, 1, 2, 255] {
            let names = names(disks);
            assert!(names.is_sorted_by(|a, b| a < b), "{names:?}");
            assert_eq!(names.len(), OBJECTS.len() - rows + rows * disks as usize);
            for name in &names {
                assert_eq!(find(name, disks).expect("it is there").name().collect::<Vec<_>>(), *name);
            }
        }
    }

    /// `next` gives what a search through all names gives, from places that are no variables, too.
    #[test]
    fn the_next_one_from_anywhere() {
        let names = names(3);
        let mut places = names.clone();
        for name in &names {
            places.extend((0..name.len()).map(|len| name[..len].to_vec()));
            let beside = |step: fn(u32) -> u32| {
                let mut other = name.clone();
                if let Some(last) = other.last_mut() {
                    *last = step(*last);
                }
                other
            };
            places.extend([beside(|last| last.saturating_sub(1)), beside(|last| last + 1), beside(|_| u32::MAX)]);
            places.push([&name[..], &[0]].concat());
            places.push([&name[..], &[u32::MAX, 1]].concat());
        }
        for place in places {
            let expected = names.iter().find(|name| **name > place);
            let found = next(&place, 3, |_| true).map(|variable| variable.name().collect::<Vec<_>>());
            assert_eq!(found.as_ref(), expected, "behind {place:?}");
        }
    }

    #[test]
    fn what_is_absent() {
        let descr = [1, 3, 6, 1, 2, 1, 1, 1];
        assert_eq!(find(&[&descr[..], &[0]].concat(), 1).map(|found| found.object.source), Ok(Source::Description));
        assert_eq!(find(&descr, 1), Err(Absent::Instance));
        assert_eq!(find(&[&descr[..], &[1]].concat(), 1), Err(Absent::Instance));
        assert_eq!(find(&descr[..7], 1), Err(Absent::Object));
        assert_eq!(find(&[1, 3, 6, 1, 2, 1, 1, 2, 0], 1), Err(Absent::Object));
        assert_eq!(find(&[], 1), Err(Absent::Object));
        let percent = [1, 3, 6, 1, 4, 1, 2021, 9, 1, 9];
        for (row, there) in [(0, false), (1, true), (2, true), (3, false), (u32::MAX, false)] {
            assert_eq!(find(&[&percent[..], &[row]].concat(), 2).is_ok(), there);
        }
    }

    /// The names and types of iESP's that people have dashboards on, written out once more.
    #[test]
    fn iesps_objects_are_where_they_were() {
        use Kind::{Counter32, Counter64, Integer, Text, TimeTicks};
        for (name, kind, source) in [
            ("1.3.6.1.2.1.1.1.0", Text, Source::Description),
            ("1.3.6.1.2.1.1.3.0", TimeTicks, Source::UpTime),
            ("1.3.6.1.2.1.1.4.0", Text, Source::Contact),
            ("1.3.6.1.2.1.1.5.0", Text, Source::Name),
            ("1.3.6.1.2.1.1.6.0", Text, Source::Location),
            ("1.3.6.1.2.1.1.7.0", Integer, Source::Fixed(72)),
            ("1.3.6.1.2.1.1.8.0", TimeTicks, Source::Fixed(0)),
            ("1.3.6.1.2.1.142.1.10.2.1.1", Counter32, Source::Units),
            ("1.3.6.1.2.1.142.1.10.2.1.3", Counter64, Source::DataIn),
            ("1.3.6.1.2.1.142.1.10.2.1.4", Counter64, Source::DataOut),
            ("1.3.6.1.2.1.142.1.1.1.1.10", Counter32, Source::SessionFailures),
            ("1.3.6.1.2.1.142.1.1.2.1.1", Counter32, Source::DigestErrors),
            ("1.3.6.1.2.1.142.1.1.2.1.3", Counter32, Source::FormatErrors),
            ("1.3.6.1.2.1.142.1.6.2.1.1", Counter32, Source::Logins),
            ("1.3.6.1.2.1.142.1.6.3.1.1", Counter32, Source::Logouts),
            ("1.3.6.1.4.1.2021.100.1", Integer, Source::Fixed(1)),
            ("1.3.6.1.4.1.2021.100.2", Text, Source::Version),
            ("1.3.6.1.4.1.2021.100.3", Text, Source::BuildDate),
            ("1.3.6.1.4.1.2021.11.54", Counter32, Source::IoWait),
            ("1.3.6.1.4.1.2021.11.9.0", Integer, Source::CpuUse),
            ("1.3.6.1.4.1.2021.13.15.1.1.2", Text, Source::DiskName),
            ("1.3.6.1.4.1.2021.13.15.1.1.3", Counter64, Source::BytesRead),
            ("1.3.6.1.4.1.2021.13.15.1.1.4", Counter64, Source::BytesWritten),
            ("1.3.6.1.4.1.2021.13.15.1.1.5", Counter64, Source::Reads),
            ("1.3.6.1.4.1.2021.13.15.1.1.6", Counter64, Source::Writes),
            ("1.3.6.1.4.1.2021.4.11.0", Integer, Source::FreeRam),
            ("1.3.6.1.4.1.2021.9.1.9.1", Integer, Source::DiskFree),
        ] {
            let numbers: Vec<u32> = name.split('.').map(|number| number.parse().expect("a number")).collect();
            let object = find(&numbers, 1).expect(name).object;
            assert_eq!((object.kind, object.source), (kind, source), "{name}");
        }
    }
}
