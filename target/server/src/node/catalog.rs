//! What the node offers: targets, portals, and the rules for all. Never changed: replaced as a whole.

use std::net::SocketAddr;
use std::sync::Arc;

use iesp_iscsi::{Limits, Timeouts};

use crate::access::Access;
use crate::logging::Trace;
use crate::target::Target;

/// Which portal, for the whole life of the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortalId(pub u32);

/// An address that the node listens on.
#[derive(Debug, Clone)]
pub struct Portal {
    /// Which one it is.
    pub id: PortalId,
    /// By what targets name it.
    pub name: Option<String>,
    /// Where it listens.
    pub address: SocketAddr,
}

/// A target, and to whom it is offered.
#[derive(Debug, Clone)]
pub struct Offer {
    /// The target.
    pub target: Arc<Target>,
    /// What people call it.
    pub alias: Option<String>,
    /// Who may log in.
    pub access: Access,
    /// At which portals; `None`: at all.
    pub portals: Option<Vec<PortalId>>,
}

impl Offer {
    /// Whether it is offered at a portal.
    pub fn is_at(&self, portal: PortalId) -> bool {
        self.portals.as_ref().is_none_or(|portals| portals.contains(&portal))
    }
}

/// The rules for all connections that come from now on.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// What a login may settle on.
    pub limits: Limits,
    /// How long to wait for a peer.
    pub timeouts: Timeouts,
    /// Sessions of a target.
    pub sessions: usize,
    /// Connections, logged in or not.
    pub connections: usize,
    /// Commands that an initiator may have under way.
    pub window: u32,
    /// Bytes for the payloads of all connections together.
    pub memory: usize,
}

/// All of it.
#[derive(Debug, Clone)]
pub struct Catalog {
    /// The targets.
    pub offers: Vec<Offer>,
    /// The portals.
    pub portals: Vec<Portal>,
    /// Who may ask for the targets.
    pub discovery: Access,
    /// The rules.
    pub settings: Settings,
    /// Whose units the log shows.
    pub trace: Trace,
}

impl Catalog {
    /// The target of this name, where it is offered at this portal.
    pub fn find(&self, name: &str, portal: PortalId) -> Option<&Offer> {
        self.offers.iter().find(|offer| offer.target.name == name && offer.is_at(portal))
    }
}
