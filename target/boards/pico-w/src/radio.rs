//! The CYW43439: its program, its parameters, and joining networks.

use cyw43::{A4, Aligned, Control, JoinAuth, JoinOptions, ScanOptions};
use embassy_net::Stack;
use embassy_time::{Duration, with_timeout};
use iesp_firmware::config::Wifi;
use iesp_firmware::net::services::wifi::{Radio, RadioError};

/// The chip's program and the table of what countries allow (see the licence of the crate `cyw43-firmware`).
pub static FIRMWARE: &Aligned<A4, [u8]> = &Aligned(*cyw43_firmware::CYW43_43439A0);
/// As above.
pub static CLM: &[u8] = cyw43_firmware::CYW43_43439A0_CLM;

/// What the chip has to know of the board around it: `key=value`, each ended by a zero. The values are those of the module on
/// the Pico W: crystal, antenna, amplifier and its limits.
pub static NVRAM: &Aligned<A4, [u8]> = &Aligned(*words());

const PARAMETERS: &str = concat!(
    "NVRAMRev=$Rev$\0manfid=0x2d0\0prodid=0x0727\0vendid=0x14e4\0devid=0x43e2\0boardtype=0x0887\0boardrev=0x1100\0",
    "boardnum=22\0macaddr=00:A0:50:b5:59:5e\0sromrev=11\0boardflags=0x00404001\0boardflags3=0x04000000\0",
    "xtalfreq=37400\0nocrc=1\0ag0=255\0aa2g=1\0ccode=ALL\0pa0itssit=0x20\0extpagain2g=0\0",
    "pa2ga0=-168,6649,-778\0AvVmid_c0=0x0,0xc8\0cckpwroffset0=5\0maxp2ga0=84\0txpwrbckof=6\0cckbw202gpo=0\0",
    "legofdmbw202gpo=0x66111111\0mcsbw202gpo=0x77711111\0propbw202gpo=0xdd\0ofdmdigfilttype=18\0",
    "ofdmdigfilttypebe=18\0papdmode=1\0papdvalidtest=1\0pacalidx2g=45\0papdepsoffset=-30\0papdendidx=58\0",
    "ltecxmux=0\0ltecxpadnum=0x0102\0ltecxfnsel=0x44\0ltecxgcigpio=0x01\0il0macaddr=00:90:4c:c5:12:38\0",
    "wl0id=0x431b\0deadman_to=0xffffffff\0muxenab=0x100\0spurconfig=0x3\0glitch_based_crsmin=1\0btc_mode=1\0\0",
);

/// The chip takes words: whole ones.
const NVRAM_LENGTH: usize = PARAMETERS.len().next_multiple_of(4);

const fn words() -> &'static [u8; NVRAM_LENGTH] {
    const BYTES: [u8; NVRAM_LENGTH] = {
        let mut bytes = [0; NVRAM_LENGTH];
        let mut at = 0;
        while at < PARAMETERS.len() {
            bytes[at] = PARAMETERS.as_bytes()[at];
            at += 1;
        }
        bytes
    };
    &BYTES
}

/// How long joining a network may take.
const JOIN_LIMIT: Duration = Duration::from_secs(20);

/// WiFi by way of the chip.
pub struct WifiRadio {
    control: Control<'static>,
    stack: Stack<'static>,
}

impl WifiRadio {
    /// Of a chip that is started, and the network over it.
    pub fn new(control: Control<'static>, stack: Stack<'static>) -> Self {
        Self { control, stack }
    }
}

impl Radio for WifiRadio {
    async fn scan(&mut self, mut heard: impl FnMut(&str, i16)) -> Result<(), RadioError> {
        let mut scanner = self.control.scan(ScanOptions::default()).await;
        while let Some(found) = scanner.next().await {
            let name = found.ssid.get(..usize::from(found.ssid_len)).unwrap_or_default();
            if let Ok(name) = core::str::from_utf8(name) {
                heard(name, found.rssi);
            }
        }
        Ok(())
    }

    async fn join(&mut self, network: &Wifi) -> Result<(), RadioError> {
        let options = if network.psk.is_empty() {
            JoinOptions::new_open()
        } else {
            let mut options = JoinOptions::new(network.psk.as_bytes());
            options.auth = JoinAuth::Wpa2Wpa3;
            options
        };
        match with_timeout(JOIN_LIMIT, self.control.join(&network.ssid, options)).await {
            Ok(Ok(())) => Ok(()),
            _ => Err(RadioError),
        }
    }

    async fn lost(&mut self) {
        self.stack.wait_link_up().await;
        self.stack.wait_link_down().await;
    }
}
