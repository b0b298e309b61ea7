//! The network: what goes over it besides the disks' blocks, and the sockets that these go over.

mod serve;
pub mod services;

use core::fmt::Write as _;

use embassy_net::{ConfigV4, DhcpConfig, Ipv4Cidr, Stack, StaticConfigV4};
use heapless::String;

use crate::config::Config;
pub use serve::serve_port;

/// A board's name in its network: `iESP-xxxxxxxx`, of the end of its MAC address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hostname(String<32>);

impl Hostname {
    /// For a prefix of at most 20 letters.
    pub fn new(prefix: &str, mac: [u8; 6]) -> Self {
        let mut name = String::new();
        let [_, _, a, b, c, d] = mac;
        // A prefix that is too long is cut by this: then the name is empty, and not told.
        let _ = write!(name, "{prefix}-{a:02x}{b:02x}{c:02x}{d:02x}");
        Self(name)
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Gives the network its address: fixed, or by DHCP.
pub fn configure(stack: Stack<'_>, config: &Config, hostname: &Hostname) {
    let v4 = match config.fixed_address() {
        Some((address, prefix)) => ConfigV4::Static(StaticConfigV4 {
            address: Ipv4Cidr::new(address, prefix),
            gateway: config.gateway(),
            // The router of a small network knows names, too.
            dns_servers: config.gateway().into_iter().collect(),
        }),
        None => {
            let mut dhcp = DhcpConfig::default();
            dhcp.hostname = String::try_from(hostname.as_str()).ok();
            ConfigV4::Dhcp(dhcp)
        }
    };
    stack.set_config_v4(v4);
}
