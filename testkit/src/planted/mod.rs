//! A target that does what it was told to do wrong: the test of the runs that claim to notice.
//!
//! The program `faulty-target` takes the arguments of `iesp`, starts a real one, and stands on both of its sides: before
//! it as a proxy that speaks iSCSI, behind it as an NBD server whose disks are [`crate::device::faulty::Faulty`].
//!
//! - [`cli`]: the program.
//! - [`nbd`]: an NBD server for one [`crate::device::Device`].
//! - [`proxy`]: passes PDUs on, one at a time, through a [`proxy::Tamper`].
//! - [`pdu`]: a PDU as it travels, and what is read from it.
//! - [`reservation`], [`stale`]: what may be done to PDUs.

pub mod cli;
pub mod nbd;
pub mod pdu;
pub mod proxy;
pub mod reservation;
pub mod stale;
