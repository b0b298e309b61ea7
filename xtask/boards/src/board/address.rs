//! Where a board is on the network, and what it declares there.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

/// iSCSI's port (RFC 7143 14).
const PORT: u16 = 3260;
/// What one attempt to connect may take.
const ATTEMPT: Duration = Duration::from_secs(2);

/// An address as it is written: `HOST` or `HOST:PORT`.
///
/// # Errors
/// When no such host is known.
pub fn resolve(text: &str) -> Result<SocketAddr> {
    let found = match text.to_socket_addrs() {
        Ok(addresses) => addresses.into_iter().next(),
        Err(_) => (text.trim_matches(['[', ']']), PORT).to_socket_addrs().with_context(|| text.to_owned())?.next(),
    };
    found.with_context(|| format!("no address of {text}"))
}

/// The address in a line of the serial console; `banner` has `{address}` where it stands.
///
/// # Errors
/// When the line is another one.
pub fn in_banner(line: &str, banner: &str) -> Result<SocketAddr> {
    let (before, _) = banner.split_once("{address}").context("the banner has no {address}")?;
    let (_, rest) = line.split_once(before).with_context(|| format!("{line:?} is not {banner:?}"))?;
    let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || ".:[]-".contains(c))).unwrap_or(rest.len());
    resolve(rest[..end].trim_end_matches(['.', '-']))
}

/// The address of the first service `_iscsi._tcp` whose name begins so.
///
/// # Errors
/// When none is announced in time.
pub fn announced(prefix: &str, limit: Duration) -> Result<SocketAddr> {
    heard(&mdns_sd::ServiceDaemon::new().context("no mDNS here")?, prefix, limit)
}

fn heard(daemon: &mdns_sd::ServiceDaemon, prefix: &str, limit: Duration) -> Result<SocketAddr> {
    let found = daemon.browse("_iscsi._tcp.local.").context("no mDNS here")?;
    let deadline = Instant::now() + limit;
    let address = loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let Ok(event) = found.recv_timeout(left) else {
            bail!("no _iscsi._tcp whose name begins with {prefix:?} was announced within {} s", limit.as_secs_f64());
        };
        if let mdns_sd::ServiceEvent::ServiceResolved(service) = event
            && service.get_fullname().starts_with(prefix)
            && let Some(address) = service.get_addresses_v4().into_iter().next()
        {
            break SocketAddr::from((address, service.get_port()));
        }
    };
    // It ends by itself otherwise, too.
    let _ = daemon.shutdown();
    Ok(address)
}

/// Waits until something takes connections there.
///
/// # Errors
/// When nothing does in time.
pub fn until_it_serves(address: SocketAddr, limit: Duration) -> Result<()> {
    let deadline = Instant::now() + limit;
    loop {
        let attempt = TcpStream::connect_timeout(&address, ATTEMPT);
        match attempt {
            Ok(_) => return Ok(()),
            Err(error) if Instant::now() > deadline => bail!("nothing takes connections at {address}: {error}"),
            Err(_) => std::thread::sleep(Duration::from_millis(100)),
        }
    }
}

