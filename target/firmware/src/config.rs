//! `cfg-iESP.json`: what the owner of a board says.
//!
//! The keys are those of the C++ program, and a few more. What is missing has its default, a key that is not known is let
//! pass. The file lies on the board's flash, or beside the disk's file on the card, which wins.

use core::fmt;
use core::net::Ipv4Addr;

use heapless::{String, Vec};
use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::log::Level;
use crate::pins::PanelPins;
use crate::target::{Credentials, LUNS, SECRET_MAX};

/// Name of the file.
pub const FILE: &str = "cfg-iESP.json";

/// Longest file, in bytes.
pub const FILE_MAX: usize = 2048;

/// Most WiFi networks.
pub const NETWORKS: usize = 4;

/// A WiFi network.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
pub struct Wifi {
    /// Name: up to 32 bytes.
    pub ssid: String<32>,
    /// Pass phrase; empty for an open network.
    #[serde(default)]
    pub psk: String<64>,
}

/// What the file says; LED numbers are GPIO, -1 for none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Networks that may be joined.
    pub wifi: Vec<Wifi, NETWORKS>,
    /// Address or name of a syslog server, with a port or without; empty for none.
    pub syslog_host: String<64>,
    /// `debug`, `info`, `warning` or `error`.
    pub log_level: String<8>,
    /// 0: no UNMAP; 1 or 2: UNMAP where the card erases to zeros.
    pub trim_level: u8,
    /// How long to wait for an Ethernet link, in seconds.
    pub eth_wait_time: u16,
    /// How often the free space for SNMP is estimated, in seconds.
    pub update_df_interval: u16,
    /// Reading.
    pub led_green: i16,
    /// Writing.
    pub led_yellow: i16,
    /// Trouble.
    pub led_red: i16,
    /// Clock of a TM1637; -1 for none.
    pub display_clk: i16,
    /// Its data.
    pub display_dio: i16,
    /// The card's bus; -1 for the board's own.
    pub sd_miso: i16,
    /// See `sd_miso`.
    pub sd_mosi: i16,
    /// See `sd_miso`.
    pub sd_sclk: i16,
    /// See `sd_miso`.
    pub sd_cs: i16,
    /// Highest clock of the card's bus, in MHz.
    pub spi_speed: u16,
    /// The disk's file; several disks by commas. `@card` is the whole card, `@1` its first partition.
    pub disk_name: String<128>,
    /// iSCSI name of the target.
    pub target_name: String<223>,
    /// Name and secret that initiators log in with by CHAP; empty for none.
    pub chap_user: String<SECRET_MAX>,
    /// At least 12 bytes.
    pub chap_secret: String<SECRET_MAX>,
    /// Fixed address with its prefix length, as `192.168.1.5/24`; empty for DHCP.
    pub ip_address: String<18>,
    /// With a fixed address.
    pub gateway: String<15>,
    /// Address and port that discovery tells, where the board is behind a gateway; empty for its own.
    pub portal: String<21>,
    /// Address or name of a time server, with a port or without; empty for none.
    pub ntp_host: String<64>,
    /// What SNMP requests must name.
    pub snmp_community: String<32>,
    /// Writes are refused.
    pub read_only: bool,
}

impl Default for Config {
    fn default() -> Self {
        // All of these fit.
        let text = |text: &str| String::try_from(text).unwrap_or_default();
        Self {
            wifi: Vec::new(),
            syslog_host: String::new(),
            log_level: String::try_from("info").unwrap_or_default(),
            trim_level: 1,
            eth_wait_time: 30,
            update_df_interval: 15,
            led_green: -1,
            led_yellow: -1,
            led_red: -1,
            display_clk: -1,
            display_dio: -1,
            sd_miso: -1,
            sd_mosi: -1,
            sd_sclk: -1,
            sd_cs: -1,
            spi_speed: 50,
            disk_name: text("test.dat"),
            target_name: String::try_from("test").unwrap_or_default(),
            chap_user: String::new(),
            chap_secret: String::new(),
            ip_address: String::new(),
            gateway: String::new(),
            portal: String::new(),
            ntp_host: String::new(),
            snmp_community: String::try_from("public").unwrap_or_default(),
            read_only: false,
        }
    }
}

