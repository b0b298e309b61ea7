//! Listening.

use std::net::{SocketAddr, TcpListener as StdListener};
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;

use super::shards::{Arrival, Door, Mail};
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

/// Takes connections, and hands them to the shards in turn.
pub async fn accept(listener: TcpListener, portal: PortalId, shards: Arc<[Door]>, node: Arc<Node>) {
    let mut turn = 0;
    loop {
        match listener.accept().await {
            Ok((_, peer)) if node.connections() >= node.catalog().settings.connections => {
                let most = node.catalog().settings.connections;
                tracing::warn!(%peer, most, "refused: there are too many connections");
            }
            Ok((stream, peer)) => {
                // Small answers must not wait for more to come.
                let stream = stream.set_nodelay(true).and_then(|()| stream.into_std());
                match stream {
                    // A shard ends only after this task.
                    Ok(stream) => drop(shards[turn % shards.len()].send(Mail::Connection(Arrival {
                        stream,
                        portal,
                        peer,
                        node: Arc::clone(&node),
                    }))),
                    Err(error) => tracing::warn!(%peer, %error, "a connection was lost at once"),
                }
                turn += 1;
            }
            Err(error) => {
                // Out of descriptors, say: others may be given back meanwhile.
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}
