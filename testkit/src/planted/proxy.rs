//! Stands before one portal of a target and passes PDUs on, each through what tampers with it.

use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use super::pdu::{LOGIN_REQUEST, Pdu};

/// What is done to the PDUs of one connection.
pub trait Tamper: Send {
    /// A PDU of the initiator's; `false` keeps it from the target.
    fn request(&mut self, pdu: &mut Pdu) -> bool;

    /// A PDU of the target's.
    fn response(&mut self, pdu: &mut Pdu);
}

/// Several, one behind the other.
impl Tamper for Vec<Box<dyn Tamper>> {
    fn request(&mut self, pdu: &mut Pdu) -> bool {
        self.iter_mut().all(|tamper| tamper.request(pdu))
    }

    fn response(&mut self, pdu: &mut Pdu) {
        self.iter_mut().rev().for_each(|tamper| tamper.response(pdu));
    }
}

/// Serves `listener` for as long as the process lives; each connection to `target` gets what `tamper` makes.
///
/// # Errors
/// When there is no thread for it.
pub fn serve(
    listener: TcpListener,
    target: SocketAddr,
    tamper: impl Fn() -> Vec<Box<dyn Tamper>> + Send + 'static,
) -> io::Result<()> {
    thread::Builder::new().name("proxy".to_owned()).spawn(move || {
        for initiator in listener.incoming().flatten() {
            if let Err(error) = connect(initiator, target, tamper()) {
                eprintln!("faulty-target: a connection to {target}: {error}");
            }
        }
    })?;
    Ok(())
}

fn connect(initiator: TcpStream, target: SocketAddr, tamper: Vec<Box<dyn Tamper>>) -> io::Result<()> {
    let target = TcpStream::connect(target)?;
    initiator.set_nodelay(true)?;
    target.set_nodelay(true)?;
    let tamper = Arc::new(Mutex::new(tamper));
    let requests = (initiator.try_clone()?, target.try_clone()?, Arc::clone(&tamper));
    thread::Builder::new().name("requests".to_owned()).spawn(move || {
        let (from, to, tamper) = requests;
        pass(&from, &to, |pdu| {
            if pdu.opcode() == LOGIN_REQUEST {
                // What is tampered with would have the wrong digest.
                pdu.set_key("HeaderDigest", "None");
                pdu.set_key("DataDigest", "None");
            }
            tamper.lock().unwrap_or_else(PoisonError::into_inner).request(pdu)
        });
    })?;
    thread::Builder::new().name("responses".to_owned()).spawn(move || {
        pass(&target, &initiator, |pdu| {
            tamper.lock().unwrap_or_else(PoisonError::into_inner).response(pdu);
            true
        });
    })?;
    Ok(())
}

/// Carries one direction until either end is closed; then both are.
fn pass(mut from: &TcpStream, mut to: &TcpStream, mut change: impl FnMut(&mut Pdu) -> bool) {
    while let Ok(Some(mut pdu)) = Pdu::read(&mut from) {
        if change(&mut pdu) && pdu.write(&mut to).is_err() {
            break;
        }
    }
    // The other side may be gone already.
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}
