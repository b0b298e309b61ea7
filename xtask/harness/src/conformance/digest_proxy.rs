//! Stands between the test-tool and the target, and sees to the digests.
//!
//! libiscsi 1.19 knows no data digests. So, towards the target, this asks for `HeaderDigest=CRC32C` and
//! `DataDigest=CRC32C`, adds the digests to what the tool sends and checks and removes those that the target sends. Or it
//! only watches an initiator that asks by itself. A wrong digest is the target's fault, and so is one that was refused.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use iesp_initiator::proxy::{Proxy, Tamper};
use iesp_initiator::{Digests, Pdu};
use iesp_iscsi::pdu::Opcode;

const NONE: Digests = Digests { header: false, data: false };

/// What a proxy does about digests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// It adds them to headers and data, for an initiator that has none.
    Add,
    /// It passes everything on and sees whether the initiator's wish for header digests is granted.
    Watch,
}

/// A listening proxy; it ends with this value.
#[derive(Debug)]
pub struct DigestProxy {
    _proxy: Proxy,
    portal: String,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    /// How many PDUs with digests came from the target.
    checked: AtomicUsize,
    faults: Mutex<Vec<String>>,
}

impl Shared {
    fn fault(&self, what: String) {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner).push(what);
    }
}

impl DigestProxy {
    /// Starts to listen on a free port of the loopback address, in front of the target at `portal` (`ADDRESS:PORT`).
    ///
    /// # Errors
    /// When no port is free or no thread can be started.
    pub fn start(portal: &str, mode: Mode) -> Result<Self> {
        let target = portal.parse().with_context(|| format!("{portal} is no address with a port"))?;
        let shared = Arc::<Shared>::default();
        let of_connections = shared.clone();
        let agreed = move || Agreed::new(mode, of_connections.clone());
        let proxy = Proxy::start(target, agreed).context("no proxy for digests")?;
        Ok(DigestProxy { portal: proxy.address().to_string(), _proxy: proxy, shared })
    }

    /// `ADDRESS:PORT` for the initiator.
    pub fn portal(&self) -> &str {
        &self.portal
    }

    /// What was wrong with the digests up to now; with nothing wrong, that there were any.
    pub fn verdict(&self) -> Option<String> {
        let faults = self.shared.faults.lock().unwrap_or_else(PoisonError::into_inner);
        match faults.first() {
            Some(first) => Some(format!("digests: {first}")),
            None if self.shared.checked.load(Ordering::SeqCst) == 0 => Some("digests: there were none".into()),
            None => None,
        }
    }
}

/// What the target has agreed to, for one connection. It is known before the last login response is passed on, so the
/// initiator's first PDU of the full feature phase sees it.
#[derive(Debug)]
struct Agreed {
    mode: Mode,
    shared: Arc<Shared>,
    asked: bool,
    digests: Digests,
    full_feature: bool,
}

impl Agreed {
    fn new(mode: Mode, shared: Arc<Shared>) -> Self {
        Agreed { mode, shared, asked: false, digests: NONE, full_feature: false }
    }

    /// The digests that have to be agreed to.
    fn wanted(&self) -> Digests {
        Digests { header: true, data: self.mode == Mode::Add }
    }
}

/// Gives both digest keys this value, where they stand; answers whether one does.
fn replace_keys(pdu: &mut Pdu, value: &str) -> bool {
    let header = pdu.set_key("HeaderDigest", value);
    pdu.set_key("DataDigest", value) || header
}

impl Tamper for Agreed {
    /// Digests are asked for.
    fn request(&mut self, pdu: &mut Pdu) -> bool {
        if pdu.is(Opcode::LoginRequest) {
            self.asked |= match self.mode {
                Mode::Add => replace_keys(pdu, "CRC32C"),
                Mode::Watch => pdu.key("HeaderDigest").is_some_and(|value| value == "CRC32C"),
            };
        }
        true
    }

    /// Digests were checked, and are removed where the initiator has none.
    fn response(&mut self, pdu: &mut Pdu) -> bool {
        if self.at_target() != NONE {
            self.shared.checked.fetch_add(1, Ordering::SeqCst);
        }
        if pdu.is(Opcode::LoginResponse) {
            let agreed = |key| pdu.key(key).is_some_and(|value| value == "CRC32C");
            self.digests.header |= agreed("HeaderDigest");
            self.digests.data |= agreed("DataDigest");
            if self.mode == Mode::Add {
                replace_keys(pdu, "None");
            }
            if pdu.starts_full_feature_phase() {
                self.full_feature = true;
                if self.asked && self.digests != self.wanted() {
                    self.shared.fault(format!("the target agreed to {:?} only", self.digests));
                }
            }
        }
        true
    }

    fn at_initiator(&self) -> Digests {
        match self.mode {
            Mode::Add => NONE,
            Mode::Watch => self.at_target(),
        }
    }

    fn at_target(&self) -> Digests {
        if self.full_feature { self.digests } else { NONE }
    }

