//! The whole firmware on a simulated board: an initiator at the other end of its wire, in virtual time.

#[path = "../../../target/iscsi/tests/initiator/mod.rs"]
mod initiator;

mod basics;
mod client;
mod faults;
mod load;
mod power;
mod rig;
mod speed;
