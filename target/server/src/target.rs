//! The target: its logical units, who may come in, who is there.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use iesp_iscsi::login::{Admission, Environment};
use iesp_iscsi::{Limits, Timeouts};
use iesp_scsi::{LogicalUnit, NexusId};
use tokio::sync::Notify;
use tokio::sync::mpsc::UnboundedSender;

use crate::backend::Backend;
use crate::buffers::Budget;
use crate::clock::Clock;
use crate::config::Access;
use crate::messages::{Message, Receipt};
use crate::pool::Pool;
use crate::statistics::{Counters, Statistics};

/// Sessions that there may be at a time.
pub const SESSIONS: usize = 64;

/// The tag of the one target portal group (RFC 7143 4.1).
pub const PORTAL_GROUP: u16 = 1;

/// How long a login waits for the end of the session that it reinstates.
const REINSTATEMENT: Duration = Duration::from_secs(10);

/// A logical unit with what it stands on.
#[derive(Debug)]
pub struct Lun {
    /// Logical unit number.
    pub number: u16,
    /// The device server.
    pub unit: LogicalUnit<SESSIONS>,
    /// Its blocks.
    pub backend: Arc<dyn Backend>,
    /// log2 of a block's bytes.
    pub block_shift: u32,
}

impl Lun {
    /// Blocks in bytes.
    #[inline]
    pub const fn bytes(&self, blocks: u64) -> u64 {
        blocks << self.block_shift
    }

    /// Bytes in a block.
    pub const fn block_size(&self) -> u32 {
        1 << self.block_shift
    }
}

/// The target, for the whole life of the program.
#[derive(Debug)]
pub struct Target {
    /// iSCSI name.
    pub name: String,
    /// By number; the index is the number.
    pub luns: Vec<Lun>,
    /// Their numbers.
    inventory: Vec<u16>,
    /// Addresses that it listens on.
    pub portals: Vec<SocketAddr>,
    /// Who may log in.
    pub access: Access,
    /// Digests may be negotiated.
    pub digests: bool,
    /// Threads that wait for devices.
    pub pool: Pool,
    /// Memory for payloads.
    pub budget: Budget,
    /// The time.
    pub clock: Clock,
    /// What was counted.
    pub statistics: Statistics,
    registry: Mutex<Registry>,
}

#[derive(Debug, Default)]
struct Registry {
    connections: Vec<(u16, UnboundedSender<Message>)>,
    sessions: Vec<Session>,
    last_tsih: u16,
}

#[derive(Debug)]
struct Session {
    initiator: String,
    isid: [u8; 6],
    nexus: NexusId,
    mail: UnboundedSender<Message>,
    ended: Arc<Notify>,
}

impl Target {
    /// A target with nobody there.
    #[allow(clippy::too_many_arguments)]
    pub fn new(
        name: String,
        luns: Vec<Lun>,
        portals: Vec<SocketAddr>,
        access: Access,
        digests: bool,
        pool: Pool,
        budget: usize,
    ) -> Self {
        let inventory = luns.iter().map(|lun| lun.number).collect();
        Self {
            name,
            luns,
            inventory,
            portals,
            access,
            digests,
            pool,
            budget: Budget::new(budget),
            clock: Clock::start(),
            statistics: Statistics::default(),
            registry: Mutex::default(),
        }
    }

    /// The logical unit of this number.
    #[inline]
    pub fn lun(&self, number: u16) -> Option<&Lun> {
        self.luns.get(usize::from(number))
    }

    /// All logical unit numbers.
    #[inline]
    pub fn inventory(&self) -> &[u16] {
        &self.inventory
    }

    /// What a login may settle on.
    pub fn limits(&self) -> Limits {
        Limits { digests: self.digests, ..Limits::default() }
    }

    /// How long to wait for a peer.
    pub fn timeouts(&self) -> Timeouts {
        Timeouts::default()
    }

    fn registry(&self) -> MutexGuard<'_, Registry> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection came. It is known until the entry is dropped.
    pub fn enter(self: &Arc<Self>, mail: UnboundedSender<Message>) -> Entry {
        let mut registry = self.registry();
        let taken = |tsih: u16, registry: &Registry| registry.connections.iter().any(|(other, _)| *other == tsih);
        // RFC 7143 11.12.6: 0 is reserved.
        let mut tsih = registry.last_tsih.checked_add(1).unwrap_or(1);
        while taken(tsih, &registry) {
            tsih = tsih.checked_add(1).unwrap_or(1);
        }
        registry.last_tsih = tsih;
        registry.connections.push((tsih, mail));
        Entry { target: Arc::clone(self), tsih, counters: self.statistics.open(self.luns.len()) }
    }

