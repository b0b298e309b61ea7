//! A DHCP server at the PC's end of the wire: it gives the board the address that the gateway knows it by.

use std::convert::Infallible;

use edge_dhcp::server::{Server, ServerOptions};
use edge_dhcp::{Options, Packet};
use embassy_net::udp::{PacketMetadata, UdpSocket};
use embassy_net::{IpEndpoint, Stack};

use crate::host::{ADDRESS, BOARD};
use crate::time::now_us;

/// RFC 2131 4.1.
const SERVER_PORT: u16 = 67;
const CLIENT_PORT: u16 = 68;

/// Serves, for ever.
pub async fn serve(stack: Stack<'_>) -> Infallible {
    let (mut received, mut sending) = ([0; 1024], [0; 1024]);
    let mut places = [[PacketMetadata::EMPTY; 4]; 2];
    let [received_places, sending_places] = &mut places;
    let mut socket = UdpSocket::new(stack, received_places, &mut received, sending_places, &mut sending);
    socket.bind(SERVER_PORT).expect("nobody else has this port");
    let mut server: Server<_, 4> = Server::new(|| now_us() / 1_000_000, ADDRESS);
    (server.range_start, server.range_end) = (BOARD, BOARD);
    let options = ServerOptions::new(ADDRESS, None);
    let mut bytes = [0; 1024];
    loop {
        let Ok((len, _)) = socket.recv_from(&mut bytes).await else { continue };
        let Ok(request) = Packet::decode(&bytes[..len]) else { continue };
        let mut room = Options::buf();
        let mut answer = [0; 1024];
        let answer = match server.handle_request(&mut room, &options, &request) {
            Some(packet) => packet.encode(&mut answer),
            None => continue,
        };
        // A board without an address hears what is for everybody.
        let to = IpEndpoint::new(core::net::Ipv4Addr::BROADCAST.into(), CLIENT_PORT);
        if let Ok(answer) = answer {
            let _ = socket.send_to(answer, to).await;
        }
    }
}
