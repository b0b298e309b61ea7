//! Where a server is: an address or, where the board can ask for it (feature `names`), a name; with a port, or without.

use core::fmt;
use core::net::Ipv4Addr;

use embassy_net::Stack;
#[cfg(feature = "names")]
use embassy_time::{Duration, Timer};

use crate::board::{Board, Led, Panel};
use crate::log::Level;
use crate::target::Target;

/// How long until a name that nobody knows is asked for again.
#[cfg(feature = "names")]
const AGAIN: Duration = Duration::from_secs(30);

/// A server as the configuration names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Server<'c> {
    host: &'c str,
    port: u16,
}

impl<'c> Server<'c> {
    /// Takes `host` or `host:port`; `None` where there is nothing, or what a board cannot use: that is told.
    pub(super) fn of<B: Board, const CONNECTIONS: usize>(
        target: &Target<'_, B, CONNECTIONS>,
        key: &str,
        text: &'c str,
        port: u16,
    ) -> Option<Self> {
        if text.is_empty() {
            return None;
        }
        let server = Self::parse(text, port);
        if server.is_none() {
            target.with_panel(|log| {
                let what = if cfg!(feature = "names") { "a name or an address" } else { "an address" };
                log.light(Led::Red, true);
                log.tell(Level::Error, format_args!("\"{key}\" must be {what} like 192.168.1.2, not {text:?}"));
            });
        }
        server
    }

    fn parse(text: &'c str, port: u16) -> Option<Self> {
        let (host, port) = match text.split_once(':') {
            Some((host, port)) => (host, port.parse().ok().filter(|port| *port > 0)?),
            None => (text, port),
        };
        let server = Self { host, port };
        (server.address().is_some() || cfg!(feature = "names") && is_name(host)).then_some(server)
    }

    fn address(&self) -> Option<Ipv4Addr> {
        self.host.parse().ok()
    }

    /// Its address and port; a name is asked for until somebody knows it. That nobody does is told once.
    #[cfg(feature = "names")]
    pub(super) async fn find<B: Board, const CONNECTIONS: usize>(
        &self,
        target: &Target<'_, B, CONNECTIONS>,
        stack: Stack<'_>,
    ) -> (Ipv4Addr, u16) {
        use embassy_net::IpAddress;
        use embassy_net::dns::DnsQueryType;

        if let Some(address) = self.address() {
            return (address, self.port);
        }
        let mut told = false;
        loop {
            stack.wait_config_up().await;
            let found = stack.dns_query(self.host, DnsQueryType::A).await;
            match found.as_deref() {
                Ok([IpAddress::Ipv4(address), ..]) => return (*address, self.port),
                _ if told => {}
                _ => {
                    told = true;
                    target.with_panel(|log| {
                        log.tell(Level::Warning, format_args!("no name server knows {}: it is asked again", self.host));
                    });
                }
            }
            Timer::after(AGAIN).await;
        }
    }

    /// Its address and port.
    #[cfg(not(feature = "names"))]
    pub(super) async fn find<B: Board, const CONNECTIONS: usize>(
        &self,
        _: &Target<'_, B, CONNECTIONS>,
        _: Stack<'_>,
    ) -> (Ipv4Addr, u16) {
        // What is no address was refused.
        (self.address().unwrap_or(Ipv4Addr::UNSPECIFIED), self.port)
    }
}

impl fmt::Display for Server<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.host)
    }
}

/// RFC 1123 2.1: labels of letters, digits and hyphens. An address with a mistake in it is no name.
fn is_name(text: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let text = text.strip_suffix('.').unwrap_or(text);
    text.split('.').all(label) && text.bytes().any(|byte| byte.is_ascii_alphabetic())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_a_port_or_the_usual_one() {
        let parse = |text| Server::parse(text, 514).map(|server| (server.address(), server.port));
        assert_eq!(parse("10.0.2.2"), Some((Some(Ipv4Addr::new(10, 0, 2, 2)), 514)));
        assert_eq!(parse("10.0.2.2:5140"), Some((Some(Ipv4Addr::new(10, 0, 2, 2)), 5140)));
        for text in ["10.0.2", "10.0.2.256", "10.0.2.2:", "10.0.2.2:0", "10.0.2.2:65536", ":514", "a b", "-", "."] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn names_are_for_boards_that_can_ask() {
        for text in ["pool.ntp.org", "nas", "nas.local.:1514", "3com.example"] {
            assert_eq!(Server::parse(text, 123).is_some(), cfg!(feature = "names"), "{text}");
        }
        for text in ["nas_.x", "a..b", "-a.b", "nas-", "nas/log"] {
            assert_eq!(Server::parse(text, 123), None, "{text}");
        }
    }
}
