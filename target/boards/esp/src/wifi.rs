//! The network: the chip's WiFi.

use embassy_time::{Duration, with_timeout};
use esp_hal::peripherals::WIFI;
use esp_radio::wifi::scan::ScanConfig;
use esp_radio::wifi::sta::StationConfig;
use esp_radio::wifi::{
    AuthenticationMethodConfig, Config, ControllerConfig, Interface, Password, PowerSaveMode, Ssid, WifiController,
};
use iesp_firmware::config::Wifi;
use iesp_firmware::net::services::wifi::{Radio, RadioError};

/// Frames come and go by it.
pub type Driver = Interface;
/// Joins networks.
pub type BoardRadio = WifiRadio;

/// How long joining a network may take, and how long giving up.
const JOIN_LIMIT: Duration = Duration::from_secs(20);
const LEAVE_LIMIT: Duration = Duration::from_secs(2);

/// Access points of one look around: more would take the heap that frames need.
const HEARD_MAX: usize = 32;

/// Frames that wait each way, of up to 1.6 KB of heap: all that the connections' windows let be under way, and some for others.
const FRAMES: u16 = 16;

/// What the network takes of the chip.
macro_rules! device {
    ($p:ident) => {
        $p.WIFI
    };
}
pub(crate) use device;

/// Starts it; answers with its MAC address, too.
pub fn start(device: WIFI<'static>) -> (Driver, BoardRadio, [u8; 6]) {
    let config = ControllerConfig::default().with_dynamic_rx_buf_num(FRAMES).with_dynamic_tx_buf_num(FRAMES);
    let controller = WifiController::new(device, config)
        .and_then(|mut controller| {
            // Answers at once, for more of the battery that a target does not have.
            controller.set_power_saving(PowerSaveMode::None)?;
            Ok(controller)
        })
        .unwrap_or_else(|error| panic!("the WiFi does not start: {error:?}"));
    let interface = Interface::station();
    let mac = interface.mac_address();
    (interface, WifiRadio(controller), mac)
}

/// WiFi by way of its controller.
pub struct WifiRadio(WifiController<'static>);

impl Radio for WifiRadio {
    async fn scan(&mut self, mut heard: impl FnMut(&str, i16)) -> Result<(), RadioError> {
        let config = ScanConfig::default().with_max(HEARD_MAX);
        for found in self.0.scan_async(&config).await.map_err(|_| RadioError)? {
            heard(found.ssid.as_str(), found.signal_strength.into());
        }
        Ok(())
    }

    async fn join(&mut self, network: &Wifi) -> Result<(), RadioError> {
        let authentication = if network.psk.is_empty() {
            AuthenticationMethodConfig::Open
        } else {
            // At least this: what is newer is taken where the access point has it.
            let password = Password::try_from(network.psk.as_str()).map_err(|_| RadioError)?;
            AuthenticationMethodConfig::Wpa2Personal(password)
        };
        let ssid = Ssid::try_from(network.ssid.as_str()).map_err(|_| RadioError)?;
        let station = StationConfig::default().with_ssid(ssid).with_authentication(authentication);
        self.0.set_config(&Config::Station(station)).map_err(|_| RadioError)?;
        match with_timeout(JOIN_LIMIT, self.0.connect_async()).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => Err(RadioError),
            Err(_) => {
                // What is given up must not succeed later, beside the next one.
                let _ = with_timeout(LEAVE_LIMIT, self.0.disconnect_async()).await;
                Err(RadioError)
            }
        }
    }

    async fn lost(&mut self) {
        // An error says that it is lost already.
        let _ = self.0.wait_for_disconnect_async().await;
    }
}
