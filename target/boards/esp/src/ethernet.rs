//! The network: the WT32-ETH01's LAN8720, at the ESP32's own Ethernet controller.

use core::mem;

use esp_hal::Async;
use esp_hal::delay::Delay;
use esp_hal::efuse::base_mac_address;
use esp_hal::ethernet::clock::ExternalRefClock;
use esp_hal::ethernet::phy::generic::GenericPhy;
use esp_hal::ethernet::{Ethernet, EthernetDmaStorage, RmiiPinBundle};
use esp_hal::gpio::{Level, Output, OutputConfig};
use esp_hal::peripherals::{
    ADC1, ETH, GPIO0, GPIO16, GPIO18, GPIO19, GPIO21, GPIO22, GPIO23, GPIO25, GPIO26, GPIO27, RNG,
};
use esp_hal::rng::TrngSource;
use iesp_firmware::net::services::wifi::NoRadio;
use static_cell::ConstStaticCell;

/// Frames come and go by it.
pub type Driver = Ethernet<'static, Async, GenericPhy>;
/// There is none.
pub type BoardRadio = NoRadio;

/// The PHY's address: its pin PHYAD0 is high on this board.
const PHY: u8 = 1;

static FRAMES: ConstStaticCell<EthernetDmaStorage<6, 6>> = ConstStaticCell::new(EthernetDmaStorage::new());

/// What the network takes of the chip.
pub struct Device {
    pub mac: ETH<'static>,
    /// 50 MHz from the board's oscillator, which `power` turns on.
    pub clock: GPIO0<'static>,
    pub power: GPIO16<'static>,
    pub mdio: GPIO18<'static>,
    pub txd0: GPIO19<'static>,
    pub tx_en: GPIO21<'static>,
    pub txd1: GPIO22<'static>,
    pub mdc: GPIO23<'static>,
    pub rxd0: GPIO25<'static>,
    pub rxd1: GPIO26<'static>,
    pub rx_dv: GPIO27<'static>,
    /// The source of noise, as the radio is off.
    pub rng: RNG<'static>,
    pub adc: ADC1<'static>,
}

macro_rules! device {
    ($p:ident) => {
        $crate::network::Device {
            mac: $p.ETH,
            clock: $p.GPIO0,
            power: $p.GPIO16,
            mdio: $p.GPIO18,
            txd0: $p.GPIO19,
            tx_en: $p.GPIO21,
            txd1: $p.GPIO22,
            mdc: $p.GPIO23,
            rxd0: $p.GPIO25,
            rxd1: $p.GPIO26,
            rx_dv: $p.GPIO27,
            rng: $p.RNG,
            adc: $p.ADC1,
        }
    };
}
pub(crate) use device;

/// Starts it; answers with its MAC address, too.
pub fn start(device: Device) -> (Driver, BoardRadio, [u8; 6]) {
    let Device { mac, clock, power, mdio, txd0, tx_en, txd1, mdc, rxd0, rxd1, rx_dv, rng, adc } = device;
    // For ever, as is the oscillator.
    mem::forget(TrngSource::new(rng, adc));
    mem::forget(Output::new(power, Level::High, OutputConfig::default()));
    // The oscillator takes a moment.
    Delay::new().delay_millis(10);
    let mut address = [0; 6];
    address.copy_from_slice(base_mac_address().as_bytes());
    // Espressif gives each chip four addresses in a row: the last is Ethernet's.
    address[5] = address[5].wrapping_add(3);
    let clock = ExternalRefClock::new(clock);
    let pins = RmiiPinBundle { clock, rxd0, rxd1, rx_dv, txd0, txd1, tx_en, mdc, mdio };
    let ethernet = Ethernet::new(mac, FRAMES.take(), address, GenericPhy::new(PHY), pins)
        .unwrap_or_else(|error| panic!("the Ethernet does not start: {error:?}"));
    (ethernet.into_async(), NoRadio, address)
}
