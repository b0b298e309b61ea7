//! iSCSI's TCP port: a socket a connection, for ever.

use core::net::{IpAddr, Ipv4Addr, SocketAddr};

use embassy_futures::select::select;
use embassy_net::tcp::TcpSocket;
use embassy_net::{IpAddress, Stack};
use embassy_time::{Duration, Timer};

use crate::board::{Board, Panel};
use crate::memory::ConnectionMemory;
use crate::target::Target;

/// Silence of TCP, with data on their way or with keep-alives that are not answered, after which a peer is gone.
const SILENCE: Duration = Duration::from_secs(30);

/// How often a peer that is silent is asked whether it is there.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// How long the end of a connection may take.
const GOODBYE: Duration = Duration::from_secs(2);

/// Serves connections to `port`, one after the other, as number `seat` of the target's.
pub async fn serve_port<
    B: Board,
    const CONNECTIONS: usize,
    const TASKS: usize,
    const TEXT: usize,
    const UNIT: usize,
    const WORK: usize,
    const TCP: usize,
>(
    target: &Target<'_, B, CONNECTIONS>,
    seat: usize,
    stack: Stack<'_>,
    port: u16,
    memory: &mut ConnectionMemory<TASKS, TEXT, UNIT, WORK, TCP>,
) -> ! {
    let (received, sending, protocol, mut buffers) = memory.split();
    let mut socket = TcpSocket::new(stack, received, sending);
    socket.set_timeout(Some(SILENCE));
    socket.set_keep_alive(Some(KEEP_ALIVE));
    socket.set_nagle_enabled(false);
    loop {
        if socket.accept(port).await.is_err() {
            // The socket was not closed yet.
            socket.abort();
            Timer::after_millis(100).await;
            continue;
        }
        let local = socket.local_endpoint().map_or(SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), port), |end| {
            SocketAddr::new(address(end.addr), end.port)
        });
        let peer = socket.remote_endpoint();
        if let Some(peer) = peer {
            target.with_panel(|panel| panel.line(format_args!("connection {seat}: from {peer}")));
        }
        let end = target.serve(seat, local, &mut socket, protocol, buffers.reborrow()).await;
        target.with_panel(|panel| panel.line(format_args!("connection {seat}: {end}")));
        socket.close();
        let _ = select(socket.flush(), Timer::after(GOODBYE)).await;
        socket.abort();
        let _ = select(socket.flush(), Timer::after(GOODBYE)).await;
    }
}

/// As the protocol knows it.
fn address(address: IpAddress) -> IpAddr {
    match address {
        IpAddress::Ipv4(address) => IpAddr::V4(address),
    }
}