    fn target_ended(&mut self, error: Option<io::Error>) {
        match error {
            Some(error) if error.kind() == io::ErrorKind::InvalidData => self.shared.fault(error.to_string()),
            Some(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                self.shared.fault(format!("the digest proxy cannot reach the target: {error}"));
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::{Shutdown, TcpListener, TcpStream};

    use iesp_initiator::field;

    use super::*;

    const BOTH: Digests = Digests { header: true, data: true };

    /// A PDU as it comes from the wire, with its length.
    fn pdu(opcode: Opcode, data: &[u8]) -> Pdu {
        Pdu::new(opcode).with_data(data).with(field::DATA_LENGTH, data.len() as u64)
    }

    fn last_response(answer: &[u8]) -> Pdu {
        pdu(Opcode::LoginResponse, answer).with(field::NEXT_STAGE, 3).with(field::CURRENT_STAGE, 1)
    }

    #[test]
    fn digest_keys_are_replaced_and_others_stay() {
        let text = b"InitiatorName=iqn.a\0HeaderDigest=None,CRC32C\0DataDigest=None\0X=1\0";
        let mut login = pdu(Opcode::LoginRequest, text);
        assert!(replace_keys(&mut login, "CRC32C"));
        assert_eq!(login.data, b"InitiatorName=iqn.a\0HeaderDigest=CRC32C\0DataDigest=CRC32C\0X=1\0");
        assert!(!replace_keys(&mut pdu(Opcode::LoginRequest, b"X=1\0"), "CRC32C"));
    }

    /// A target that answers a login as told, then sends one NOP-In with these bytes.
    fn session(answer: &'static [u8], nop: Vec<u8>) -> (DigestProxy, Option<Pdu>) {
        let target = TcpListener::bind("127.0.0.1:0").unwrap();
        let proxy = DigestProxy::start(&target.local_addr().unwrap().to_string(), Mode::Add).unwrap();
        let mut initiator = TcpStream::connect(proxy.portal()).unwrap();
        let request = pdu(Opcode::LoginRequest, b"HeaderDigest=None\0DataDigest=None\0");
        initiator.write_all(&request.to_bytes(Digests::default())).unwrap();

        let (mut at_target, _) = target.accept().unwrap();
        let login = Pdu::read(&mut at_target, Digests::default).unwrap().unwrap();
        assert_eq!(login.data, b"HeaderDigest=CRC32C\0DataDigest=CRC32C\0");
        let response = last_response(answer);
        at_target.write_all(&response.to_bytes(Digests::default())).unwrap();
        at_target.write_all(&nop).unwrap();
        at_target.shutdown(Shutdown::Write).unwrap();

        let login = Pdu::read(&mut initiator, Digests::default).unwrap().unwrap();
        assert_eq!(login.data, b"HeaderDigest=None\0DataDigest=None\0");
        let nop = Pdu::read(&mut initiator, Digests::default).unwrap();
        // The connection's end is seen after all faults were noted.
        assert_eq!(Pdu::read(&mut initiator, Digests::default).unwrap(), None);
        (proxy, nop)
    }

    const AGREED: &[u8] = b"HeaderDigest=CRC32C\0DataDigest=CRC32C\0";

    #[test]
    fn a_good_target_is_passed_on_without_digests() {
        let nop = pdu(Opcode::NopIn, b"hello");
        let (proxy, seen) = session(AGREED, nop.to_bytes(BOTH));
        assert_eq!(seen, Some(nop));
        assert_eq!(proxy.verdict(), None);
    }

    #[test]
    fn a_wrong_digest_is_the_targets_fault() {
        let mut bytes = pdu(Opcode::NopIn, b"hello").to_bytes(BOTH);
        *bytes.last_mut().unwrap() ^= 1;
        let (proxy, seen) = session(AGREED, bytes);
        assert_eq!(seen, None);
        assert!(proxy.verdict().unwrap().contains("wrong data digest"));
    }

    #[test]
    fn a_refusal_is_the_targets_fault() {
        let (proxy, _) = session(b"HeaderDigest=None\0DataDigest=None\0", Vec::new());
        assert!(proxy.verdict().unwrap().contains("agreed to"));
    }

    #[test]
    fn an_initiator_that_asks_by_itself_is_watched() {
        for (answer, good) in [(&b"HeaderDigest=CRC32C\0"[..], true), (b"HeaderDigest=None\0", false)] {
            let target = TcpListener::bind("127.0.0.1:0").unwrap();
            let proxy = DigestProxy::start(&target.local_addr().unwrap().to_string(), Mode::Watch).unwrap();
            let mut initiator = TcpStream::connect(proxy.portal()).unwrap();
            let request = pdu(Opcode::LoginRequest, b"HeaderDigest=CRC32C\0");
            initiator.write_all(&request.to_bytes(Digests::default())).unwrap();
            let (mut at_target, _) = target.accept().unwrap();
            assert_eq!(Pdu::read(&mut at_target, Digests::default).unwrap(), Some(request));

            let digests = Digests { header: good, data: false };
            let response = last_response(answer);
            at_target.write_all(&response.to_bytes(Digests::default())).unwrap();
            at_target.write_all(&pdu(Opcode::NopIn, b"hello").to_bytes(digests)).unwrap();
            assert_eq!(Pdu::read(&mut initiator, Digests::default).unwrap(), Some(response));
            assert_eq!(Pdu::read(&mut initiator, || digests).unwrap(), Some(pdu(Opcode::NopIn, b"hello")));
            initiator.write_all(&pdu(Opcode::NopOut, b"back").to_bytes(digests)).unwrap();
            assert_eq!(Pdu::read(&mut at_target, || digests).unwrap(), Some(pdu(Opcode::NopOut, b"back")));
            assert_eq!(proxy.verdict().is_none(), good);
        }
    }

    #[test]
    fn no_session_proves_nothing() {
        let target = TcpListener::bind("127.0.0.1:0").unwrap();
        let proxy = DigestProxy::start(&target.local_addr().unwrap().to_string(), Mode::Add).unwrap();
        assert_eq!(proxy.verdict(), Some("digests: there were none".into()));
    }
}
