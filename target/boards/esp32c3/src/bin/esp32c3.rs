//! iESP on an ESP32-C3.

#![no_std]
#![no_main]

esp::binary!();
