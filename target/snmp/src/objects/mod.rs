//! The managed objects: one table of names, types and what each shows.

mod iscsi;
mod source;
mod system;
mod ucd;

use core::cmp::Ordering;
use core::ops::Deref;

pub use source::{AgentSource, Source};

use crate::Values;

/// A type of the SMI (RFC 2578 7.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// INTEGER, here never negative.
    Integer,
    /// Unsigned32, or Gauge32, which is the same.
    Unsigned,
    /// OCTET STRING: text or bytes.
    Text,
    /// OBJECT IDENTIFIER.
    Name,
    /// TimeTicks: 1/100 s.
    TimeTicks,
    /// Counter32.
    Counter32,
    /// Counter64, which SNMPv1 does not know.
    Counter64,
}

/// What has rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Table {
    /// Logical units; the index is from 1 on: LUN 0 is 1.
    Disks,
    /// The one iSCSI instance: its number is 1.
    Instance,
    /// Addresses that are listened on: instance, portal.
    Portals,
    /// The same, as portals of targets: instance, portal, node.
    TargetPortals,
    /// Targets: instance, node.
    Nodes,
    /// Sessions: instance, node, session.
    Sessions,
    /// Connections: instance, node, session, connection.
    Connections,
}

impl Table {
    /// All of them; the index is the number.
    pub const ALL: [Self; 7] = [
        Self::Disks,
        Self::Instance,
        Self::Portals,
        Self::TargetPortals,
        Self::Nodes,
        Self::Sessions,
        Self::Connections,
    ];
}

/// Most numbers that tell a row from others.
const INDEX_MAX: usize = 4;

/// What tells a row from others: the numbers behind a column's name. Its order is that of walks.
#[derive(Debug, Clone, Copy)]
pub struct Index {
    len: u8,
    numbers: [u32; INDEX_MAX],
}

impl Index {
    /// Of these numbers, of which the first four count.
    pub fn new(numbers: &[u32]) -> Self {
        let len = numbers.len().min(INDEX_MAX);
        let mut index = Self { len: len as u8, numbers: [0; INDEX_MAX] };
        index.numbers[..len].copy_from_slice(&numbers[..len]);
        index
    }
}

impl Deref for Index {
    type Target = [u32];

    fn deref(&self) -> &[u32] {
        &self.numbers[..usize::from(self.len)]
    }
}

impl PartialEq for Index {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Index {}

/// Of which instances there are values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Instances {
    /// One, whose name is the object's with this behind it.
    One(&'static [u32]),
    /// One a row.
    Rows(Table),
}

/// A managed object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Object {
    /// The last number of its name.
    pub number: u32,
    /// Of what it has values.
    pub instances: Instances,
    /// Its type.
    pub kind: Kind,
    /// What it shows.
    pub source: Source,
}

impl Object {
    /// Whether it is one of iESP's own, whose value is where the object is.
    pub const fn is_bare(&self) -> bool {
        matches!(self.instances, Instances::One([]))
    }
}

/// Objects whose names differ in the last number.
#[derive(Debug, PartialEq, Eq)]
pub struct Group {
    /// What their names have in common.
    pub prefix: &'static [u32],
    /// In the order of walks.
    pub objects: &'static [Object],
}

/// An object of the SMI that has one instance, .0.
const fn scalar(number: u32, kind: Kind, source: Source) -> Object {
    Object { number, instances: Instances::One(&[0]), kind, source }
}

/// iESP's habit: the value is where the object is.
const fn bare(number: u32, kind: Kind, source: Source) -> Object {
    Object { number, instances: Instances::One(&[]), kind, source }
}

/// A column of a table.
const fn column(number: u32, table: Table, kind: Kind, source: Source) -> Object {
    Object { number, instances: Instances::Rows(table), kind, source }
}

