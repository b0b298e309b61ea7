//! iESP on a Wemos D1 mini32.

#![no_std]
#![no_main]

use embassy_executor::Spawner;

esp_bootloader_esp_idf::esp_app_desc!();

#[esp_rtos::main]
async fn main(spawner: Spawner) -> ! {
    esp::run(spawner).await
}
