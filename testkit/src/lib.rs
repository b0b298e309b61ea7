//! Tools that verify and measure block devices and iSCSI targets.

pub mod iscsi;
