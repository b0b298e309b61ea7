//! What Espressif's boards share. The chips differ in `chip/`, the networks in `wifi.rs` and `ethernet.rs`.

#![no_std]

mod card;
#[cfg_attr(feature = "c3", path = "chip/c3.rs")]
#[cfg_attr(feature = "c6", path = "chip/c6.rs")]
#[cfg_attr(feature = "esp32", path = "chip/esp32.rs")]
mod chip;
mod config;
#[cfg_attr(feature = "wifi", path = "wifi.rs")]
#[cfg_attr(feature = "ethernet", path = "ethernet.rs")]
mod network;
mod panel;
mod pins;
mod program;
mod reset;

pub use program::run;

/// A binary: its description for the boot loader, and its start.
#[macro_export]
macro_rules! binary {
    () => {
        esp_bootloader_esp_idf::esp_app_desc!();

        #[esp_rtos::main]
        async fn main(spawner: embassy_executor::Spawner) -> ! {
            $crate::run(spawner).await
        }
    };
}
