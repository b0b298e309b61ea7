//! A target: its logical units, and who is there.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use iesp_iscsi::outbox::Digests;
use iesp_iscsi::pdu::LoginStatus;
use iesp_scsi::NexusId;
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::{Notify, mpsc};

use crate::connection::Refused;
use crate::luns::{Lun, Luns};
use crate::messages::{Message, Receipt};
use crate::node::PortalId;

/// Sessions that a target may have at a time.
pub const SESSIONS: usize = 1024;

/// The tag of the one target portal group (RFC 7143 4.1).
pub const PORTAL_GROUP: u16 = 1;

/// How long a login waits for the end of the session that it reinstates.
const REINSTATEMENT: Duration = Duration::from_secs(10);

/// A target, as long as it is served or has sessions.
#[derive(Debug)]
pub struct Target {
    /// iSCSI name.
    pub name: String,
    registry: Mutex<Registry>,
}

#[derive(Debug)]
struct Registry {
    luns: Arc<Luns>,
    sessions: Vec<Session>,
    /// Numbers that a logical unit had which is there no longer: the next one that has it is another.
    former: Vec<u16>,
    /// It is served no longer: nobody comes in.
    closed: bool,
}

#[derive(Debug)]
struct Session {
    who: Who,
    nexus: NexusId,
    mail: UnboundedSender<Message>,
    ended: Arc<Notify>,
}

/// A session as others see it.
#[derive(Debug, Clone)]
pub struct Who {
    /// InitiatorName.
    pub initiator: String,
    /// ISID.
    pub isid: [u8; 6],
    /// TSIH.
    pub tsih: u16,
    /// The initiator's address.
    pub peer: SocketAddr,
    /// The portal that it came by.
    pub portal: PortalId,
    /// The address that it came to.
    pub local: SocketAddr,
    /// When it began.
    pub since: Instant,
    /// What was negotiated.
    pub digests: Digests,
}

impl Who {
    fn is(&self, initiator: &str, isid: [u8; 6]) -> bool {
        self.initiator == initiator && self.isid == isid
    }
}

impl Registry {
    fn free_nexus(&self) -> Option<NexusId> {
        let mut taken = [0_u64; SESSIONS / 64];
        for session in &self.sessions {
            let number = usize::from(session.nexus.0);
            taken[number / 64] |= 1 << (number % 64);
        }
        let word = taken.iter().position(|word| *word != u64::MAX)?;
        Some(NexusId((word * 64) as u16 + taken[word].trailing_ones() as u16))
    }
}

impl Target {
    /// A target with nobody there.
    pub fn new(name: String, luns: Luns) -> Self {
        let registry = Registry { luns: Arc::new(luns), sessions: Vec::new(), former: Vec::new(), closed: false };
        Self { name, registry: Mutex::new(registry) }
    }

    fn registry(&self) -> MutexGuard<'_, Registry> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Its logical units now.
    pub fn luns(&self) -> Arc<Luns> {
        Arc::clone(&self.registry().luns)
    }

    /// Whether anybody is there.
    pub fn has_sessions(&self) -> bool {
        !self.registry().sessions.is_empty()
    }

    /// Its sessions.
    pub fn sessions(&self) -> Vec<Who> {
        self.registry().sessions.iter().map(|session| session.who.clone()).collect()
    }

    /// Whether one more session has a place, where there may be `most`. One that reinstates another makes its own.
    pub fn has_room(&self, initiator: &str, isid: [u8; 6], most: usize) -> bool {
        let registry = self.registry();
        registry.sessions.len() < most.min(SESSIONS) || registry.sessions.iter().any(|old| old.who.is(initiator, isid))
    }

    /// Whether there is this session.
    pub fn has_session(&self, initiator: &str, isid: [u8; 6], tsih: u16) -> bool {
        self.registry().sessions.iter().any(|old| old.who.is(initiator, isid) && old.who.tsih == tsih)
    }

    /// A session begins, when the one with the same initiator name and ISID has ended (RFC 7143 6.3.5), with the logical units
    /// that there are; others are told of by a message. There are `most` at a time.
    ///
    /// # Errors
    /// Where that does not end, there are too many, or the target is served no longer.
    pub async fn join(
        self: &Arc<Self>,
        who: Who,
        mail: UnboundedSender<Message>,
        most: usize,
    ) -> Result<(Guest, Arc<Luns>), Refused> {
        tokio::time::timeout(REINSTATEMENT, async {
            loop {
                let ended = {
                    let mut registry = self.registry();
                    let old = registry.sessions.iter().find(|old| old.who.is(&who.initiator, who.isid));
                    let Some(old) = old else { return self.admit_session(&mut registry, who, mail, most) };
                    // A connection that has ended meanwhile says so by `ended`.
                    let _ = old.mail.send(Message::Close("the initiator logged in again"));
                    // Made before the lock is given up: it hears of an end from now on.
                    Arc::clone(&old.ended).notified_owned()
                };
                ended.await;
            }
        })
        .await
        .unwrap_or(Err(Refused(LoginStatus::TargetError)))
    }

