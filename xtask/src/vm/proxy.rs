//! A path that can be spoilt: a TCP proxy between the guest and one portal of the target.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};

/// What is forwarded in one go.
const CHUNK: usize = 64 * 1024;

/// A proxy on a free port of the loopback address. Dropping it closes it, with all of its connections.
#[derive(Debug)]
pub struct Proxy {
    shared: Arc<Shared>,
    address: SocketAddr,
}

#[derive(Debug)]
struct Shared {
    target: SocketAddr,
    /// Milliseconds that each chunk waits.
    delay: AtomicU64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Connections are refused.
    closed: bool,
    /// Both ends of each connection, as they are held by the threads that forward.
    connections: Vec<(TcpStream, TcpStream)>,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Proxy {
    /// Forwards to `target`.
    ///
    /// # Errors
    /// When there is no free port.
    pub fn start(target: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").context("no free port")?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared { target, delay: AtomicU64::new(0), state: Mutex::default() });
        let accepting = Arc::downgrade(&shared);
        std::thread::Builder::new().name("proxy".into()).spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                // The proxy is gone: this was the connection that wakes the thread.
                let Some(shared) = accepting.upgrade() else { break };
                // A client that is not taken is refused by being closed at once.
                let _ = take(&shared, client);
            }
        })?;
        Ok(Proxy { shared, address })
    }

    /// The port that it listens on.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Cuts all connections in the middle of what they carry.
    pub fn reset(&self) {
        cut(&mut self.shared.state());
    }

    /// Cuts all connections, and takes no new ones until it is opened.
    pub fn close(&self) {
        let mut state = self.shared.state();
        state.closed = true;
        cut(&mut state);
    }

    /// Takes connections again.
    pub fn open(&self) {
        self.shared.state().closed = false;
    }

    /// Makes each chunk of up to 64 KiB wait, in both directions.
    pub fn slow_down(&self, delay: Duration) {
        self.shared.delay.store(u64::try_from(delay.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.close();
        // The thread that accepts holds no strong reference: it ends at the next connection, which is this one.
        let address = self.address;
        self.shared = Arc::new(Shared { target: address, delay: AtomicU64::new(0), state: Mutex::default() });
        let _ = TcpStream::connect(address);
    }
}

fn cut(state: &mut State) {
    for (client, target) in state.connections.drain(..) {
        for socket in [client, target] {
            let _ = socket.shutdown(Shutdown::Both);
        }
    }
}

fn take(shared: &Arc<Shared>, client: TcpStream) -> Result<()> {
    let mut state = shared.state();
    if state.closed {
        return Ok(());
    }
    let target = TcpStream::connect_timeout(&shared.target, Duration::from_secs(2))?;
    client.set_nodelay(true)?;
    target.set_nodelay(true)?;
    state.connections.push((client.try_clone()?, target.try_clone()?));
    drop(state);
    forward(shared, client.try_clone()?, target.try_clone()?)?;
    forward(shared, target, client)
}

/// Carries one direction, in a thread of its own, until either end is closed.
fn forward(shared: &Arc<Shared>, mut from: TcpStream, mut to: TcpStream) -> Result<()> {
    let shared = Arc::downgrade(shared);
    std::thread::Builder::new().name("proxy".into()).spawn(move || {
        let mut bytes = vec![0; CHUNK];
        loop {
            let count = match from.read(&mut bytes) {
                Ok(count) if count > 0 => count,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                _ => break,
            };
            let delay = shared.upgrade().map_or(0, |shared| shared.delay.load(Ordering::Relaxed));
            if delay > 0 {
                std::thread::sleep(Duration::from_millis(delay));
            }
            if to.write_all(bytes.get(..count).unwrap_or_default()).is_err() {
                break;
            }
        }
        let _ = from.shutdown(Shutdown::Both);
        let _ = to.shutdown(Shutdown::Both);
    })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    /// A server that gives back what it gets.
    fn echo() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            for mut socket in listener.incoming().map_while(Result::ok) {
                std::thread::spawn(move || std::io::copy(&mut socket.try_clone().unwrap(), &mut socket));
            }
        });
        address
    }

    fn connect(proxy: &Proxy) -> TcpStream {
        let socket = TcpStream::connect(("127.0.0.1", proxy.port())).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        socket
    }

    fn answers(socket: &mut TcpStream) -> bool {
        let mut came = [0; 5];
        socket.write_all(b"hello").is_ok() && socket.read_exact(&mut came).is_ok() && came == *b"hello"
    }

    #[test]
    fn connections_are_cut_refused_and_taken_again() {
        let proxy = Proxy::start(echo()).unwrap();
        let mut first = connect(&proxy);
        assert!(answers(&mut first));
        proxy.reset();
        assert!(!answers(&mut first));
        assert!(answers(&mut connect(&proxy)));
        proxy.close();
        assert!(!answers(&mut connect(&proxy)));
        proxy.open();
        assert!(answers(&mut connect(&proxy)));
    }

    #[test]
    fn a_slow_path_still_carries_everything() {
        let proxy = Proxy::start(echo()).unwrap();
        let mut socket = connect(&proxy);
        proxy.slow_down(Duration::from_millis(30));
        let start = Instant::now();
        assert!(answers(&mut socket));
        assert!(start.elapsed() >= Duration::from_millis(60));
        proxy.slow_down(Duration::ZERO);
        assert!(answers(&mut socket));
    }

    #[test]
    fn a_dropped_proxy_is_gone() {
        let proxy = Proxy::start(echo()).unwrap();
        let mut socket = connect(&proxy);
        assert!(answers(&mut socket));
        let address = proxy.address;
        drop(proxy);
        assert!(!answers(&mut socket));
        let limit = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect(address).is_ok() {
            assert!(Instant::now() < limit, "the port is still open");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}
