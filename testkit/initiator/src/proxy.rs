//! A proxy that passes PDUs on, one at a time, through what looks at them or changes them.
//!
//! It works with threads and blocking sockets, so that programs without a runtime can have one.

use std::io;
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use iesp_iscsi::outbox::Digests;

use crate::pdu::Pdu;

/// How long the target may take to accept a connection, and a peer to take a PDU.
const PATIENCE: Duration = Duration::from_secs(20);

/// What is done to the PDUs of one connection.
pub trait Tamper: Send {
    /// A PDU of the initiator's; `false` keeps it from the target.
    fn request(&mut self, pdu: &mut Pdu) -> bool;

    /// A PDU of the target's; `false` keeps it from the initiator.
    fn response(&mut self, pdu: &mut Pdu) -> bool;

    /// The digests that PDUs have between initiator and proxy, from now on.
    fn at_initiator(&self) -> Digests {
        Digests::default()
    }

    /// The digests that PDUs have between proxy and target, from now on.
    fn at_target(&self) -> Digests {
        Digests::default()
    }

    /// The target's side has come to its end, by an error if it is one.
    fn target_ended(&mut self, error: Option<io::Error>) {
        let _ = error;
    }

    /// The initiator's side has come to its end.
    fn initiator_ended(&mut self) {}
}

/// Several, one behind the other; digests are those of the first.
impl Tamper for Vec<Box<dyn Tamper>> {
    fn request(&mut self, pdu: &mut Pdu) -> bool {
        self.iter_mut().all(|tamper| tamper.request(pdu))
    }

    fn response(&mut self, pdu: &mut Pdu) -> bool {
        self.iter_mut().rev().all(|tamper| tamper.response(pdu))
    }

    fn at_initiator(&self) -> Digests {
        self.first().map_or_else(Digests::default, |tamper| tamper.at_initiator())
    }

    fn at_target(&self) -> Digests {
        self.first().map_or_else(Digests::default, |tamper| tamper.at_target())
    }

    fn target_ended(&mut self, error: Option<io::Error>) {
        if let Some(first) = self.first_mut() {
            first.target_ended(error);
        }
    }

    fn initiator_ended(&mut self) {
        self.iter_mut().for_each(|tamper| tamper.initiator_ended());
    }
}

/// A listening proxy; it takes no connection any more once it is dropped.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    stopped: Arc<AtomicBool>,
}

impl Proxy {
    /// Listens on a free port of 127.0.0.1, before `target`; each connection gets what `tamper` makes.
    ///
    /// # Errors
    /// No port is free, or there is no thread for it.
    pub fn start<T: Tamper + 'static>(
        target: SocketAddr,
        tamper: impl FnMut() -> T + Send + 'static,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let proxy = Self { address: listener.local_addr()?, stopped: Arc::default() };
        serve_until(listener, target, tamper, Arc::clone(&proxy.stopped))?;
        Ok(proxy)
    }

    /// Where initiators connect.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::SeqCst);
        // Wakes the thread that waits for connections.
        let _ = TcpStream::connect_timeout(&self.address, PATIENCE);
    }
}

/// Serves `listener` for as long as the process lives; each connection to `target` gets what `tamper` makes.
///
/// # Errors
/// There is no thread for it.
pub fn serve<T: Tamper + 'static>(
    listener: TcpListener,
    target: SocketAddr,
    tamper: impl FnMut() -> T + Send + 'static,
) -> io::Result<()> {
    serve_until(listener, target, tamper, Arc::default())
}

fn serve_until<T: Tamper + 'static>(
    listener: TcpListener,
    target: SocketAddr,
    mut tamper: impl FnMut() -> T + Send + 'static,
    stopped: Arc<AtomicBool>,
) -> io::Result<()> {
    thread::Builder::new().name("proxy".to_owned()).spawn(move || {
        for initiator in listener.incoming().flatten() {
            if stopped.load(Ordering::SeqCst) {
                break;
            }
            let mut tamper = tamper();
            match TcpStream::connect_timeout(&target, PATIENCE) {
                Err(error) => tamper.target_ended(Some(error)),
                Ok(target) => {
                    // A connection without its threads is closed at once.
                    let _ = connect(&initiator, &target, tamper);
                }
            }
        }
    })?;
    Ok(())
}

