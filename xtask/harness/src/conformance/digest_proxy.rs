//! Stands between the test-tool and the target, and sees to the digests.
//!
//! libiscsi 1.19 knows no data digests. So, towards the target, this asks for `HeaderDigest=CRC32C` and
//! `DataDigest=CRC32C`, adds the digests to what the tool sends and checks and removes those that the target sends. Or it
//! only watches an initiator that asks by itself. A wrong digest is the target's fault, and so is one that was refused.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};

/// RFC 7143 11.2: the basic header segment.
const BHS: usize = 48;
const LOGIN_REQUEST: u8 = 0x03;
const LOGIN_RESPONSE: u8 = 0x23;

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
    portal: String,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    stopped: AtomicBool,
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
        let listener = TcpListener::bind("127.0.0.1:0").context("no free port")?;
        let proxy = DigestProxy { portal: listener.local_addr()?.to_string(), shared: Arc::default() };
        let (shared, target) = (proxy.shared.clone(), portal.to_owned());
        std::thread::Builder::new().name("digest-proxy".into()).spawn(move || {
            for initiator in listener.incoming() {
                if shared.stopped.load(Ordering::SeqCst) {
                    break;
                }
                let Ok(initiator) = initiator else { continue };
                if let Err(error) = connect(initiator, &target, mode, &shared) {
                    shared.fault(format!("the digest proxy cannot reach the target: {error}"));
                }
            }
        })?;
        Ok(proxy)
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

impl Drop for DigestProxy {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        // Wakes the thread that waits for connections.
        let _ = TcpStream::connect(&self.portal);
    }
}

/// What the target has agreed to, for one connection. The reader of the target's PDUs sets it before it passes the last
/// login response on, so the initiator's first PDU of the full feature phase sees it.
#[derive(Debug)]
struct Agreed {
    mode: Mode,
    asked: AtomicBool,
    header: AtomicBool,
    data: AtomicBool,
    full_feature: AtomicBool,
}

impl Agreed {
    fn new(mode: Mode) -> Self {
        let [asked, header, data, full_feature] = [false; 4].map(AtomicBool::new);
        Agreed { mode, asked, header, data, full_feature }
    }

    /// The digests between the proxy and the target.
    fn at_target(&self) -> Digests {
        let now = self.full_feature.load(Ordering::SeqCst);
        let (header, data) = (self.header.load(Ordering::SeqCst), self.data.load(Ordering::SeqCst));
        Digests { header: now && header, data: now && data }
    }

    /// The digests between the initiator and the proxy.
    fn at_initiator(&self) -> Digests {
        match self.mode {
            Mode::Add => Digests::default(),
            Mode::Watch => self.at_target(),
        }
    }

    /// The digests that have to be agreed to.
    fn wanted(&self) -> Digests {
        Digests { header: true, data: self.mode == Mode::Add }
    }
}

fn connect(initiator: TcpStream, portal: &str, mode: Mode, shared: &Arc<Shared>) -> io::Result<()> {
    let target = TcpStream::connect(portal)?;
    initiator.set_nodelay(true)?;
    target.set_nodelay(true)?;
    let agreed = Arc::new(Agreed::new(mode));
    let (up_from, up_to, up_agreed) = (initiator.try_clone()?, target.try_clone()?, agreed.clone());
    std::thread::Builder::new().name("digest-up".into()).spawn(move || {
        let _ = pass_requests(&up_from, &up_to, &up_agreed);
        let _ = up_to.shutdown(Shutdown::Write);
    })?;
    let shared = shared.clone();
    std::thread::Builder::new().name("digest-down".into()).spawn(move || {
        if let Err(error) = pass_responses(&target, &initiator, &agreed, &shared)
            && error.kind() == io::ErrorKind::InvalidData
        {
            shared.fault(error.to_string());
        }
        let _ = initiator.shutdown(Shutdown::Both);
        let _ = target.shutdown(Shutdown::Both);
    })?;
    Ok(())
}

/// Initiator to target: digests are asked for, and added.
fn pass_requests(mut from: &TcpStream, mut to: &TcpStream, agreed: &Agreed) -> io::Result<()> {
    while let Some(mut pdu) = Pdu::read(&mut from, || agreed.at_initiator())? {
        if pdu.opcode() == LOGIN_REQUEST {
            let asks = match agreed.mode {
                Mode::Add => pdu.replace_keys("CRC32C"),
                Mode::Watch => pdu.value("HeaderDigest").is_some_and(|value| value == "CRC32C"),
            };
            agreed.asked.fetch_or(asks, Ordering::SeqCst);
        }
        to.write_all(&pdu.to_bytes(agreed.at_target()))?;
    }
    Ok(())
}

