//! iSCSI's TCP port: a socket a connection, for ever.

use core::convert::Infallible;
use core::net::{IpAddr, Ipv4Addr, SocketAddr};

use embassy_futures::join::join;
use embassy_futures::select::select;
use embassy_net::tcp::TcpSocket;
use embassy_net::{IpAddress, Stack};
use embassy_time::{Duration, Timer};

use crate::board::{Board, Panel};
use crate::memory::ConnectionMemory;
use crate::run::PORT;
use crate::target::{Buffers, Protocol, Target};

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
) -> Infallible {
    let (received, sending, protocol, mut buffers) = memory.split();
    if CONNECTIONS > 1 {
        let mut socket = socket(stack, received, sending);
        loop {
            let_in(&mut socket, port).await;
            serve(target, seat, &mut socket, protocol, buffers.reborrow()).await;
        }
    }
    // The only seat: with one socket an initiator that comes back at once, as many do, would be refused while the old
    // connection is being closed. So there are two sockets of half the size, and who comes waits for the seat.
    let (received_now, received_next) = received.split_at_mut(received.len() / 2);
    let (sending_now, sending_next) = sending.split_at_mut(sending.len() / 2);
    let mut sockets = (socket(stack, received_now, sending_now), socket(stack, received_next, sending_next));
    let (mut now, mut next) = (&mut sockets.0, &mut sockets.1);
    let_in(now, port).await;
    loop {
        join(serve(target, seat, now, protocol, buffers.reborrow()), let_in(next, port)).await;
        core::mem::swap(&mut now, &mut next);
    }
}

fn socket<'a>(stack: Stack<'a>, received: &'a mut [u8], sending: &'a mut [u8]) -> TcpSocket<'a> {
    let mut socket = TcpSocket::new(stack, received, sending);
    socket.set_timeout(Some(SILENCE));
    socket.set_keep_alive(Some(KEEP_ALIVE));
    socket.set_nagle_enabled(false);
    socket
}

/// Waits until somebody has connected.
async fn let_in(socket: &mut TcpSocket<'_>, port: u16) {
    while socket.accept(port).await.is_err() {
        // The socket was not closed yet.
        socket.abort();
        Timer::after_millis(100).await;
    }
}

/// Serves a connection to its end, and closes it.
async fn serve<B: Board, const CONNECTIONS: usize, const TASKS: usize, const TEXT: usize>(
    target: &Target<'_, B, CONNECTIONS>,
    seat: usize,
    socket: &mut TcpSocket<'_>,
    protocol: &mut Protocol<TASKS, TEXT>,
    buffers: Buffers<'_>,
) {
    let local = socket.local_endpoint().map_or(SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), PORT), |end| {
        SocketAddr::new(address(end.addr), end.port)
    });
    let peer = socket.remote_endpoint();
    if let Some(peer) = peer {
        target.with_panel(|panel| panel.line(format_args!("connection {seat}: from {peer}")));
    }
    let end = target.serve(seat, local, socket, protocol, buffers).await;
    target.with_panel(|panel| panel.line(format_args!("connection {seat}: {end}")));
    socket.close();
    let _ = select(socket.flush(), Timer::after(GOODBYE)).await;
    socket.abort();
    let _ = select(socket.flush(), Timer::after(GOODBYE)).await;
}

/// As the protocol knows it.
fn address(address: IpAddress) -> IpAddr {
    match address {
        IpAddress::Ipv4(address) => IpAddr::V4(address),
    }
}
