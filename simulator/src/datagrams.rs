//! The way from a UDP port of the PC's to one of the board's: whoever asks there gets the board's answer.

use std::io;
use std::net::{SocketAddr, UdpSocket as Socket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use embassy_net::Stack;
use embassy_net::udp::{PacketMetadata, UdpSocket};
use embassy_time::with_timeout;

use crate::arrivals::Arrivals;
use crate::host::BOARD;

/// How long the board may take for an answer.
const PATIENCE: embassy_time::Duration = embassy_time::Duration::from_secs(2);
/// How often the listening thread looks whether it is still wanted.
const LOOK: Duration = Duration::from_millis(200);
/// Largest datagram.
const LARGEST: usize = 2048;
/// Requests that may wait.
const WAITING: usize = 64;

/// A UDP port that is listened on.
pub struct Datagrams {
    socket: Socket,
    requests: Arc<Arrivals<(SocketAddr, Vec<u8>)>>,
    open: Arc<AtomicBool>,
    port: u16,
}

impl Datagrams {
    /// Listens for what is meant for this port of the board's.
    ///
    /// # Errors
    /// When the address cannot be listened on.
    pub fn listen(address: SocketAddr, port: u16) -> io::Result<Self> {
        let socket = Socket::bind(address)?;
        let reader = socket.try_clone()?;
        reader.set_read_timeout(Some(LOOK))?;
        let (requests, open) = (Arc::new(Arrivals::new()), Arc::new(AtomicBool::new(true)));
        let (there, still) = (Arc::clone(&requests), Arc::clone(&open));
        thread::Builder::new().name("datagrams".into()).spawn(move || {
            let mut bytes = [0; LARGEST];
            while still.load(Ordering::Acquire) {
                let Ok((len, from)) = reader.recv_from(&mut bytes) else { continue };
                there.push((from, bytes[..len].to_vec()), WAITING);
            }
        })?;
        Ok(Self { socket, requests, open, port })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// When the system does not tell.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Carries requests to the board and answers back, one after the other, for ever.
    pub async fn run(&self, stack: Stack<'_>) {
        let (mut received, mut sending) = ([0; 2 * LARGEST], [0; 2 * LARGEST]);
        let mut places = [[PacketMetadata::EMPTY; 4]; 2];
        let [received_places, sending_places] = &mut places;
        let mut socket = UdpSocket::new(stack, received_places, &mut received, sending_places, &mut sending);
        // 0: any port.
        if socket.bind(0).is_err() {
            return;
        }
        let mut answer = [0; LARGEST];
        loop {
            let (from, request) = self.requests.next().await;
            // What was too late for the request before this one is nobody's any more.
            while socket.may_recv() {
                let _ = socket.recv_from(&mut answer).await;
            }
            if socket.send_to(&request, (BOARD, self.port)).await.is_err() {
                continue;
            }
            if let Ok(Ok((len, _))) = with_timeout(PATIENCE, socket.recv_from(&mut answer)).await {
                let _ = self.socket.send_to(&answer[..len], from);
            }
        }
    }
}

impl Drop for Datagrams {
    fn drop(&mut self) {
        self.open.store(false, Ordering::Release);
    }
}