/// Target to initiator: digests are checked, and removed where the initiator has none.
fn pass_responses(mut from: &TcpStream, mut to: &TcpStream, agreed: &Agreed, shared: &Shared) -> io::Result<()> {
    while let Some(mut pdu) = Pdu::read(&mut from, || agreed.at_target())? {
        if agreed.at_target() != Digests::default() {
            shared.checked.fetch_add(1, Ordering::SeqCst);
        }
        // The last login response itself has no digests yet.
        let digests = agreed.at_initiator();
        if pdu.opcode() == LOGIN_RESPONSE {
            for (key, digest) in [("HeaderDigest", &agreed.header), ("DataDigest", &agreed.data)] {
                if pdu.value(key).is_some_and(|value| value == "CRC32C") {
                    digest.store(true, Ordering::SeqCst);
                }
            }
            if agreed.mode == Mode::Add {
                pdu.replace_keys("None");
            }
            if pdu.starts_full_feature_phase() {
                agreed.full_feature.store(true, Ordering::SeqCst);
                if agreed.asked.load(Ordering::SeqCst) && agreed.at_target() != agreed.wanted() {
                    shared.fault(format!("the target agreed to {:?} only", agreed.at_target()));
                }
            }
        }
        to.write_all(&pdu.to_bytes(digests))?;
    }
    Ok(())
}

/// Which digests a PDU has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Digests {
    header: bool,
    data: bool,
}

/// A PDU without its digests.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Pdu {
    /// The basic header segment and the additional ones.
    header: Vec<u8>,
    /// The data segment without its padding.
    data: Vec<u8>,
}

impl Pdu {
    /// Reads a PDU and checks its digests; `None` at the end of the connection. Which digests it has is asked when its
    /// header is there: before, the login may still be under way.
    fn read(from: &mut impl Read, digests: impl FnOnce() -> Digests) -> io::Result<Option<Self>> {
        let mut header = vec![0; BHS];
        match from.read_exact(&mut header) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            result => result?,
        }
        let digests = digests();
        // RFC 7143 11.2.1.5 and 11.2.1.6: four-byte words, and bytes.
        let ahs = usize::from(header[4]) * 4;
        let data_length = u32::from_be_bytes([0, header[5], header[6], header[7]]) as usize;
        header.resize(BHS + ahs, 0);
        from.read_exact(&mut header[BHS..])?;
        if digests.header {
            check("header", &header, read_digest(from)?)?;
        }
        let mut data = vec![0; data_length.next_multiple_of(4)];
        from.read_exact(&mut data)?;
        if digests.data && data_length > 0 {
            // RFC 7143 11.2.3: the padding counts.
            check("data", &data, read_digest(from)?)?;
        }
        data.truncate(data_length);
        Ok(Some(Pdu { header, data }))
    }

    /// The PDU on the wire.
    fn to_bytes(&self, digests: Digests) -> Vec<u8> {
        let mut bytes = self.header.clone();
        if digests.header {
            bytes.extend(crc32c::crc32c(&self.header).to_le_bytes());
        }
        if !self.data.is_empty() {
            let start = bytes.len();
            bytes.extend(&self.data);
            bytes.resize(start + self.data.len().next_multiple_of(4), 0);
            if digests.data {
                bytes.extend(crc32c::crc32c(&bytes[start..]).to_le_bytes());
            }
        }
        bytes
    }

    fn opcode(&self) -> u8 {
        self.header[0] & 0x3f
    }

    /// RFC 7143 11.13: a login response with T, NSG 3 and status 0.
    fn starts_full_feature_phase(&self) -> bool {
        self.header[1] & 0x83 == 0x83 && self.header[36] == 0
    }

    /// The value of a text key.
    fn value(&self, key: &str) -> Option<&str> {
        let pairs = self.data.split(|&byte| byte == 0).filter_map(|pair| std::str::from_utf8(pair).ok());
        pairs.filter_map(|pair| pair.split_once('=')).find(|(name, _)| *name == key).map(|(_, value)| value)
    }

    /// Gives both digest keys this value, where they stand; answers whether one does.
    fn replace_keys(&mut self, value: &str) -> bool {
        let mut replaced = false;
        let mut text = Vec::with_capacity(self.data.len() + 16);
        for pair in self.data.split_inclusive(|&byte| byte == 0) {
            let key = ["HeaderDigest=", "DataDigest="].into_iter().find(|key| pair.starts_with(key.as_bytes()));
            match key {
                Some(key) => {
                    replaced = true;
                    text.extend([key.as_bytes(), value.as_bytes(), b"\0"].concat());
                }
                None => text.extend(pair),
            }
        }
        self.data = text;
        // Login text is a few hundred bytes: three bytes of length are plenty.
        self.header[5..8].copy_from_slice(&(self.data.len() as u32).to_be_bytes()[1..]);
        replaced
    }
}

fn read_digest(from: &mut impl Read) -> io::Result<u32> {
    let mut digest = [0; 4];
    from.read_exact(&mut digest)?;
    Ok(u32::from_le_bytes(digest))
}

