//! From the configuration to what is offered.

use std::sync::Arc;

use iesp_iscsi::{Limits, Timeouts};

use super::listen::Listener;
use crate::config::{Config, TargetConfig};
use crate::disk::{self, Wanted};
use crate::failure::Failure;
use crate::luns::Luns;
use crate::node::{Catalog, Node, Offer, Portal, PortalId, Settings};
use crate::statistics::Statistics;
use crate::target::Target;
use crate::threads::Homes;

/// A node as the configuration wants it; its portals are numbered in their order.
///
/// # Errors
/// What cannot be served; nothing was changed then.
pub fn node(config: &Config, listeners: &[Listener], homes: Homes) -> Result<Node, Failure> {
    let statistics = Statistics::default();
    let wanted = config.targets.iter().flat_map(|target| {
        target.disks.iter().map(|(number, config)| Wanted { target: &target.name, number: *number, config })
    });
    let mut luns = disk::open_all(&wanted.collect::<Vec<_>>(), &statistics, &homes)?.into_iter();
    let portals: Vec<_> = (0..).map(PortalId).zip(listeners).map(|(id, listener)| portal(id, listener)).collect();
    let offers = config.targets.iter().map(|target| {
        let luns = Luns::new(luns.by_ref().take(target.disks.len()));
        offer(target, Arc::new(Target::new(target.name.clone(), luns)), &portals)
    });
    let offers = offers.collect();
    let catalog = Catalog {
        offers,
        portals,
        discovery: config.discovery.clone(),
        settings: settings(config),
        trace: config.log.trace.clone(),
    };
    Ok(Node::new(catalog, homes, statistics))
}

/// A portal as the catalog has it.
pub fn portal(id: PortalId, listener: &Listener) -> Portal {
    Portal { id, name: listener.config.name.clone(), address: listener.address }
}

/// A target and to whom it is offered.
pub fn offer(config: &TargetConfig, target: Arc<Target>, portals: &[Portal]) -> Offer {
    let at = config.portals.as_ref().map(|names| {
        let named = portals.iter().filter(|portal| portal.name.as_ref().is_some_and(|name| names.contains(name)));
        named.map(|portal| portal.id).collect()
    });
    Offer { target, alias: config.alias.clone(), access: config.access.clone(), portals: at }
}

/// The rules for all connections.
pub fn settings(config: &Config) -> Settings {
    let millis = |time: std::time::Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let limits = &config.limits;
    Settings {
        limits: Limits { digests: limits.digests, ..Limits::default() },
        timeouts: Timeouts {
            login: millis(limits.login_timeout),
            ping_after: millis(limits.keepalive),
            ping_answer: millis(limits.keepalive_answer),
        },
        sessions: limits.sessions,
        connections: limits.connections,
        window: limits.window,
        memory: limits.memory,
    }
}
