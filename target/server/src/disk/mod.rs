//! Disks: opened, locked, with an identity of their own, made into logical units.

mod claim;
mod identity;
mod made;
mod open;
mod registry;
mod thing;
mod trouble;

pub use claim::Claim;
pub use identity::state_folder;
pub use open::{Absence, Place, Wanted, look_at_all, open_all, placeholder};
pub use registry::{DiskPath, Registry, UNIT_NEXUSES, Unit, differs};
pub use thing::{is_same, may_be_same};
pub use trouble::Trouble;
