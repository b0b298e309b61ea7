//! The way from a TCP port of the PC's into the simulated network: initiators on the PC reach the board.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};
use std::thread;

use embassy_futures::join::join_array;
use embassy_futures::select::{Either, select};
use embassy_net::Stack;
use embassy_net::tcp::TcpSocket;
use embassy_time::{Duration, Timer};

use crate::arrivals::{Arrivals, lock};
use crate::host::BOARD;

/// Connections at once.
const CONNECTIONS: usize = 6;
/// Bytes that wait for the board, of one connection.
const WAITING: usize = 256 << 10;

/// How long a program may leave unread what the board sends: the whole simulation waits for it meanwhile.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(10);

/// What a thread read from a socket and nobody took yet.
#[derive(Default)]
struct Inbox {
    bytes: VecDeque<u8>,
    ended: bool,
    waker: Option<Waker>,
}

/// A connection from outside.
struct Outside {
    inbox: Arc<Mutex<Inbox>>,
    /// There is room again.
    room: SyncSender<()>,
    writer: TcpStream,
}

/// A port that is listened on.
pub struct Gateway {
    connections: Arc<Arrivals<TcpStream>>,
    address: SocketAddr,
    open: Arc<AtomicBool>,
}

impl Gateway {
    /// Listens.
    ///
    /// # Errors
    /// When the address cannot be listened on.
    pub fn listen(address: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(address)?;
        let address = listener.local_addr()?;
        let connections = Arc::new(Arrivals::new());
        let open = Arc::new(AtomicBool::new(true));
        let (there, still) = (Arc::clone(&connections), Arc::clone(&open));
        thread::Builder::new().name("gateway".into()).spawn(move || {
            for stream in listener.incoming() {
                if !still.load(Ordering::Acquire) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                there.push(stream, usize::MAX);
            }
        })?;
        Ok(Self { connections, address, open })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Carries connections to the board, for ever.
    pub async fn run(&self, stack: Stack<'_>) {
        let lanes: [_; CONNECTIONS] = std::array::from_fn(|_| self.lane(stack));
        join_array(lanes).await;
    }

    async fn lane(&self, stack: Stack<'_>) {
        let (mut received, mut sending) = (vec![0; 64 << 10], vec![0; 64 << 10]);
        loop {
            let stream = self.connections.next().await;
            let Ok(mut outside) = Outside::new(stream) else { continue };
            let mut socket = TcpSocket::new(stack, &mut received, &mut sending);
            socket.set_nagle_enabled(false);
            // A board that is not there yet, or whose connections are all in use: for a while.
            let mut tries = 0;
            while socket.connect((BOARD, iesp_firmware::PORT)).await.is_err() && tries < 50 {
                socket.abort();
                tries += 1;
                Timer::after(Duration::from_millis(100)).await;
            }
            outside.carry(&mut socket).await;
            socket.close();
            let _ = select(socket.flush(), Timer::after(Duration::from_secs(2))).await;
            socket.abort();
            let _ = select(socket.flush(), Timer::after(Duration::from_secs(2))).await;
        }
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.open.store(false, Ordering::Release);
        // The listening thread looks at that when somebody comes.
        let _ = TcpStream::connect(self.address);
    }
}

impl Outside {
    fn new(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let inbox = Arc::new(Mutex::new(Inbox::default()));
        let (room, has_room) = sync_channel(1);
        let (there, reader) = (Arc::clone(&inbox), stream.try_clone()?);
        thread::Builder::new().name("outside".into()).spawn(move || read_all(reader, &there, &has_room))?;
        Ok(Self { inbox, room, writer: stream })
    }

    /// Carries bytes both ways until either end closes.
    async fn carry(&mut self, socket: &mut TcpSocket<'_>) {
        let (mut from_board, mut to_board) = socket.split();
        let writer = &mut self.writer;
        let outwards = async {
            let mut bytes = vec![0; 64 << 10];
            loop {
                match from_board.read(&mut bytes).await {
                    Ok(0) | Err(_) => return,
                    Ok(count) => match writer.write_all(&bytes[..count]) {
                        Ok(()) => {}
                        Err(_) => return,
                    },
                }
            }
        };
        let (inbox, room) = (&self.inbox, &self.room);
        let inwards = async {
            loop {
                let bytes = std::future::poll_fn(|cx| {
                    let mut inbox = lock(inbox);
                    if !inbox.bytes.is_empty() {
                        let count = inbox.bytes.len().min(32 << 10);
                        return Poll::Ready(Some(inbox.bytes.drain(..count).collect::<Vec<u8>>()));
                    }
                    if inbox.ended {
                        return Poll::Ready(None);
                    }
                    inbox.waker = Some(cx.waker().clone());
                    Poll::Pending
                })
                .await;
                let Some(bytes) = bytes else { return };
                // The reader may be gone, or need no word.
                let _ = room.try_send(());
                let mut left = &bytes[..];
                while !left.is_empty() {
                    match to_board.write(left).await {
                        Ok(0) | Err(_) => return,
                        Ok(count) => left = &left[count..],
                    }
                }
            }
        };
        match select(outwards, inwards).await {
            Either::First(()) | Either::Second(()) => {}
        }
    }
}

impl Drop for Outside {
    fn drop(&mut self) {
        // The reading thread ends by this.
        let _ = self.writer.shutdown(Shutdown::Both);
    }
}

fn read_all(mut stream: TcpStream, inbox: &Mutex<Inbox>, has_room: &Receiver<()>) {
    let mut bytes = vec![0; 64 << 10];
    loop {
        let count = stream.read(&mut bytes).unwrap_or(0);
        let full = {
            let mut inbox = lock(inbox);
            inbox.ended = count == 0;
            inbox.bytes.extend(&bytes[..count]);
            if let Some(waker) = inbox.waker.take() {
                waker.wake();
            }
            inbox.bytes.len() > WAITING
        };
        if count == 0 {
            return;
        }
        // Nobody to wait for: the connection is gone.
        if full && has_room.recv().is_err() {
            return;
        }
    }
}
