//! The node as a login sees it, through the portal that it came by.

use std::cell::{OnceCell, RefCell};
use std::net::SocketAddr;
use std::sync::Arc;

use iesp_iscsi::login::{Admission, Environment};

use super::{Catalog, Listing, Node, Offer, PortalId};
use crate::access::Access;
use crate::target::PORTAL_GROUP;

/// For one unit: what is offered is looked at only where that asks for it.
#[derive(Debug)]
pub struct Door<'a> {
    node: &'a Node,
    portal: PortalId,
    local: SocketAddr,
    catalog: OnceCell<Arc<Catalog>>,
    /// What the answer to SendTargets tells that was begun before.
    begun: Option<Arc<Listing>>,
    /// What the answer tells that this unit begins.
    listing: OnceCell<Arc<Listing>>,
    /// What the log may say of a refusal, and the peer is not told.
    note: RefCell<Option<String>>,
}

impl<'a> Door<'a> {
    /// For a connection to the address `local` that came by this portal, and what its answer to SendTargets tells where one was
    /// begun.
    #[inline]
    pub const fn new(node: &'a Node, portal: PortalId, local: SocketAddr, begun: Option<Arc<Listing>>) -> Self {
        let note = RefCell::new(None);
        Self { node, portal, local, catalog: OnceCell::new(), begun, listing: OnceCell::new(), note }
    }

    /// What the log may say of a refusal, and what an answer to SendTargets tells that was begun.
    #[inline]
    pub fn into_parts(self) -> (Option<String>, Option<Arc<Listing>>) {
        (self.note.into_inner(), self.listing.into_inner().or(self.begun))
    }

    fn listing(&self) -> Option<&Listing> {
        Some(self.listing.get().or(self.begun.as_ref())?)
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

    fn begin_listing(&self) {
        let _ = self.listing.get_or_init(|| Arc::new(Listing::new(self.catalog(), self.portal, self.local)));
    }

    fn target(&self, index: usize) -> Option<&str> {
        self.listing()?.target(index)
    }

    fn portal(&self, target: usize, index: usize) -> Option<(SocketAddr, u16)> {
        Some((self.listing()?.address(target, index)?, PORTAL_GROUP))
    }

    fn portal_group_tag(&self) -> u16 {
        PORTAL_GROUP
    }

    fn alias(&self, target: Option<&str>) -> Option<&str> {
        self.offer(target?)?.alias.as_deref()
    }
}