    /// A session begins, when the one with the same initiator name and ISID has ended (RFC 7143 6.3.5). `None` where that
    /// does not end, or there are too many.
    pub async fn join(
        self: &Arc<Self>,
        initiator: String,
        isid: [u8; 6],
        mail: UnboundedSender<Message>,
    ) -> Option<Guest> {
        tokio::time::timeout(REINSTATEMENT, async {
            loop {
                let ended = {
                    let mut registry = self.registry();
                    let old = registry.sessions.iter().find(|old| old.initiator == initiator && old.isid == isid);
                    let Some(old) = old else {
                        return self.admit_session(&mut registry, initiator, isid, mail);
                    };
                    // A connection that has ended meanwhile says so by `ended`.
                    let _ = old.mail.send(Message::Close("the initiator logged in again"));
                    // Made before the lock is given up: it hears of an end from now on.
                    Arc::clone(&old.ended).notified_owned()
                };
                ended.await;
            }
        })
        .await
        .ok()
        .flatten()
    }

    fn admit_session(
        self: &Arc<Self>,
        registry: &mut Registry,
        initiator: String,
        isid: [u8; 6],
        mail: UnboundedSender<Message>,
    ) -> Option<Guest> {
        let free = |nexus: &NexusId| !registry.sessions.iter().any(|session| session.nexus == *nexus);
        let nexus = (0..SESSIONS as u16).map(NexusId).find(free)?;
        for lun in &self.luns {
            lun.unit.nexus_established(nexus);
        }
        let ended = Arc::new(Notify::new());
        registry.sessions.push(Session { initiator, isid, nexus, mail, ended });
        Some(Guest { target: Arc::clone(self), nexus })
    }

    /// Tasks of a logical unit may wait for one that ended.
    pub fn wake(&self, lun: u16) {
        for session in &self.registry().sessions {
            // Sessions that have ended wait for nothing.
            let _ = session.mail.send(Message::Wake { lun });
        }
    }

    /// Has the other sessions abort their tasks; the receipt's clones are dropped when they are quiet.
    pub fn abort_others(&self, by: &Guest, lun: Option<u16>, cleared_by: Option<NexusId>, receipt: &Receipt) {
        for session in &self.registry().sessions {
            if session.nexus != by.nexus {
                let message = Message::Abort { lun, cleared_by, receipt: receipt.another() };
                // The message and its receipt are dropped where the session has ended.
                let _ = session.mail.send(message);
            }
        }
    }

    /// Target reset (SAM-5 6.3.3 for each logical unit).
    pub fn reset_units(&self) {
        for lun in &self.luns {
            lun.unit.reset(None);
        }
    }

    /// Ends all connections.
    pub fn close_all(&self, reason: &'static str) {
        self.broadcast(|| Message::Close(reason));
    }

    /// Asks all initiators to log out.
    pub fn shut_down(&self) {
        self.broadcast(|| Message::Shutdown);
    }

    /// Connections that there are.
    pub fn connections(&self) -> usize {
        self.registry().connections.len()
    }

    fn broadcast(&self, message: impl Fn() -> Message) {
        for (_, mail) in &self.registry().connections {
            // A connection that has ended needs no message.
            let _ = mail.send(message());
        }
    }
}

/// A connection that is there.
#[derive(Debug)]
pub struct Entry {
    target: Arc<Target>,
    tsih: u16,
    counters: Arc<Counters>,
}

impl Entry {
    /// What its session is called.
    pub const fn tsih(&self) -> u16 {
        self.tsih
    }

    /// Where it counts, on the one thread that serves it.
    pub fn counters(&self) -> Arc<Counters> {
        Arc::clone(&self.counters)
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.target.statistics.close(&self.counters);
        self.target.registry().connections.retain(|(tsih, _)| *tsih != self.tsih);
    }
}

/// A session that is there: an I_T nexus.
#[derive(Debug)]
pub struct Guest {
    target: Arc<Target>,
    nexus: NexusId,
}