/// What is wrong with the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfigError {
    /// It is no JSON, or a value is of the wrong kind or too long; the key that is there, or empty before the first.
    Json(&'static str, serde_json_core::de::Error),
    /// It is no UTF-8, such as what an editor saved as "Unicode".
    Encoding,
    /// It is longer than [`FILE_MAX`] bytes.
    TooLong,
    /// A value that its key does not allow: the key, and what it allows.
    Value(&'static str, &'static str),
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Json("", error) => write!(f, "{FILE}: {error}"),
            Self::Json(key, error) => write!(f, "{FILE}: {error}, at \"{key}\""),
            Self::Encoding => write!(f, "{FILE}: not in UTF-8: save it as that"),
            Self::TooLong => write!(f, "{FILE}: longer than {FILE_MAX} bytes"),
            Self::Value(key, allowed) => write!(f, "{FILE}: \"{key}\" must be {allowed}"),
        }
    }
}

impl Config {
    /// Takes the file's contents.
    ///
    /// # Errors
    /// What is wrong, and with which key.
    pub fn parse(text: &[u8]) -> Result<Self, ConfigError> {
        if text.len() > FILE_MAX {
            return Err(ConfigError::TooLong);
        }
        // Editors of some systems put a byte order mark first.
        let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
        if core::str::from_utf8(text).is_err() || text.contains(&0) {
            return Err(ConfigError::Encoding);
        }
        let mut escapes = [0; 256];
        let mut config = Self::default();
        let mut at = "";
        let mut json = serde_json_core::de::Deserializer::new(text, Some(&mut escapes));
        let filled = Fill(&mut config, &mut at).deserialize(&mut json);
        filled.map_err(|error| ConfigError::Json(at, error))?;
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<(), ConfigError> {
        let is_level = Level::parse(&self.log_level).is_some();
        let rules = [
            (is_level, "log-level", "debug, info, warning or error"),
            (self.trim_level <= 2, "trim-level", "0, 1 or 2"),
            ((1..=50).contains(&self.spi_speed), "spi-speed", "1 to 50 (MHz)"),
            (self.disks().next().is_some(), "disk-name", "the name of a file on the card"),
            (self.disks().count() <= LUNS, "disk-name", "at most four names"),
            (!self.target_name.is_empty(), "target-name", "a name"),
            (self.chap_user.is_empty() == self.chap_secret.is_empty(), "chap-user", "there with chap-secret"),
            // RFC 7143 9.2.1: 96 bits.
            (self.chap_secret.is_empty() || self.chap_secret.len() >= 12, "chap-secret", "at least 12 characters"),
            ((self.display_clk == -1) == (self.display_dio == -1), "display-clk", "there with display-dio"),
            (self.ip_address.is_empty() || self.fixed_address().is_some(), "ip-address", "like 192.168.1.5/24"),
            (self.portal.is_empty() || self.portal().is_some(), "portal", "like 192.168.1.1:3260"),
            (self.gateway.is_empty() || self.gateway().is_some(), "gateway", "like 192.168.1.1"),
        ];
        match rules.into_iter().find(|(good, ..)| !good) {
            Some((_, key, allowed)) => Err(ConfigError::Value(key, allowed)),
            None => Ok(()),
        }
    }

    /// How much is told.
    pub fn level(&self) -> Level {
        Level::parse(&self.log_level).unwrap_or(Level::Info)
    }

    /// Where lights and a display are.
    pub fn panel_pins(&self) -> PanelPins {
        PanelPins {
            lights: [self.led_green, self.led_yellow, self.led_red],
            display: [self.display_clk, self.display_dio],
        }
    }

    /// The names of the disks.
    pub fn disks(&self) -> impl Iterator<Item = &str> {
        self.disk_name.split(',').map(str::trim).filter(|name| !name.is_empty())
    }

    /// The fixed address and the length of its prefix.
    pub fn fixed_address(&self) -> Option<(Ipv4Addr, u8)> {
        let (address, prefix) = self.ip_address.split_once('/')?;
        let prefix = prefix.parse().ok().filter(|prefix| (1..=30).contains(prefix))?;
        Some((address.parse().ok()?, prefix))
    }

    /// What discovery tells.
    pub fn portal(&self) -> Option<core::net::SocketAddr> {
        self.portal.parse().ok()
    }

    /// The gateway of the fixed address.
    pub fn gateway(&self) -> Option<Ipv4Addr> {
        self.gateway.parse().ok()
    }

    /// Who may log in, where that is not everybody.
    pub fn credentials(&self) -> Option<Credentials> {
        (!self.chap_user.is_empty())
            .then(|| Credentials { name: self.chap_user.clone(), secret: self.chap_secret.clone() })
    }
}

/// Puts each value where it belongs, and says with which key it is. What serde derives for a struct keeps all fields apart, and the
/// defaults beside them, before it puts them together: more than the stack of a small board has room for.
struct Fill<'c>(&'c mut Config, &'c mut &'static str);