/// The MaxRecvDataSegmentLength that a target declares (RFC 7143 13.12), by a discovery session.
///
/// # Errors
/// When it does not let one in.
pub fn segment_length(address: SocketAddr) -> Result<u32> {
    let mut socket = TcpStream::connect_timeout(&address, ATTEMPT)?;
    socket.set_read_timeout(Some(Duration::from_secs(10)))?;
    let text = b"InitiatorName=iqn.2026-01.io.github.iesp:hil\0SessionType=Discovery\0\
        HeaderDigest=None\0DataDigest=None\0MaxRecvDataSegmentLength=8192\0";
    let mut request = vec![0; 48];
    // Login, immediate; T, from operational negotiation to the full feature phase (RFC 7143 11.12).
    request[..2].copy_from_slice(&[0x43, 0x87]);
    request[5..8].copy_from_slice(&(text.len() as u32).to_be_bytes()[1..]);
    // ISID of type "random".
    request[8..14].copy_from_slice(&[0x80, 0x4e, 0x11, 0, 0, 1]);
    request.extend(text);
    request.resize(request.len().next_multiple_of(4), 0);
    socket.write_all(&request)?;
    let mut header = [0; 48];
    socket.read_exact(&mut header).context("no answer to a login")?;
    ensure!(header[0] & 0x3f == 0x23, "the answer to a login has the opcode {:#x}", header[0] & 0x3f);
    ensure!(header[36] == 0, "a discovery session is refused: status {:02x}{:02x}", header[36], header[37]);
    let length = u32::from_be_bytes([0, header[5], header[6], header[7]]) as usize;
    let mut answer = vec![0; usize::from(header[4]) * 4 + length];
    socket.read_exact(&mut answer)?;
    let pairs = answer[usize::from(header[4]) * 4..].split(|&byte| byte == 0);
    let value = pairs.filter_map(|pair| std::str::from_utf8(pair).ok()?.strip_prefix("MaxRecvDataSegmentLength="));
    // RFC 7143 13.12: 8192 where nothing is said.
    value.map(|text| text.parse().with_context(|| text.to_owned())).next().unwrap_or(Ok(8192))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_with_and_without_a_port() {
        assert_eq!(resolve("127.0.0.1:99").unwrap().to_string(), "127.0.0.1:99");
        assert_eq!(resolve("127.0.0.1").unwrap().to_string(), "127.0.0.1:3260");
        assert_eq!(resolve("[::1]").unwrap().to_string(), "[::1]:3260");
        assert!(resolve("no such host").is_err());
    }

    #[test]
    fn a_banner_names_the_address() {
        let find = |line: &str| in_banner(line, "iSCSI at {address}").map(|address| address.to_string());
        assert_eq!(find("[12] iSCSI at 192.168.1.7, ready").unwrap(), "192.168.1.7:3260");
        assert_eq!(find("iSCSI at 192.168.1.7:860.").unwrap(), "192.168.1.7:860");
        assert!(find("booting").is_err());
    }

    /// Two daemons on the loopback interface. The board's name is this process's: others announce theirs.
    #[test]
    fn a_board_that_announces_itself_is_found() {
        let daemon = || {
            let daemon = mdns_sd::ServiceDaemon::new().unwrap();
            daemon.enable_interface(mdns_sd::IfKind::LoopbackV4).unwrap();
            daemon
        };
        let (board, ours) = (daemon(), daemon());
        let name = format!("iESP-{:08x}", std::process::id());
        let kind = "_iscsi._tcp.local.";
        for (instance, port) in [("other", 1), (&*name, 860)] {
            let service = mdns_sd::ServiceInfo::new(kind, instance, "board.local.", "127.0.0.1", port, None).unwrap();
            board.register(service).unwrap();
        }
        let found = heard(&ours, &name, Duration::from_secs(20)).unwrap();
        assert_eq!(found.to_string(), "127.0.0.1:860");
        let none = heard(&daemon(), "nobody", Duration::from_millis(200)).unwrap_err().to_string();
        assert!(none.contains("begins with \"nobody\""), "{none}");
        board.shutdown().unwrap();
    }

    #[test]
    fn what_a_target_declares_is_read() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            for (answer, mut socket) in
                [&b"MaxRecvDataSegmentLength=2048\0\0\0"[..], b"X=1\0"].into_iter().zip(listener.incoming().flatten())
            {
                let _ = socket.read(&mut [0; 512]);
                let mut pdu = [0; 48];
                (pdu[0], pdu[7]) = (0x23, answer.len() as u8);
                socket.write_all(&[&pdu[..], answer].concat()).unwrap();
            }
        });
        assert_eq!(segment_length(address).unwrap(), 2048);
        assert_eq!(segment_length(address).unwrap(), 8192);
    }
}
