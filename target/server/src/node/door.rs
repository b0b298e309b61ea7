//! The node as a login sees it, through the portal that it came by.

use std::cell::{OnceCell, RefCell};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use iesp_iscsi::login::{Admission, Environment};

use super::{Catalog, Node, Offer, PortalId};
use crate::access::Access;
use crate::target::PORTAL_GROUP;

/// For one unit: what is offered is looked at only where that asks for it.
#[derive(Debug)]
pub struct Door<'a> {
    node: &'a Node,
    portal: PortalId,
    local: SocketAddr,
    catalog: OnceCell<Arc<Catalog>>,
    /// What the log may say of a refusal, and the peer is not told.
    note: RefCell<Option<String>>,
}

impl<'a> Door<'a> {
    /// For a connection to the address `local` that came by this portal.
    #[inline]
    pub const fn new(node: &'a Node, portal: PortalId, local: SocketAddr) -> Self {
        Self { node, portal, local, catalog: OnceCell::new(), note: RefCell::new(None) }
    }

    /// What the log may say of a refusal.
    pub fn into_note(self) -> Option<String> {
        self.note.into_inner()
    }

    fn catalog(&self) -> &Catalog {
        self.catalog.get_or_init(|| self.node.catalog())
    }

    fn offer(&self, target: &str) -> Option<&Offer> {
        self.catalog().find(target, self.portal)
    }

    /// Of a target, or of discovery.
    fn access(&self, target: Option<&str>) -> Option<&Access> {
        match target {
            Some(target) => Some(&self.offer(target)?.access),
            None => Some(&self.catalog().discovery),
        }
    }

    fn remark(&self, note: impl FnOnce() -> String) {
        *self.note.borrow_mut() = Some(note());
    }
}

impl Environment for Door<'_> {
    fn random(&mut self, bytes: &mut [u8]) {
        // CHAP must not go on with a challenge that can be foretold.
        getrandom::fill(bytes).expect("the system has a random source");
    }

    fn admit(&self, initiator: &str, target: Option<&str>) -> Admission {
        let Some(access) = self.access(target) else {
            let elsewhere = self.catalog().offers.iter().any(|offer| Some(&*offer.target.name) == target);
            let why = if elsewhere { "it is not offered at this portal" } else { "there is no target of this name" };
            self.remark(|| why.to_owned());
            return Admission::NotFound;
        };
        let admission = access.admit(initiator);
        if admission == Admission::Forbidden {
            self.remark(|| "the initiator is not among those that may log in".to_owned());
        }
        admission
    }

    fn has_room(&self, initiator: &str, isid: [u8; 6], target: Option<&str>) -> bool {
        let most = self.catalog().settings.sessions;
        let offer = target.and_then(|target| self.offer(target));
        let has = offer.is_none_or(|offer| offer.target.has_room(initiator, isid, most));
        if !has {
            self.remark(|| format!("the target has {most} sessions, which is the most"));
        }
        has
    }

    fn has_session(&self, initiator: &str, isid: [u8; 6], target: Option<&str>, tsih: u16) -> bool {
        let offer = target.and_then(|target| self.offer(target));
        offer.is_some_and(|offer| offer.target.has_session(initiator, isid, tsih))
    }

    fn initiator_secret(&self, initiator: &str, target: Option<&str>, name: &str, with: &mut dyn FnMut(&[u8])) {
        match self.access(target).and_then(|access| access.secret(initiator, name)) {
            Some(secret) => {
                self.remark(|| format!("the response of CHAP user {name:?} is wrong"));
                with(secret.as_bytes());
            }
            None => self.remark(|| format!("there is no CHAP user {name:?} for this initiator")),
        }
    }

    fn target_secret(&self, _initiator: &str, target: Option<&str>, with: &mut dyn FnMut(&str, &[u8])) {
        match self.access(target).and_then(|access| access.own.as_ref()) {
            Some(own) => {
                self.remark(|| "both sides have the same CHAP secret".to_owned());
                with(&own.name, own.secret.as_bytes());
            }
            None => self.remark(|| "the initiator wants mutual CHAP, for which there is no secret".to_owned()),
        }
    }

    fn target(&self, index: usize) -> Option<&str> {
        Some(&self.catalog().offers.get(index)?.target.name)
    }

    /// Where the node listens on every address, the one that this connection came to stands for all of its family.
    fn portal(&self, target: usize, index: usize) -> Option<(SocketAddr, u16)> {
        let catalog = self.catalog();
        let offer = catalog.offers.get(target)?;
        let address = catalog.portals.iter().filter(|portal| offer.is_at(portal.id)).nth(index)?.address;
        let reached = if address.ip().is_unspecified() && address.port() == self.local.port() {
            SocketAddr::new(canonical(self.local.ip()), address.port())
        } else {
            address
        };
        Some((reached, PORTAL_GROUP))
    }

    fn portal_group_tag(&self) -> u16 {
        PORTAL_GROUP
    }

    fn alias(&self, target: Option<&str>) -> Option<&str> {
        self.offer(target?)?.alias.as_deref()
    }
}

/// An IPv4 address that came through an IPv6 socket is an IPv4 address.
fn canonical(address: IpAddr) -> IpAddr {
    address.to_canonical()
}