impl<'de> DeserializeSeed<'de> for Fill<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

/// The keys of the file, and the fields of what they say.
macro_rules! keys {
    ($($variant:ident $name:literal $field:ident,)*) => {
        #[derive(Deserialize)]
        #[serde(field_identifier)]
        enum Key {
            $(#[serde(rename = $name)] $variant,)*
            #[serde(other)]
            Unknown,
        }

        impl<'de> Visitor<'de> for Fill<'_> {
            type Value = ();

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<(), M::Error> {
                let Self(config, at) = self;
                while let Some(key) = map.next_key()? {
                    match key {
                        $(Key::$variant => {
                            *at = $name;
                            put(&mut config.$field, &mut map)?;
                        })*
                        Key::Unknown => map.next_value::<IgnoredAny>().map(drop)?,
                    }
                }
                Ok(())
            }
        }
    };
}
keys! {
    Wifi "wifi" wifi,
    SyslogHost "syslog-host" syslog_host,
    LogLevel "log-level" log_level,
    TrimLevel "trim-level" trim_level,
    EthWaitTime "eth-wait-time" eth_wait_time,
    UpdateDfInterval "update-df-interval" update_df_interval,
    LedGreen "led-green" led_green,
    LedYellow "led-yellow" led_yellow,
    LedRed "led-red" led_red,
    DisplayClk "display-clk" display_clk,
    DisplayDio "display-dio" display_dio,
    SdMiso "SD-MISO" sd_miso,
    SdMosi "SD-MOSI" sd_mosi,
    SdSclk "SD-SCLK" sd_sclk,
    SdCs "SD-CS" sd_cs,
    SpiSpeed "spi-speed" spi_speed,
    DiskName "disk-name" disk_name,
    TargetName "target-name" target_name,
    ChapUser "chap-user" chap_user,
    ChapSecret "chap-secret" chap_secret,
    IpAddress "ip-address" ip_address,
    Gateway "gateway" gateway,
    Portal "portal" portal,
    NtpHost "ntp-host" ntp_host,
    SnmpCommunity "snmp-community" snmp_community,
    ReadOnly "read-only" read_only,
}

