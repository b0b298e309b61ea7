//! Tools that verify and measure block devices and iSCSI targets.

pub mod device;
pub mod iscsi;
pub mod load;
pub mod planted;
pub mod plot;
pub mod powercut;
pub mod signals;
pub mod size;
pub mod speed;
pub mod verify;
pub mod yardstick;
