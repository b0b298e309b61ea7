//! The SNMP agent: versions 1 and 2c over UDP, to look at only.
//!
//! [`objects`] says what there is, [`readings`] what its values are, [`pdu`] what a request is answered, and [`message`] who
//! may ask. Another version is another kind of message around the same PDUs.

mod message;
mod objects;
mod pdu;
mod readings;
#[cfg(test)]
mod tests;

use std::net::{SocketAddr, UdpSocket as StdSocket};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::UdpSocket;

use crate::failure::Failure;
use crate::node::Node;
use readings::{Host, Readings};

/// What the agent is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Where it listens.
    pub listen: SocketAddr,
    /// What a request must name.
    pub community: String,
}

/// An agent that has its socket.
#[derive(Debug)]
pub struct Agent {
    socket: StdSocket,
    address: SocketAddr,
    community: String,
}

impl Agent {
    /// Takes the socket.
    ///
    /// # Errors
    /// Why it cannot be had, and what to do.
    pub fn bind(config: Config) -> Result<Self, Failure> {
        let Config { listen, community } = config;
        let bound = StdSocket::bind(listen).and_then(|socket| {
            socket.set_nonblocking(true)?;
            Ok((socket.local_addr()?, socket))
        });
        let (address, socket) = bound.map_err(|error| not_bound(listen, &error))?;
        Ok(Self { socket, address, community })
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers until the task is aborted.
    ///
    /// # Errors
    /// Where the socket cannot be used.
    pub async fn serve(self, node: Arc<Node>) -> std::io::Result<()> {
        let socket = UdpSocket::from_std(self.socket)?;
        let community = self.community;
        let host = Host::here();
        let mut datagram = vec![0; 1 << 16];
        loop {
            let (len, peer) = match socket.recv_from(&mut datagram).await {
                Ok(received) => received,
                Err(error) => {
                    // An earlier answer that nobody took, or memory that will be there again.
                    tracing::debug!(%error, "an SNMP request was not received");
                    tokio::time::sleep(Duration::from_millis(10)).await;
                    continue;
                }
            };
            let request = &datagram[..len];
            // What is read is of this moment, and gone before the answer leaves.
            let answer = message::answer(request, community.as_bytes(), &Readings::new(&node, &host));
            if let Some(answer) = answer
                && let Err(error) = socket.send_to(&answer, peer).await
            {
                tracing::debug!(%peer, %error, "an SNMP answer was not sent");
            }
        }
    }
}

fn not_bound(address: SocketAddr, error: &std::io::Error) -> Failure {
    use std::io::ErrorKind;
    let remedy = match error.kind() {
        ErrorKind::AddrInUse => "another program listens there: end it, or choose another port with -S",
        ErrorKind::AddrNotAvailable => "this machine has no such address: name one that it has with --snmp-listen",
        ErrorKind::PermissionDenied => "ports below 1024 need privileges: choose another one with -S",
        _ => return Failure::runtime(format!("cannot answer SNMP on {address}: {error}")),
    };
    Failure::runtime(format!("cannot answer SNMP on {address}: {remedy}"))
}
