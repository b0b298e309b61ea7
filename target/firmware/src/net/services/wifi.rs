//! WiFi: which of the access points that are known, and again when it is lost.

use embassy_time::{Duration, Timer};
use heapless::Vec;

use crate::board::{Board, Panel};
use crate::config::{NETWORKS, Wifi};
use crate::log::Level;
use crate::target::Target;

/// How long until the board looks around again when nothing could be joined, at first and at most.
const AGAIN: Duration = Duration::from_secs(1);
const AGAIN_MOST: Duration = Duration::from_secs(30);

/// A radio could not do what it was to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RadioError;

/// A board's WiFi.
#[allow(async_fn_in_trait, reason = "one executor thread: nobody needs these futures to be Send")]
pub trait Radio {
    /// Looks around: each access point that is heard, by its name and its strength in dBm.
    ///
    /// # Errors
    /// When the radio cannot.
    async fn scan(&mut self, heard: impl FnMut(&str, i16)) -> Result<(), RadioError>;

    /// Joins a network.
    ///
    /// # Errors
    /// When it cannot be joined: a wrong pass phrase, an access point that is gone.
    async fn join(&mut self, network: &Wifi) -> Result<(), RadioError>;

    /// Waits until the network is lost.
    async fn lost(&mut self);
}

/// A board without WiFi.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoRadio;

impl Radio for NoRadio {
    async fn scan(&mut self, _: impl FnMut(&str, i16)) -> Result<(), RadioError> {
        core::future::pending().await
    }

    async fn join(&mut self, _: &Wifi) -> Result<(), RadioError> {
        core::future::pending().await
    }

    async fn lost(&mut self) {
        core::future::pending().await
    }
}

/// Networks that were heard, by their number in the configuration, the strongest first.
#[derive(Debug, Default)]
struct Choice(Vec<(usize, i16), NETWORKS>);

impl Choice {
    /// An access point: of those of one network the strongest counts.
    fn heard(&mut self, networks: &[Wifi], name: &str, strength: i16) {
        let Some(number) = networks.iter().position(|network| network.ssid == name) else { return };
        match self.0.iter_mut().find(|(known, _)| *known == number) {
            Some((_, best)) => *best = strength.max(*best),
            // There are no more networks than places.
            None => {
                let _ = self.0.push((number, strength));
            }
        }
        // Equal ones in the order of the configuration.
        self.0.sort_unstable_by_key(|(number, strength)| (-i32::from(*strength), *number));
    }
}

/// Keeps the board in one of its networks, for ever.
pub(super) async fn keep<B: Board, const CONNECTIONS: usize>(
    target: &Target<'_, B, CONNECTIONS>,
    radio: &mut impl Radio,
    networks: &[Wifi],
) {
    let mut wait = AGAIN;
    loop {
        let mut choice = Choice::default();
        let scanned = radio.scan(|name, strength| choice.heard(networks, name, strength)).await;
        if scanned.is_err() || choice.0.is_empty() {
            target
                .with_panel(|log| log.tell(Level::Warning, format_args!("WiFi: none of the known networks is heard")));
        }
        for (number, strength) in choice.0 {
            let Some(network) = networks.get(number) else { continue };
            if radio.join(network).await.is_err() {
                target.with_panel(|log| {
                    log.tell(Level::Warning, format_args!("WiFi: {:?} cannot be joined", network.ssid));
                });
                continue;
            }
            target.with_panel(|log| log.line(format_args!("WiFi: {:?}, {strength} dBm", network.ssid)));
            wait = AGAIN;
            radio.lost().await;
            target.with_panel(|log| log.tell(Level::Warning, format_args!("WiFi: {:?} is lost", network.ssid)));
            // The strongest one may be another one now.
            break;
        }
        Timer::after(wait).await;
        wait = (wait * 2).min(AGAIN_MOST);
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;

    fn networks() -> [Wifi; 3] {
        ["home", "attic", "phone"]
            .map(|ssid| Wifi { ssid: ssid.try_into().unwrap(), psk: "secret".try_into().unwrap() })
    }

    #[test]
    fn the_strongest_that_is_known_comes_first() {
        let mut choice = Choice::default();
        for (name, strength) in
            [("attic", -80), ("neighbour", -20), ("home", -70), ("attic", -60), ("attic", -90), ("phone", -60)]
        {
            choice.heard(&networks(), name, strength);
        }
        assert_eq!(choice.0[..], [(1, -60), (2, -60), (0, -70)]);
    }
}
