//! A target that does what it was told to do wrong: the test of the runs that claim to notice.
//!
//! The program `faulty-target` takes the arguments of `iesp`, starts a real one, and stands on both of its sides: before
//! it as a proxy that speaks iSCSI, behind it as an NBD server whose disks are [`crate::device::faulty::Faulty`].
//!
//! - [`cli`]: the program.
//! - [`nbd`]: an NBD server for one [`crate::device::Device`].
//! - [`digests`], [`reservation`], [`stale`]: what is done to PDUs by [`iesp_initiator::proxy`].

pub mod cli;
pub mod digests;
pub mod nbd;
pub mod reservation;
pub mod stale;
