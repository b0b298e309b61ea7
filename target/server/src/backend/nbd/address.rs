//! Where an export is: `host:port`, or an NBD URI (doc/uri.md of the NBD project); the URIs that begin with `nbds` are for TLS.

use std::fmt;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use crate::authority::Authority;

/// The port that IANA has for NBD.
const PORT: u16 = 10809;

/// Most bytes of an export's name (NBD, "Values": strings).
const NAME: usize = 4096;

/// What stays as it is in a URI's path.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/');

/// Where a server listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// A host's name or address, and a port.
    Tcp(String, u16),
    /// A Unix domain socket.
    Unix(PathBuf),
}

/// An export of a server. Its `Display` is its URI, the same for each way to write it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// The server.
    pub endpoint: Endpoint,
    /// By TLS, or not at all.
    pub tls: bool,
    /// The export's name; empty for the server's default one.
    pub export: String,
}

impl Address {
    /// Whether this is a URI of NBD's rather than anything else, such as a path.
    pub fn is_uri(text: &str) -> bool {
        ["nbd://", "nbds://", "nbd+unix://", "nbds+unix://"].iter().any(|scheme| text.starts_with(scheme))
    }

    /// Of `host`, `host:port`, `nbd://host:port/export` or `nbd+unix:///export?socket=PATH`, with `nbds` for TLS.
    ///
    /// # Errors
    /// What is wrong and what to write.
    pub fn parse(text: &str) -> Result<Self, String> {
        let tls = text.starts_with("nbds");
        if let Some(rest) = ["nbd+unix://", "nbds+unix://"].iter().find_map(|scheme| text.strip_prefix(scheme)) {
            return Self::unix(text, rest, tls);
        }
        let uri = ["nbd://", "nbds://"].iter().find_map(|scheme| text.strip_prefix(scheme));
        let (authority, path) = match uri {
            Some(rest) => rest.split_once('/').unwrap_or((rest, "")),
            None if text.contains('/') => {
                return Err(format!(
                    "{text} is no address: write HOST:PORT, nbd://HOST:PORT/EXPORT or nbd+unix:///EXPORT?socket=PATH"
                ));
            }
            None => (text, ""),
        };
        if path.contains('?') || authority.contains(['?', '@']) {
            return Err(format!("{text}: user names and query parameters have no meaning in nbd:// URIs"));
        }
        // RFC 6874: in a URI the '%' before an IPv6 zone is encoded; it is taken plain, too.
        let authority = if uri.is_some() { authority.replace("%25", "%") } else { authority.to_owned() };
        let Authority { host, port } = Authority::parse(&authority)
            .filter(|authority| authority.port != Some(0))
            .ok_or_else(|| format!("{text}: write the server as HOST:PORT, as in 192.168.1.10:10809 or [::1]:10809"))?;
        Ok(Self {
            endpoint: Endpoint::Tcp(host, port.unwrap_or(PORT)),
            tls: tls && uri.is_some(),
            export: name(text, path)?,
        })
    }

    fn unix(text: &str, rest: &str, tls: bool) -> Result<Self, String> {
        let scheme = if tls { "nbds+unix" } else { "nbd+unix" };
        let wrong = || format!("{text}: write {scheme}:///EXPORT?socket=PATH");
        let (path, query) = rest.split_once('?').ok_or_else(wrong)?;
        let socket = query
            .strip_prefix("socket=")
            .filter(|socket| !socket.is_empty() && !socket.contains('&'))
            .ok_or_else(wrong)?;
        let socket = percent_decode_str(socket).decode_utf8().map_err(|_| wrong())?;
        let export = path.strip_prefix('/').ok_or_else(wrong)?;
        Ok(Self { endpoint: Endpoint::Unix(PathBuf::from(&*socket)), tls, export: name(text, export)? })
    }

    /// What it is, as far as that can be told now. Names of hosts are resolved, which may take a while.
    pub fn key(&self) -> ExportKey {
        let server = match &self.endpoint {
            Endpoint::Tcp(host, port) => {
                let addresses = (host.as_str(), *port).to_socket_addrs().map(Iterator::collect::<Vec<_>>);
                let addresses = addresses.unwrap_or_default().into_iter();
                let plain = |address: SocketAddr| SocketAddr::new(address.ip().to_canonical(), address.port());
                let name = host.trim_end_matches('.').to_lowercase();
                Server::Tcp { name, port: *port, addresses: addresses.map(plain).collect() }
            }
            Endpoint::Unix(path) => Server::Unix(
                path.canonicalize().or_else(|_| std::path::absolute(path)).unwrap_or_else(|_| path.clone()),
            ),
        };
        ExportKey { server, export: self.export.clone() }
    }

    /// The export that a file of this name belongs to.
    pub fn of_file_name(name: &str) -> Option<Self> {
        // Underscores stand for the escapes' percent signs, and are escaped themselves.
        let uri = percent_decode_str(&name.replace('_', "%")).decode_utf8().ok()?.into_owned();
        Self::parse(&uri).ok()
    }

    /// A name for a file that belongs to this export.
    pub fn file_name(&self) -> String {
        utf8_percent_encode(&self.to_string(), NON_ALPHANUMERIC).to_string().replace('%', "_")
    }
}

/// An export, however its address is written: by another name of the host, with the port or without it, by TLS or not.
///
/// It is no `Eq`: a host's name may have several addresses, of which two names share one.
#[derive(Debug, Clone)]
pub struct ExportKey {
    server: Server,
    export: String,
}

