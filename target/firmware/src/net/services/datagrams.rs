//! The memory of a UDP socket.

use embassy_net::Stack;
use embassy_net::udp::{PacketMetadata, UdpSocket};

/// Datagrams that may wait, each way.
const WAITING: usize = 2;

/// Room for datagrams of `N` bytes together, each way, and for one that is worked on.
pub(super) struct Datagrams<const N: usize> {
    received: [u8; N],
    received_places: [PacketMetadata; WAITING],
    sending: [u8; N],
    sending_places: [PacketMetadata; WAITING],
    one: [u8; N],
}

impl<const N: usize> Datagrams<N> {
    pub(super) const fn new() -> Self {
        Self {
            received: [0; N],
            received_places: [PacketMetadata::EMPTY; WAITING],
            sending: [0; N],
            sending_places: [PacketMetadata::EMPTY; WAITING],
            one: [0; N],
        }
    }

    /// A socket on this port, or on any (0), and room for a datagram. `None`: the port is taken.
    pub(super) fn open<'a>(&'a mut self, stack: Stack<'a>, port: u16) -> Option<(UdpSocket<'a>, &'a mut [u8; N])> {
        let Self { received, received_places, sending, sending_places, one } = self;
        let mut socket = UdpSocket::new(stack, received_places, received, sending_places, sending);
        socket.bind(port).ok()?;
        Some((socket, one))
    }
}
