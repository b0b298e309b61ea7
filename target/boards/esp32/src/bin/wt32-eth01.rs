//! iESP on a WT32-ETH01.

#![no_std]
#![no_main]

esp::binary!();