#[derive(Debug, Clone)]
enum Server {
    Tcp {
        name: String,
        port: u16,
        /// None where the name cannot be resolved now.
        addresses: Vec<SocketAddr>,
    },
    Unix(PathBuf),
}

impl ExportKey {
    /// Whether both are one export. One server by TCP and by a Unix domain socket, or at two ports, looks like two.
    pub fn is_same(&self, other: &Self) -> bool {
        let server = match (&self.server, &other.server) {
            (
                Server::Tcp { name, port, addresses },
                Server::Tcp { name: other_name, port: other_port, addresses: others },
            ) => (name == other_name && port == other_port) || addresses.iter().any(|one| others.contains(one)),
            (Server::Unix(path), Server::Unix(other)) => path == other,
            _ => false,
        };
        server && self.export == other.export
    }
}

fn name(text: &str, path: &str) -> Result<String, String> {
    let name = percent_decode_str(path).decode_utf8().map_err(|_| format!("{text}: the export's name is no UTF-8"))?;
    if name.len() > NAME || name.contains('\0') {
        return Err(format!("{text}: an export's name has at most {NAME} bytes, and no zero among them"));
    }
    Ok(name.into_owned())
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let export = utf8_percent_encode(&self.export, PLAIN);
        let scheme = if self.tls { "nbds" } else { "nbd" };
        match &self.endpoint {
            Endpoint::Tcp(host, port) if host.contains(':') => write!(f, "{scheme}://[{host}]:{port}/{export}"),
            Endpoint::Tcp(host, port) => write!(f, "{scheme}://{host}:{port}/{export}"),
            Endpoint::Unix(path) => {
                let path = path.to_string_lossy();
                write!(f, "{scheme}+unix:///{export}?socket={}", utf8_percent_encode(&path, PLAIN))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_write() {
        let tcp = |host: &str, port, export: &str| Address {
            endpoint: Endpoint::Tcp(host.into(), port),
            tls: false,
            export: export.into(),
        };
        for (text, address) in [
            ("box", tcp("box", 10809, "")),
            ("box:99", tcp("box", 99, "")),
            ("[::1]:99", tcp("::1", 99, "")),
            ("nbd://box", tcp("box", 10809, "")),
            ("nbd://box:1/", tcp("box", 1, "")),
            ("nbd://[::1]//disk", tcp("::1", 10809, "/disk")),
            ("nbd://[fe80::1%25eth0]:99/x", tcp("fe80::1%eth0", 99, "x")),
            ("nbd://box/hello%20world", tcp("box", 10809, "hello world")),
            ("nbds:99", tcp("nbds", 99, "")),
            ("nbds://box/x", Address { tls: true, ..tcp("box", 10809, "x") }),
        ] {
            assert_eq!(Address::parse(text), Ok(address.clone()), "{text}");
            assert_eq!(Address::of_file_name(&address.file_name()), Some(address.clone()), "{text}");
            assert_eq!(Address::parse(&address.to_string()), Ok(address), "{text}");
        }
        let unix = Address { endpoint: Endpoint::Unix("/tmp/a b".into()), tls: false, export: "x".into() };
        assert_eq!(Address::parse("nbd+unix:///x?socket=/tmp/a%20b"), Ok(unix.clone()));
        assert_eq!(Address::parse(&unix.to_string()), Ok(unix.clone()));
        let unix = Address { tls: true, ..unix };
        assert_eq!(Address::parse("nbds+unix:///x?socket=/tmp/a%20b"), Ok(unix.clone()));
        assert_eq!(Address::parse(&unix.to_string()), Ok(unix));
    }

    #[test]
    fn one_export_has_many_addresses() {
        let key = |text: &str| Address::parse(text).expect("an address").key();
        for (one, other) in [
            ("127.0.0.1", "nbd://127.0.0.1:10809"),
            ("nbd://localhost/x", "nbds://127.0.0.1:10809/x"),
            ("[::ffff:127.0.0.1]:5", "127.0.0.1:5"),
            ("nbd://[0:0::1]/x", "nbd://[::1]/x"),
            ("nbd://No-Such-Host.invalid/x", "nbd://no-such-host.invalid./x"),
            ("nbd+unix:///x?socket=/no/such", "nbds+unix:///x?socket=/no/such"),
        ] {
            assert!(key(one).is_same(&key(other)) && key(other).is_same(&key(one)), "{one} {other}");
        }
        for (one, other) in [
            ("127.0.0.1:1", "127.0.0.1:2"),
            ("127.0.0.1", "127.0.0.2"),
            ("nbd://127.0.0.1/x", "nbd://127.0.0.1/X"),
            ("nbd://a.invalid/x", "nbd://b.invalid/x"),
            ("nbd+unix:///x?socket=/no/such", "nbd+unix:///x?socket=/no/other"),
        ] {
            assert!(!key(one).is_same(&key(other)), "{one} {other}");
        }
    }

    #[test]
    fn what_is_refused() {
        for text in [
            "",
            ":99",
            "box:x",
            "box:0",
            "box:70000",
            "box:+99",
            "::1",
            "[[]:10809",
            "[[[]:10809",
            "[box]:10809",
            "nbd://[[::1]]/x",
            "a box",
            "a/b",
            "nbd:///x",
            "nbd://u@box/",
            "nbd://box/x?a=b",
            "nbds://",
            "nbds+unix:///x",
            "nbd+unix:///x",
            "nbd+unix:///x?socket=",
            "nbd+unix://box?socket=/s",
            "nbd+unix:///?socket=/s&x=y",
            "nbd://box/%ff",
            "nbd://box/%00",
        ] {
            assert!(Address::parse(text).is_err(), "{text}");
        }
    }
}
