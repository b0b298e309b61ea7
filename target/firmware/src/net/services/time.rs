//! The time of day, by SNTP (RFC 4330).

use core::net::{IpAddr, SocketAddr};

use embassy_net::udp::UdpSocket;
use embassy_net::{IpAddress, IpEndpoint, Stack};
use embassy_time::{Duration, Instant, Timer, with_timeout};
use sntpc::{NtpContext, NtpTimestampGenerator, NtpUdpSocket};

use super::datagrams::Datagrams;
use super::server::Server;
use super::wall_clock::WallClock;
use crate::board::{Board, Panel};
use crate::log::Level;
use crate::target::Target;

pub(super) const PORT: u16 = 123;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// How long until the server is asked again: after an answer, and (RFC 4330 10: no sooner than 15 s) without one, each time
/// longer.
const AGAIN: Duration = Duration::from_secs(3600);
const AGAIN_WITHOUT: Duration = Duration::from_secs(15);

/// Where the board's clock stands until it knows better, 1 January 2026: of the times that a timestamp can mean, which
/// repeat all 136 years, the next one to it is meant.
const ASSUMED_S: u64 = 1_767_225_600;

pub(super) const MESSAGE_MAX: usize = 64;

/// Asks a server for the time, for ever.
pub(super) async fn run<B: Board, const CONNECTIONS: usize>(
    target: &Target<'_, B, CONNECTIONS>,
    stack: Stack<'_>,
    memory: &mut Datagrams<MESSAGE_MAX>,
    server: Server<'_>,
    clock: &WallClock,
) {
    let Some((socket, _)) = memory.open(stack, 0) else { return };
    let socket = Socket(socket);
    let mut wait = AGAIN_WITHOUT;
    loop {
        stack.wait_config_up().await;
        // A name may mean another server each time, as those of pools do.
        let (address, port) = server.find(target, stack).await;
        let address = SocketAddr::new(IpAddr::V4(address), port);
        let asked = with_timeout(PATIENCE, sntpc::get_time(address, &socket, NtpContext::new(Assumed(0)))).await;
        match asked {
            Ok(Ok(time)) => {
                let now_us = ASSUMED_S * 1_000_000 + Instant::now().as_micros();
                let now_us = now_us.saturating_add_signed(time.offset());
                let first = !clock.is_known();
                clock.set(now_us);
                if first && let Some(now) = clock.at(Instant::now().as_millis()) {
                    target.with_panel(|log| log.line(format_args!("time: {now}, of {server}")));
                }
                wait = AGAIN_WITHOUT;
                Timer::after(AGAIN).await;
            }
            failed => {
                // Once is enough.
                if wait == AGAIN_WITHOUT {
                    target.with_panel(|log| match failed {
                        Ok(Err(error)) => log.tell(Level::Warning, format_args!("time: {server}: {error:?}")),
                        _ => log.tell(Level::Warning, format_args!("time: {server} does not answer")),
                    });
                }
                Timer::after(wait).await;
                wait = (wait * 2).min(AGAIN);
            }
        }
    }
}

/// The board's clock, from [`ASSUMED_S`] on.
#[derive(Clone, Copy)]
struct Assumed(u64);

impl NtpTimestampGenerator for Assumed {
    fn init(&mut self) {
        self.0 = Instant::now().as_micros();
    }

    fn timestamp_sec(&self) -> u64 {
        ASSUMED_S + self.0 / 1_000_000
    }

    fn timestamp_subsec_micros(&self) -> u32 {
        (self.0 % 1_000_000) as u32
    }
}

struct Socket<'a>(UdpSocket<'a>);

impl NtpUdpSocket for Socket<'_> {
    async fn send_to(&self, bytes: &[u8], to: SocketAddr) -> sntpc::Result<usize> {
        let SocketAddr::V4(to) = to else { return Err(sntpc::Error::Network) };
        self.0.send_to(bytes, to).await.map_err(|_| sntpc::Error::Network)?;
        Ok(bytes.len())
    }

    async fn recv_from(&self, bytes: &mut [u8]) -> sntpc::Result<(usize, SocketAddr)> {
        // Whatever is larger than an answer of a time server is none.
        let (len, from) = self.0.recv_from(bytes).await.map_err(|_| sntpc::Error::Network)?;
        let IpEndpoint { addr: IpAddress::Ipv4(address), port } = from.endpoint;
        Ok((len, SocketAddr::new(IpAddr::V4(address), port)))
    }
}
