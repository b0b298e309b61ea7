//! A server's host and port as people write them (RFC 3986 3.2.2, 3.2.3).

use std::net::Ipv6Addr;

/// A host, and a port where one was written. An IPv6 address stands without its brackets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authority {
    /// A name or an address.
    pub host: String,
    /// `None` where no port is written.
    pub port: Option<u16>,
}

impl Authority {
    /// Of `HOST`, `HOST:PORT`, `[IPV6]` or `[IPV6]:PORT`. `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (host, rest) = rest.split_once(']')?;
                (Some(host).filter(|host| is_v6(host))?, rest)
            }
            None => {
                let (host, port) = text.split_at(text.find(':').unwrap_or(text.len()));
                (Some(host).filter(|host| is_name(host))?, port)
            }
        };
        let port = match port.strip_prefix(':') {
            // RFC 3986 3.2.3: a port may be empty, and is the scheme's then.
            Some("") => None,
            Some(digits) if digits.bytes().all(|digit| digit.is_ascii_digit()) => Some(digits.parse().ok()?),
            None if port.is_empty() => None,
            _ => return None,
        };
        Some(Self { host: host.to_owned(), port })
    }
}

/// An address, perhaps with the zone of a link-local one (RFC 4007 11).
fn is_v6(host: &str) -> bool {
    let (address, zone) = host.split_once('%').map_or((host, None), |(address, zone)| (address, Some(zone)));
    address.parse::<Ipv6Addr>().is_ok() && zone.is_none_or(|zone| !zone.is_empty() && zone.chars().all(is_plain))
}

/// A name or an IPv4 address (RFC 1123 2.1), with the underscores that some names have.
fn is_name(host: &str) -> bool {
    host.starts_with(char::is_alphanumeric) && host.chars().all(is_plain)
}

fn is_plain(letter: char) -> bool {
    letter.is_alphanumeric() || "-._".contains(letter)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_and_ports() {
        for (text, host, port) in [
            ("box", "box", None),
            ("box:", "box", None),
            ("box_1.lan:99", "box_1.lan", Some(99)),
            ("10.0.0.1:0", "10.0.0.1", Some(0)),
            ("[::1]", "::1", None),
            ("[::1]:99", "::1", Some(99)),
            ("[fe80::1%eth0]:99", "fe80::1%eth0", Some(99)),
        ] {
            assert_eq!(Authority::parse(text), Some(Authority { host: host.into(), port }), "{text}");
        }
    }

    #[test]
    fn what_is_neither() {
        for text in [
            "",
            ":",
            ":99",
            "[]:99",
            "[[]:10809",
            "[[[]:10809",
            "[::1",
            "::1",
            "[::1]]",
            "[::1]99",
            "[box]:99",
            "[1.2.3.4]",
            "[::1%]",
            "box:+99",
            "box:-1",
            "box: 99",
            "box:70000",
            "box:1:2",
            "a box",
            "box]",
            "-box",
            "u@box",
            "a/b",
            "a%b",
        ] {
            assert_eq!(Authority::parse(text), None, "{text}");
        }
    }
}
