//! The whole firmware on a simulated board: an initiator at the other end of its wire, in virtual time.

#[path = "../model/mod.rs"]
mod model;

mod basics;
mod cards;
mod client;
mod faults;
mod load;
mod plants;
mod power;
mod rig;
mod services;
mod snmp;
mod speed;
mod unasked;
mod unwritten;
mod volumes;