/// Never part of its caller, whose stack would have a place for each value.
#[inline(never)]
fn put<'de, T: Deserialize<'de>, M: MapAccess<'de>>(field: &mut T, map: &mut M) -> Result<(), M::Error> {
    *field = map.next_value()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_the_c_plus_plus_program_with_a_display() {
        let text = br#"{ "wifi": [ { "ssid": "mynet", "psk": "secret pass" }, { "ssid": "b\"c", "psk": "" } ],
            "syslog-host": "192.168.64.13", "log-level": "debug", "trim-level": 0, "eth-wait-time": 5,
            "update-df-interval": 60, "led-green": 17, "led-yellow": 18, "led-red": -1,
            "display-clk": 2, "display-dio": 3, "SD-MISO": 19, "SD-MOSI": 23, "SD-SCLK": 18, "SD-CS": 5, "spi-speed": 22, "disk-name": "disk.img" }"#;
        let config = Config::parse(text).unwrap();
        assert_eq!(config.wifi[0], Wifi { ssid: "mynet".try_into().unwrap(), psk: "secret pass".try_into().unwrap() });
        assert_eq!(config.wifi[1].ssid, "b\"c");
        assert_eq!((config.syslog_host.as_str(), config.log_level.as_str()), ("192.168.64.13", "debug"));
        assert_eq!((config.trim_level, config.eth_wait_time, config.update_df_interval), (0, 5, 60));
        assert_eq!(config.panel_pins(), PanelPins { lights: [17, 18, -1], display: [2, 3] });
        assert_eq!((config.sd_miso, config.sd_mosi, config.sd_sclk, config.sd_cs), (19, 23, 18, 5));
        assert_eq!((config.spi_speed, config.disk_name.as_str()), (22, "disk.img"));
        assert!(config.credentials().is_none());
    }

    #[test]
    fn defaults_and_disks() {
        let config = Config::parse(b"\xef\xbb\xbf{}").unwrap();
        assert_eq!(config, Config::default());
        assert!(config.disks().eq(["test.dat"]));
        let config = Config::parse(br#"{"disk-name": "a.img, @1", "unknown": [1, {"a": "b"}]}"#).unwrap();
        assert!(config.disks().eq(["a.img", "@1"]));
    }

    #[test]
    fn addresses() {
        let config = Config::parse(br#"{"ip-address": "10.0.0.5/24", "gateway": "10.0.0.1"}"#).unwrap();
        assert_eq!(config.fixed_address(), Some((Ipv4Addr::new(10, 0, 0, 5), 24)));
        assert_eq!(config.gateway(), Some(Ipv4Addr::new(10, 0, 0, 1)));
    }

    #[test]
    fn what_is_wrong_is_told_by_its_key() {
        let value = |text: &str| match Config::parse(text.as_bytes()) {
            Err(ConfigError::Value(key, _)) => key,
            other => panic!("{text}: {other:?}"),
        };
        assert_eq!(value(r#"{"log-level": "loud"}"#), "log-level");
        assert_eq!(value(r#"{"trim-level": 3}"#), "trim-level");
        assert_eq!(value(r#"{"spi-speed": 0}"#), "spi-speed");
        assert_eq!(value(r#"{"disk-name": " , "}"#), "disk-name");
        assert_eq!(value(r#"{"disk-name": "a,b,c,d,e"}"#), "disk-name");
        assert_eq!(value(r#"{"chap-user": "anna"}"#), "chap-user");
        assert_eq!(value(r#"{"chap-user": "anna", "chap-secret": "short"}"#), "chap-secret");
        assert_eq!(value(r#"{"display-dio": 5}"#), "display-clk");
        assert_eq!(value(r#"{"ip-address": "10.0.0.5"}"#), "ip-address");
        assert_eq!(value(r#"{"ip-address": "10.0.0.5/24", "gateway": "x"}"#), "gateway");
        for (text, at) in [
            ("", ""),
            ("{", ""),
            ("[]", ""),
            (r#"{"led-red": "x"}"#, "led-red"),
            (r#"{"wifi": [{"psk": "x"}]}"#, "wifi"),
            (r#"{"led-red": 5, "disk-name": 5}"#, "disk-name"),
            (r#"{"target-name": "x", }"#, "target-name"),
        ] {
            assert!(matches!(Config::parse(text.as_bytes()), Err(ConfigError::Json(key, _)) if key == at), "{text}");
        }
        for text in [&b"\xff\xfe{\0}\0"[..], b"{\0}\0", b"{\"target-name\": \"caf\xe9\"}"] {
            assert_eq!(Config::parse(text), Err(ConfigError::Encoding));
        }
        assert_eq!(Config::parse(&[b' '; FILE_MAX + 1]), Err(ConfigError::TooLong));
    }
}