fn check(what: &str, bytes: &[u8], digest: u32) -> io::Result<()> {
    let right = crc32c::crc32c(bytes);
    if digest == right {
        return Ok(());
    }
    let text = format!("wrong {what} digest {digest:08x} instead of {right:08x} on a PDU of {} bytes", bytes.len());
    Err(io::Error::new(io::ErrorKind::InvalidData, text))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOTH: Digests = Digests { header: true, data: true };

    fn pdu(opcode: u8, data: &[u8]) -> Pdu {
        let mut header = vec![0; BHS];
        header[0] = opcode;
        header[5..8].copy_from_slice(&(data.len() as u32).to_be_bytes()[1..]);
        Pdu { header, data: data.to_vec() }
    }

    #[test]
    fn the_digest_is_rfc_3720s() {
        // RFC 3720 B.4: 32 bytes of zeroes, of ones, and rising; the bytes as they are sent.
        let rising: Vec<u8> = (0..32).collect();
        for (bytes, sent) in [
            (vec![0; 32], [0xaa, 0x36, 0x91, 0x8a]),
            (vec![0xff; 32], [0x43, 0xab, 0xa8, 0x62]),
            (rising, [0x4e, 0x79, 0xdd, 0x46]),
        ] {
            assert_eq!(crc32c::crc32c(&bytes).to_le_bytes(), sent);
        }
    }

    #[test]
    fn what_is_written_is_read_with_and_without_digests() {
        for data in [&b""[..], b"abc", b"abcd", b"abcde"] {
            for digests in [Digests::default(), BOTH, Digests { header: true, data: false }] {
                let (pdu, bytes) = (pdu(0x25, data), pdu(0x25, data).to_bytes(digests));
                assert_eq!(Pdu::read(&mut bytes.as_slice(), || digests).unwrap(), Some(pdu));
            }
        }
        assert_eq!(Pdu::read(&mut &b""[..], || BOTH).unwrap(), None);
    }

    #[test]
    fn every_wrong_bit_is_seen() {
        let bytes = pdu(0x25, b"abcde").to_bytes(BOTH);
        // Not the lengths: they decide what is read at all.
        for at in (0..bytes.len()).filter(|at| !(4..8).contains(at)) {
            let mut wrong = bytes.clone();
            wrong[at] ^= 0x10;
            let error = Pdu::read(&mut wrong.as_slice(), || BOTH).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData, "byte {at}");
        }
    }

    #[test]
    fn digest_keys_are_replaced_and_others_stay() {
        let mut login = pdu(LOGIN_REQUEST, b"InitiatorName=iqn.a\0HeaderDigest=None,CRC32C\0DataDigest=None\0X=1\0");
        assert!(login.replace_keys("CRC32C"));
        assert_eq!(login.data, b"InitiatorName=iqn.a\0HeaderDigest=CRC32C\0DataDigest=CRC32C\0X=1\0");
        assert_eq!(usize::from(login.header[7]), login.data.len());
        assert_eq!(login.value("DataDigest"), Some("CRC32C"));
        assert!(!pdu(LOGIN_REQUEST, b"X=1\0").replace_keys("CRC32C"));
    }

    /// A target that answers a login as told, then sends one NOP-In with these bytes.
    fn session(answer: &'static [u8], nop: Vec<u8>) -> (DigestProxy, Option<Pdu>) {
        let target = TcpListener::bind("127.0.0.1:0").unwrap();
        let proxy = DigestProxy::start(&target.local_addr().unwrap().to_string(), Mode::Add).unwrap();
        let mut initiator = TcpStream::connect(proxy.portal()).unwrap();
        let request = pdu(LOGIN_REQUEST, b"HeaderDigest=None\0DataDigest=None\0");
        initiator.write_all(&request.to_bytes(Digests::default())).unwrap();

        let (mut at_target, _) = target.accept().unwrap();
        let login = Pdu::read(&mut at_target, Digests::default).unwrap().unwrap();
        assert_eq!(login.data, b"HeaderDigest=CRC32C\0DataDigest=CRC32C\0");
        let mut response = pdu(LOGIN_RESPONSE, answer);
        response.header[1] = 0x87;
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
        let nop = pdu(0x20, b"hello");
        let (proxy, seen) = session(AGREED, nop.to_bytes(BOTH));
        assert_eq!(seen, Some(nop));
        assert_eq!(proxy.verdict(), None);
    }

    #[test]
    fn a_wrong_digest_is_the_targets_fault() {
        let mut bytes = pdu(0x20, b"hello").to_bytes(BOTH);
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
            let request = pdu(LOGIN_REQUEST, b"HeaderDigest=CRC32C\0");
            initiator.write_all(&request.to_bytes(Digests::default())).unwrap();
            let (mut at_target, _) = target.accept().unwrap();
            assert_eq!(Pdu::read(&mut at_target, Digests::default).unwrap(), Some(request));

            let digests = Digests { header: good, data: false };
            let mut response = pdu(LOGIN_RESPONSE, answer);
            response.header[1] = 0x87;
            at_target.write_all(&response.to_bytes(Digests::default())).unwrap();
            at_target.write_all(&pdu(0x20, b"hello").to_bytes(digests)).unwrap();
            assert_eq!(Pdu::read(&mut initiator, Digests::default).unwrap(), Some(response));
            assert_eq!(Pdu::read(&mut initiator, || digests).unwrap(), Some(pdu(0x20, b"hello")));
            initiator.write_all(&pdu(0x00, b"back").to_bytes(digests)).unwrap();
            assert_eq!(Pdu::read(&mut at_target, || digests).unwrap(), Some(pdu(0x00, b"back")));
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
