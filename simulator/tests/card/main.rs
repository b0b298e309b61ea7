//! The firmware's SD card driver on the emulated card, in virtual time.

mod basics;
mod faults;
mod load;
mod power;
mod rig;
mod speed;
