//! Listening.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::sync::Arc;
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;

use super::shards::{Arrival, Door};
use crate::config::{Config, PortalConfig};
use crate::failure::Failure;
use crate::node::{Node, PortalId};

/// A socket that listens.
#[derive(Debug)]
pub struct Listener {
    /// The portal that was asked for.
    pub config: PortalConfig,
    /// Where it really is.
    pub address: SocketAddr,
    /// The socket.
    pub socket: StdListener,
}

/// Opens the listening socket of a portal.
///
/// # Errors
/// Which address cannot be had, why, and what to do.
pub fn bind(portal: &PortalConfig) -> Result<Listener, Failure> {
    let bound = open(portal.address).and_then(|socket| Ok((socket.local_addr()?, socket)));
    let (address, socket) = bound.map_err(|error| Failure::not_bound("listen", portal.address, &error, "-p", "-i"))?;
    Ok(Listener { config: portal.clone(), address, socket })
}

/// The service manager's sockets: they stand for all that the configuration names, each with the name of the portal whose
/// address it has.
///
/// # Errors
/// Where a socket's address is not known.
pub fn take(sockets: Vec<StdListener>, config: &mut Config) -> Result<Vec<Listener>, Failure> {
    let unknown = |error: std::io::Error| Failure::runtime(format!("a socket of the service manager's: {error}"));
    let listeners = sockets.into_iter().map(|socket| {
        let address = socket.local_addr().map_err(unknown)?;
        let same = config.portals.iter().find(|portal| portal.address == address);
        let portal = PortalConfig { name: same.and_then(|portal| portal.name.clone()), address };
        Ok(Listener { config: portal, address, socket })
    });
    let listeners = listeners.collect::<Result<Vec<_>, Failure>>()?;
    config.portals = listeners.iter().map(|listener| listener.config.clone()).collect();
    Ok(listeners)
}

fn open(address: SocketAddr) -> std::io::Result<StdListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // A restart must not wait for connections of the last run that linger; two listeners still exclude each other. On
    // Windows the first is so anyway, and the second would not be.
    #[cfg(not(windows))]
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.bind(&address.into())?;
    socket.listen(128)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// Takes connections, and hands them to the shards.
pub async fn accept(listener: TcpListener, portal: PortalId, shards: Arc<[Door]>, node: Arc<Node>) {
    let mut turn = 0;
    let (mut refusals, mut failures) = (Seldom::default(), Seldom::default());
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                let most = node.catalog().settings.connections;
                let Some(guest) = node.admit(portal, most) else {
                    if let Some(untold) = refusals.turn(Instant::now()) {
                        tracing::warn!(%peer, most, untold, "refused: there are too many connections");
                    }
                    continue;
                };
                // Small answers must not wait for more to come.
                let stream = stream.set_nodelay(true).and_then(|()| stream.into_std());
                match stream {
                    Ok(stream) => {
                        let shard = next_shard(shards.iter().map(Door::load), turn);
                        shards[shard].let_in(Arrival { stream, peer, guest });
                    }
                    Err(error) => tracing::debug!(%peer, %error, "a connection was lost at once"),
                }
                turn += 1;
            }
            // accept(2): the peer had gone before it was taken, as one that looks whether the port is open.
            Err(error) if matches!(error.kind(), ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset) => {
                tracing::debug!(%error, "a connection was lost at once");
            }
            Err(error) => {
                // Out of descriptors, say: others may be given back meanwhile.
                if let Some(untold) = failures.turn(Instant::now()) {
                    tracing::warn!(%error, untold, "a connection could not be accepted");
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// Lines about what a peer can repeat as often as it likes: one a while, with the count of those before it that were left out.
#[derive(Debug, Default)]
struct Seldom {
    next: Option<Instant>,
    untold: u64,
}

impl Seldom {
    /// Between two lines.
    const PAUSE: Duration = Duration::from_secs(5);

    /// How many were left out, where it is time for a line.
    fn turn(&mut self, now: Instant) -> Option<u64> {
        if self.next.is_some_and(|next| now < next) {
            self.untold += 1;
            return None;
        }
        self.next = Some(now + Self::PAUSE);
        Some(std::mem::take(&mut self.untold))
    }
}

/// The shard for the next connection, by the connections that each has and whether backends live there: one with the fewest; of
/// these, one with a backend, whose work for it then wakes no other thread; else they have their turns.
fn next_shard(loads: impl ExactSizeIterator<Item = (usize, bool)>, turn: usize) -> usize {
    let count = loads.len();
    let place = |index: usize| (index + count - turn % count) % count;
    let best = loads.enumerate().min_by_key(|(index, (connections, home))| (*connections, !home, place(*index)));
    best.map_or(0, |(index, _)| index)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_repeated_gets_a_line_every_five_seconds() {
        let (mut seldom, start) = (Seldom::default(), Instant::now());
        let mut after = |millis| seldom.turn(start + Duration::from_millis(millis));
        assert_eq!([0, 1, 4999, 5000, 5001, 20_000].map(&mut after), [Some(0), None, None, Some(2), None, Some(1)]);
    }

    #[test]
    fn connections_go_where_few_are_and_where_their_disk_may_live() {
        let next = |loads: &[(usize, bool)], turn| next_shard(loads.iter().copied(), turn);
        assert_eq!((next(&[(0, false); 3], 0), next(&[(0, false); 3], 1), next(&[(0, false); 3], 5)), (0, 1, 2));
        assert_eq!((next(&[(2, false), (1, false)], 0), next(&[(2, true), (1, false)], 0)), (1, 1));
        for turn in 0..4 {
            assert_eq!(next(&[(0, false), (0, true)], turn), 1);
            assert_eq!(next(&[(1, false), (1, false), (1, true)], turn), 2);
        }
    }
}