fn connect<T: Tamper + 'static>(initiator: &TcpStream, target: &TcpStream, tamper: T) -> io::Result<()> {
    for stream in [initiator, target] {
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(PATIENCE))?;
    }
    let tamper = Arc::new(Mutex::new(tamper));
    let (from, to, shared) = (initiator.try_clone()?, target.try_clone()?, Arc::clone(&tamper));
    thread::Builder::new().name("requests".to_owned()).spawn(move || {
        // What the initiator does wrong is the target's to answer.
        let _ = requests(&from, &to, &shared);
        lock(&shared).initiator_ended();
        let _ = to.shutdown(Shutdown::Write);
    })?;
    let (from, to) = (target.try_clone()?, initiator.try_clone()?);
    thread::Builder::new().name("responses".to_owned()).spawn(move || {
        let ended = responses(&from, &to, &tamper);
        lock(&tamper).target_ended(ended.err());
        // The peers may be gone already.
        let _ = to.shutdown(Shutdown::Both);
        let _ = from.shutdown(Shutdown::Both);
    })?;
    Ok(())
}

fn lock<T>(tamper: &Mutex<T>) -> MutexGuard<'_, T> {
    tamper.lock().unwrap_or_else(PoisonError::into_inner)
}

fn requests<T: Tamper>(mut from: &TcpStream, mut to: &TcpStream, tamper: &Mutex<T>) -> io::Result<()> {
    while let Some(mut pdu) = Pdu::read(&mut from, || lock(tamper).at_initiator())? {
        let (passes, digests) = {
            let mut tamper = lock(tamper);
            (tamper.request(&mut pdu), tamper.at_target())
        };
        if passes {
            pdu.write(&mut to, digests)?;
        }
    }
    Ok(())
}

fn responses<T: Tamper>(mut from: &TcpStream, mut to: &TcpStream, tamper: &Mutex<T>) -> io::Result<()> {
    while let Some(mut pdu) = Pdu::read(&mut from, || lock(tamper).at_target())? {
        let (passes, digests) = {
            let mut tamper = lock(tamper);
            // The last login response itself has no digests yet.
            let digests = tamper.at_initiator();
            (tamper.response(&mut pdu), digests)
        };
        if passes && pdu.write(&mut to, digests).is_err() {
            // The initiator is gone: the target has done nothing wrong.
            break;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use iesp_iscsi::pdu::Opcode;

    use super::*;
    use crate::field;

    const NONE: Digests = Digests { header: false, data: false };

    /// Gives requests another tag, keeps one with the tag 9 back, and adds digests towards the target.
    struct Change;

    impl Tamper for Change {
        fn request(&mut self, pdu: &mut Pdu) -> bool {
            pdu.set(field::CMD_SN, 7);
            pdu.itt() != 9
        }

        fn response(&mut self, pdu: &mut Pdu) -> bool {
            pdu.data.push(0x33);
            true
        }

        fn at_target(&self) -> Digests {
            Digests { header: true, data: true }
        }
    }

    #[test]
    fn pdus_go_both_ways_changed_and_with_the_digests_of_each_side() {
        let target = TcpListener::bind("127.0.0.1:0").unwrap();
        let proxy = Proxy::start(target.local_addr().unwrap(), || Change).unwrap();
        let mut initiator = TcpStream::connect(proxy.address()).unwrap();
        let (mut at_target, _) = target.accept().unwrap();
        for stream in [&initiator, &at_target] {
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
        }
        for tag in [9, 5] {
            let pdu = Pdu::new(Opcode::NopOut).with(field::INITIATOR_TASK_TAG, tag).with_data(b"ping");
            pdu.write(&mut initiator, NONE).unwrap();
        }
        let both = Digests { header: true, data: true };
        let came = Pdu::read(&mut at_target, || both).unwrap().unwrap();
        assert_eq!((came.itt(), came.get(field::CMD_SN), &came.data[..]), (5, 7, &b"ping"[..]));
        Pdu::new(Opcode::NopIn).with_data(b"pong").write(&mut at_target, both).unwrap();
        assert_eq!(Pdu::read(&mut initiator, || NONE).unwrap().unwrap().data, b"pong\x33");
        drop(at_target);
        assert_eq!(initiator.read(&mut [0; 1]).unwrap(), 0);
    }
}
