//! iESP on an ESP32-C6.

#![no_std]
#![no_main]

esp::binary!();
