//! The firmware's SD card driver on the emulated card, in virtual time.

#[path = "../model/mod.rs"]
mod model;

mod basics;
mod faults;
mod load;
mod plants;
mod power;
mod rig;
mod speed;