/// All objects, in the order of their instances' names (a test holds that).
///
/// iESP's users have dashboards on the bare ones and on those of the first disk: they stay where they are, and of their
/// type. The tables' rows stand beside them, of the types that ISCSI-MIB (RFC 7147), UCD-SNMP-MIB and UCD-DISKIO-MIB
/// give them.
pub const GROUPS: &[&Group] = &[
    &system::SYSTEM,
    &system::SNMP,
    &iscsi::INSTANCE,
    &iscsi::INSTANCE_ERRORS,
    &iscsi::PORTAL,
    &iscsi::TARGET_PORTAL,
    &iscsi::NODE,
    &iscsi::TARGET,
    &iscsi::LOGINS,
    &iscsi::LOGOUTS,
    &iscsi::SESSION,
    &iscsi::SESSION_STATISTICS,
    &iscsi::SESSION_ERRORS,
    &iscsi::CONNECTION,
    &ucd::MEMORY,
    &ucd::DISK,
    &ucd::SYSTEM_STATISTICS,
    &ucd::DISK_IO,
    &ucd::VERSION,
    &system::ENGINE,
    &system::MESSAGES,
    &system::CONTEXTS,
    &system::USM,
];

/// An instance of an object: what may have a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Variable {
    prefix: &'static [u32],
    /// The object.
    pub object: &'static Object,
    /// Where there are rows: which one it is, from 0 on, and its index.
    pub row: Option<(usize, Index)>,
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
    /// The number of its row, from 0 on.
    pub fn row(&self) -> Option<usize> {
        self.row.map(|(row, _)| row)
    }

    /// Its name.
    pub fn name(&self) -> impl Iterator<Item = u32> + '_ {
        let instance: &[u32] = match (self.object.instances, &self.row) {
            (Instances::One(instance), _) => instance,
            (Instances::Rows(_), Some((_, index))) => index,
            (Instances::Rows(_), None) => &[],
        };
        self.prefix.iter().copied().chain([self.object.number]).chain(instance.iter().copied())
    }
}

/// The variable of this name.
///
/// # Errors
/// What is missing.
pub fn find(name: &[u32], values: &(impl Values + ?Sized)) -> Result<Variable, Absent> {
    let mut absent = Absent::Object;
    for group in GROUPS {
        let Some([number, instance @ ..]) = name.strip_prefix(group.prefix) else { continue };
        for object in group.objects.iter().filter(|object| object.number == *number) {
            absent = Absent::Instance;
            let row = match object.instances {
                Instances::One(there) if there == instance => None,
                Instances::One(_) => continue,
                Instances::Rows(table) => {
                    let rows = values.rows(table);
                    let Ok(row) = rows.binary_search_by(|index| (**index).cmp(instance)) else { continue };
                    Some((row, rows[row]))
                }
            };
            return Ok(Variable { prefix: group.prefix, object, row });
        }
    }
    Err(absent)
}

/// The first variable behind this name whose object is `wanted`; `None` at the end.
pub fn next(name: &[u32], values: &(impl Values + ?Sized), wanted: impl Fn(&Object) -> bool) -> Option<Variable> {
    for group in GROUPS {
        // Behind its prefix, or before all of it.
        let behind = match name.strip_prefix(group.prefix) {
            Some(rest) => rest,
            None if name.cmp(group.prefix) == Ordering::Less => &[],
            None => continue,
        };
        let objects = group.objects.iter().filter(|object| wanted(object));
        if let Some(found) = objects.filter_map(|object| after(group.prefix, object, behind, values)).next() {
            return Some(found);
        }
    }
    None
}

/// The first instance of an object whose number and index are behind `rest`.
fn after(
    prefix: &'static [u32],
    object: &'static Object,
    rest: &[u32],
    values: &(impl Values + ?Sized),
) -> Option<Variable> {
    let instance = match rest.split_first() {
        Some((number, _)) if object.number < *number => return None,
        Some((number, instance)) if object.number == *number => Some(instance),
        _ => None,
    };
    let row = match object.instances {
        Instances::One(there) => {
            if instance.is_some_and(|instance| there <= instance) {
                return None;
            }
            None
        }
        Instances::Rows(table) => {
            let rows = values.rows(table);
            let row = instance.map_or(0, |instance| rows.partition_point(|index| **index <= *instance));
            Some((row, *rows.get(row)?))
        }
    };
    Some(Variable { prefix, object, row })
}

#[cfg(test)]
mod tests;