    fn admit_session(
        self: &Arc<Self>,
        registry: &mut Registry,
        who: Who,
        mail: UnboundedSender<Message>,
        most: usize,
    ) -> Result<(Guest, Arc<Luns>), Refused> {
        if registry.closed {
            return Err(Refused(LoginStatus::TargetRemoved));
        }
        // Asked again under the lock that admits: other logins may have completed since this one was let in.
        if registry.sessions.len() >= most {
            return Err(Refused(LoginStatus::OutOfResources));
        }
        let nexus = registry.free_nexus().ok_or(Refused(LoginStatus::OutOfResources))?;
        for lun in registry.luns.iter() {
            lun.unit.nexus_established(lun.nexus(nexus));
        }
        let ended = Arc::new(Notify::new());
        registry.sessions.push(Session { who, nexus, mail, ended });
        Ok((Guest { target: Arc::clone(self), nexus }, Arc::clone(&registry.luns)))
    }

    /// Tasks of a logical unit may wait for one that ended.
    pub fn wake(&self, lun: u16) {
        for session in &self.registry().sessions {
            // Sessions that have ended wait for nothing.
            let _ = session.mail.send(Message::Wake { lun });
        }
    }

    /// Has the other sessions abort their tasks; the receipt's clones are dropped when they are quiet.
    pub fn abort_others(&self, by: &Guest, lun: Option<u16>, receipt: &Receipt) {
        for session in &self.registry().sessions {
            if session.nexus != by.nexus {
                let message = Message::Abort { lun, receipt: receipt.another() };
                // The message and its receipt are dropped where the session has ended.
                let _ = session.mail.send(message);
            }
        }
    }

    /// Has all sessions abort their tasks of a logical unit; the receipt's clones are dropped when they are quiet.
    pub fn abort_all(&self, lun: u16, receipt: &Receipt) {
        for session in &self.registry().sessions {
            // The message and its receipt are dropped where the session has ended.
            let _ = session.mail.send(Message::Abort { lun: Some(lun), receipt: receipt.another() });
        }
    }

    /// Target reset (SAM-5 6.3.3 for each logical unit).
    pub fn reset_units(&self) {
        for lun in self.luns().iter() {
            lun.unit.reset(None);
        }
    }

    /// Ends all its sessions.
    pub fn close_sessions(&self, reason: &'static str) {
        for session in &self.registry().sessions {
            // One that has ended needs no message.
            let _ = session.mail.send(Message::Close(reason));
        }
    }

    /// Serves other logical units from now on. Sessions take no more commands for those that are gone; each clone of
    /// `quiet` is dropped when one of them has none of these commands any more.
    ///
    /// A number must not be given to another logical unit before that of the last one is quiet.
    pub fn change_luns(&self, luns: Luns, quiet: &mpsc::Sender<()>) {
        let mut registry = self.registry();
        let old = std::mem::replace(&mut registry.luns, Arc::new(luns));
        for number in old.inventory() {
            if registry.luns.get(*number).is_none() && !registry.former.contains(number) {
                registry.former.push(*number);
            }
        }
        let registry = &*registry;
        // One that was in the place of a disk that was away may have given it to that.
        let replaced = |lun: &Arc<Lun>| old.get(lun.number).is_some_and(|old| !Arc::ptr_eq(old, lun));
        let is_new = |lun: &Arc<Lun>| old.get(lun.number).is_none() || replaced(lun);
        let differs = old.inventory() != registry.luns.inventory();
        for session in &registry.sessions {
            for lun in registry.luns.iter() {
                if is_new(lun) {
                    lun.unit.nexus_established(lun.nexus(session.nexus));
                    if replaced(lun) || registry.former.contains(&lun.number) {
                        lun.unit.inquiry_changed(lun.nexus(session.nexus));
                    }
                } else if differs {
                    lun.unit.inventory_changed(lun.nexus(session.nexus));
                }
            }
            let message = Message::Luns { luns: Arc::clone(&registry.luns), quiet: quiet.clone() };
            // The message is dropped where the session has ended.
            let _ = session.mail.send(message);
        }
    }

    /// Ends the sessions that a logical unit keeps waiting that is served no longer.
    pub fn hurry(&self) {
        for session in &self.registry().sessions {
            // One that has ended keeps nobody waiting.
            let _ = session.mail.send(Message::Hurry);
        }
    }

    /// Nobody comes in any more, and those that are there are asked to log out.
    pub fn close(&self) {
        let mut registry = self.registry();
        registry.closed = true;
        for session in &registry.sessions {
            // One that has ended is what is wanted.
            let _ = session.mail.send(Message::Shutdown("the target is served no longer"));
        }
    }

    /// Asks those to log out of whom `leaves` says so.
    pub fn dismiss(&self, leaves: impl Fn(&Who) -> bool) {
        for session in self.registry().sessions.iter().filter(|session| leaves(&session.who)) {
            // One that has ended is what is wanted.
            let _ = session.mail.send(Message::Shutdown("it might not log in any more"));
        }
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

    /// Where it is.
    #[inline]
    pub const fn target(&self) -> &Arc<Target> {
        &self.target
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        // I_T nexus loss (SAM-5 6.3.4), before anybody can take its number.
        let mut registry = self.target.registry();
        for lun in registry.luns.iter() {
            lun.unit.nexus_lost(lun.nexus(self.nexus));
        }
        registry.sessions.retain(|session| {
            if session.nexus == self.nexus {
                session.ended.notify_waiters();
            }
            session.nexus != self.nexus
        });
    }
}
