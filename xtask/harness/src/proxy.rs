//! A path that can be spoilt: a TCP proxy between the guest and one portal of the target.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result};

/// What is forwarded in one go.
const CHUNK: usize = 64 * 1024;

/// A proxy on a free port of the loopback address. Dropping it closes it, with all of its connections.
#[derive(Debug)]
pub struct Proxy {
    shared: Arc<Shared>,
    address: SocketAddr,
    /// The thread that accepts, while there is one: it holds the listening socket.
    accepting: Option<JoinHandle<()>>,
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
    /// No connection is taken any more.
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
        let accepting = Some(accept(listener, Arc::clone(&shared))?);
        Ok(Proxy { shared, address, accepting })
    }

    /// The port that it listens on.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Cuts all connections in the middle of what they carry.
    pub fn reset(&self) {
        for (client, target) in self.shared.state().connections.drain(..) {
            for socket in [client, target] {
                let _ = socket.shutdown(Shutdown::Both);
            }
        }
    }

    /// Refuses connections as a port does that nobody listens on: one that were taken and closed at once would be something
    /// else for an initiator. Those that there are stay.
    pub fn refuse(&mut self) {
        let Some(accepting) = self.accepting.take() else { return };
        self.shared.state().closed = true;
        // This connection wakes the thread; the listening socket is gone when it has ended.
        let _ = TcpStream::connect(self.address);
        let _ = accepting.join();
    }

    /// Cuts all connections, and refuses new ones until it is opened.
    pub fn close(&mut self) {
        self.refuse();
        self.reset();
    }

    /// Takes connections again, on the same port.
    ///
    /// # Errors
    /// When another has taken the port meanwhile.
    pub fn open(&mut self) -> Result<()> {
        if self.accepting.is_none() {
            let listener =
                TcpListener::bind(self.address).with_context(|| format!("cannot listen on {} again", self.address))?;
            self.shared.state().closed = false;
            self.accepting = Some(accept(listener, Arc::clone(&self.shared))?);
        }
        Ok(())
    }

    /// Makes each chunk of up to 64 KiB wait, in both directions.
    pub fn slow_down(&self, delay: Duration) {
        self.shared.delay.store(u64::try_from(delay.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.close();
    }
}

/// Takes connections in a thread of its own until the proxy refuses them.
fn accept(listener: TcpListener, shared: Arc<Shared>) -> Result<JoinHandle<()>> {
    let thread = std::thread::Builder::new().name("proxy".into()).spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            if shared.state().closed {
                break;
            }
            // A client that cannot be carried on is closed at once.
            let _ = take(&shared, client);
        }
    })?;
    Ok(thread)
}

fn take(shared: &Arc<Shared>, client: TcpStream) -> Result<()> {
    let target = TcpStream::connect_timeout(&shared.target, Duration::from_secs(2))?;
    client.set_nodelay(true)?;
    target.set_nodelay(true)?;
    shared.state().connections.push((client.try_clone()?, target.try_clone()?));
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
        let mut proxy = Proxy::start(echo()).unwrap();
        let mut first = connect(&proxy);
        assert!(answers(&mut first));
        proxy.reset();
        assert!(!answers(&mut first));
        let mut second = connect(&proxy);
        assert!(answers(&mut second));
        proxy.refuse();
        let refused = TcpStream::connect(proxy.address).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
        assert!(answers(&mut second));
        proxy.close();
        assert!(!answers(&mut second));
        proxy.open().unwrap();
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
        assert_eq!(TcpStream::connect(address).unwrap_err().kind(), ErrorKind::ConnectionRefused);
    }
}
