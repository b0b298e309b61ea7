//! iESP on a Wemos D1 mini32.

#![no_std]
#![no_main]

esp::binary!();
