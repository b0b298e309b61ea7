//! What a board has beside card and network: flash, watchdog, radio. All of them stay when the board is switched off.

use std::cell::RefCell;
use std::rc::Rc;

use iesp_firmware::board::Watchdog;
use iesp_firmware::config::Wifi;
use iesp_firmware::flash::{FlashError, FlashStore};
use iesp_firmware::net::services::wifi::{Radio, RadioError};

use crate::network::SharedWire;
use crate::time::{now_us, sleep_until_us};

/// How long a radio takes to look around, to join, and to see that it is alone.
const SCAN_US: u64 = 300_000;
const JOIN_US: u64 = 500_000;
const NOTICE_US: u64 = 100_000;

/// Flash that a board writes itself.
#[derive(Clone, Debug, Default)]
pub struct SimFlash(pub Rc<RefCell<Option<Vec<u8>>>>);

impl FlashStore for SimFlash {
    fn read<'b>(&mut self, room: &'b mut [u8]) -> Option<&'b [u8]> {
        let kept = self.0.borrow();
        let kept = kept.as_deref()?;
        let room = room.get_mut(..kept.len())?;
        room.copy_from_slice(kept);
        Some(room)
    }

    fn write(&mut self, text: &[u8]) -> Result<(), FlashError> {
        *self.0.borrow_mut() = Some(text.to_vec());
        Ok(())
    }
}

/// When a watchdog was fed last, in microseconds, and the longest time between two meals.
#[derive(Clone, Debug, Default)]
pub struct SimWatchdog(pub Rc<RefCell<(u64, u64)>>);

impl Watchdog for SimWatchdog {
    fn feed(&mut self) {
        let (last, longest) = &mut *self.0.borrow_mut();
        let now = now_us();
        *longest = (*longest).max(now - std::mem::replace(last, now));
    }
}

/// An access point.
#[derive(Clone, Debug)]
pub struct AccessPoint {
    /// The network's name.
    pub ssid: String,
    /// Its pass phrase.
    pub psk: String,
    /// In dBm.
    pub strength: i16,
}

/// What is on the air: whoever has joined an access point is at the other end of the wire.
#[derive(Clone, Debug, Default)]
pub struct Air {
    /// All that can be heard.
    pub access_points: Vec<AccessPoint>,
    /// The network that the board is in.
    pub joined: Option<String>,
}

/// A radio; without air it hears nothing.
#[derive(Clone, Default)]
pub struct SimRadio {
    /// What is on the air.
    pub air: Rc<RefCell<Air>>,
    /// The wire that is up while the board has joined.
    pub wire: Option<SharedWire>,
}

impl SimRadio {
    fn set_joined(&self, ssid: Option<&str>) {
        self.air.borrow_mut().joined = ssid.map(str::to_owned);
        if let Some(wire) = &self.wire {
            wire.borrow_mut().set_up(ssid.is_some());
        }
    }
}

impl Radio for SimRadio {
    async fn scan(&mut self, mut heard: impl FnMut(&str, i16)) -> Result<(), RadioError> {
        sleep_until_us(now_us() + SCAN_US).await;
        self.air.borrow().access_points.iter().for_each(|point| heard(&point.ssid, point.strength));
        Ok(())
    }

    async fn join(&mut self, network: &Wifi) -> Result<(), RadioError> {
        sleep_until_us(now_us() + JOIN_US).await;
        let fits = |point: &AccessPoint| point.ssid == network.ssid.as_str() && point.psk == network.psk.as_str();
        if !self.air.borrow().access_points.iter().any(fits) {
            return Err(RadioError);
        }
        self.set_joined(Some(&network.ssid));
        Ok(())
    }

    async fn lost(&mut self) {
        loop {
            sleep_until_us(now_us() + NOTICE_US).await;
            let air = self.air.borrow();
            if !air.access_points.iter().any(|point| air.joined.as_ref() == Some(&point.ssid)) {
                break;
            }
        }
        self.set_joined(None);
    }
}