impl Guest {
    /// Its number for the device servers.
    #[inline]
    pub const fn nexus(&self) -> NexusId {
        self.nexus
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        // I_T nexus loss (SAM-5 6.3.4), before anybody can take its number.
        let mut registry = self.target.registry();
        for lun in &self.target.luns {
            lun.unit.nexus_lost(self.nexus);
        }
        registry.sessions.retain(|session| {
            if session.nexus == self.nexus {
                session.ended.notify_waiters();
            }
            session.nexus != self.nexus
        });
    }
}

/// The number in a LUN field: peripheral or flat addressing, one level (SAM-5 4.7.7); `None` for what this target has not.
#[inline]
pub const fn lun_number(lun: u64) -> Option<u16> {
    if lun & 0x0000_ffff_ffff_ffff != 0 {
        return None;
    }
    let field = (lun >> 48) as u16;
    match field >> 14 {
        0 if field < 256 => Some(field),
        1 => Some(field & 0x3fff),
        _ => None,
    }
}

/// The target as a login sees it, through the connection that it came by.
#[derive(Debug)]
pub struct Door<'a> {
    target: &'a Target,
    local: SocketAddr,
}

impl<'a> Door<'a> {
    /// For a connection to the address `local`.
    pub const fn new(target: &'a Target, local: SocketAddr) -> Self {
        Self { target, local }
    }

    fn knows(&self, target: Option<&str>) -> bool {
        target.is_none_or(|name| name == self.target.name)
    }
}

impl Environment for Door<'_> {
    fn random(&mut self, bytes: &mut [u8]) {
        // CHAP must not go on with a challenge that can be foretold.
        getrandom::fill(bytes).expect("the system has a random source");
    }

    fn admit(&self, _initiator: &str, target: Option<&str>) -> Admission {
        if !self.knows(target) {
            Admission::NotFound
        } else if self.target.access.user.is_some() {
            Admission::Authenticated
        } else {
            Admission::Open
        }
    }

    fn has_room(&self, initiator: &str, isid: [u8; 6], target: Option<&str>) -> bool {
        let registry = self.target.registry();
        let is_old = |old: &Session| old.initiator == initiator && old.isid == isid;
        target.is_none() || registry.sessions.len() < SESSIONS || registry.sessions.iter().any(is_old)
    }

    fn has_session(&self, initiator: &str, isid: [u8; 6], target: Option<&str>, _tsih: u16) -> bool {
        let registry = self.target.registry();
        target.is_some() && registry.sessions.iter().any(|old| old.initiator == initiator && old.isid == isid)
    }

    fn initiator_secret(&self, _initiator: &str, target: Option<&str>, name: &str, with: &mut dyn FnMut(&[u8])) {
        if let Some(user) = &self.target.access.user
            && user.name == name
            && self.knows(target)
        {
            with(user.secret.as_bytes());
        }
    }

    fn target_secret(&self, _initiator: &str, target: Option<&str>, with: &mut dyn FnMut(&str, &[u8])) {
        if let Some(own) = &self.target.access.own
            && self.knows(target)
        {
            with(&own.name, own.secret.as_bytes());
        }
    }

    fn target(&self, index: usize) -> Option<&str> {
        (index == 0).then_some(self.target.name.as_str())
    }

    /// Where the target listens on every address, the one that this connection came to stands for all of its family.
    fn portal(&self, target: usize, index: usize) -> Option<(SocketAddr, u16)> {
        if target != 0 {
            return None;
        }
        let portal = *self.target.portals.get(index)?;
        let reached = if portal.ip().is_unspecified() && portal.port() == self.local.port() {
            SocketAddr::new(canonical(self.local.ip()), portal.port())
        } else {
            portal
        };
        Some((reached, PORTAL_GROUP))
    }

    fn portal_group_tag(&self) -> u16 {
        PORTAL_GROUP
    }

    fn alias(&self) -> Option<&str> {
        None
    }
}

/// An IPv4 address that came through an IPv6 socket is an IPv4 address.
fn canonical(address: IpAddr) -> IpAddr {
    address.to_canonical()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lun_fields() {
        assert_eq!(lun_number(0), Some(0));
        assert_eq!(lun_number(0x0005_0000_0000_0000), Some(5));
        assert_eq!(lun_number(0x4105_0000_0000_0000), Some(0x105));
        assert_eq!(lun_number(0x0105_0000_0000_0000), None);
        assert_eq!(lun_number(0x0005_0000_0000_0001), None);
        assert_eq!(lun_number(0xc101_0000_0000_0000), None);
    }
}
