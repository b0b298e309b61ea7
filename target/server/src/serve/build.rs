//! From the configuration to what is offered.

use std::sync::Arc;
use std::time::Instant;

use iesp_iscsi::{Limits, Timeouts};

use super::listen::Listener;
use crate::config::{Config, TargetConfig};
use crate::disk::{self, Absence, Place, Registry, Wanted};
use crate::failure::Failure;
use crate::luns::{Lun, Luns};
use crate::node::{Catalog, Node, Offer, Portal, PortalId, Settings, Waiting};
use crate::statistics::Statistics;
use crate::target::Target;
use crate::threads::Homes;

/// A node as the configuration wants it; its portals are numbered in their order. A disk that is not there is left out, unless
/// there is no other one, or the configuration is strict.
///
/// # Errors
/// What cannot be served; nothing was changed then.
pub fn node(config: &Config, listeners: &[Listener], homes: Homes) -> Result<Node, Failure> {
    let (statistics, registry) = (Statistics::default(), Registry::default());
    let place = Place { statistics: &statistics, homes: &homes, registry: &registry, claims: &[] };
    let wanted = config.targets.iter().flat_map(|target| {
        target.disks.iter().map(|(number, config)| Wanted { target: &target.name, number: *number, config })
    });
    let wanted: Vec<_> = wanted.collect();
    let absence = if config.strict { Absence::Refused } else { Absence::Accepted };
    let opened = disk::open_all(&wanted, place, absence)?;
    if let Some(failure) = opened.iter().find_map(|lun| lun.as_ref().err())
        && opened.iter().all(Result::is_err)
    {
        return Err(failure.clone());
    }
    let mut waiting = Vec::new();
    let mut luns = Vec::new();
    for (one, lun) in wanted.iter().zip(opened) {
        match lun {
            Ok(lun) => luns.push((one.target, lun)),
            Err(failure) => {
                let others = luns.iter().map(|(_, lun)| lun);
                let (lun, awaited) = await_disk(*one, &failure, &statistics, others);
                luns.extend(lun.map(|lun| (one.target, lun)));
                waiting.push(awaited);
            }
        }
    }
    let portals: Vec<_> = (0..).map(PortalId).zip(listeners).map(|(id, listener)| portal(id, listener)).collect();
    let offers = config.targets.iter().map(|target| {
        let own = luns.extract_if(.., |(name, _)| *name == target.name).map(|(_, lun)| lun);
        let awaited = waiting.iter().filter(|waiting| waiting.target == target.name).map(|waiting| waiting.number);
        let luns = Luns::new(own).awaiting(awaited);
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
    let node = Node::new(catalog, homes, statistics, registry);
    *node.waiting() = waiting;
    Ok(node)
}

/// A disk that is not there is tried again; until then a logical unit is in its place, where it is known who it is, and none of
/// the others is that.
pub fn await_disk<'a>(
    wanted: Wanted<'_>,
    failure: &Failure,
    statistics: &Statistics,
    mut others: impl Iterator<Item = &'a Arc<Lun>>,
) -> (Option<Arc<Lun>>, Waiting) {
    let Wanted { target, number, config } = wanted;
    let reason = failure.to_string();
    tracing::error!(target, lun = number, reason, "a disk is not there: it is tried again");
    let lun = disk::placeholder(wanted, statistics).filter(|lun| {
        let uuid = lun.path.disk().uuid();
        !others.any(|other| other.path.disk().uuid() == uuid && !disk::is_same(&other.config.source, &config.source))
    });
    let row = statistics.row(target, number, &config.source.to_string());
    let (target, config) = (target.to_owned(), config.clone());
    (lun, Waiting { target, number, config, row, reason, since: Instant::now() })
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
