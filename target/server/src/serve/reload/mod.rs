//! SIGHUP: the configuration is read again, and what changed changes. Everything that can fail is tried before anything is
//! changed; sessions of what stays notice nothing.

mod disks;
mod plan;

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::listen::{self, Listener};
use super::stop::flush_all;
use super::{Service, build};
use crate::cli::Cli;
use crate::config::{Config, DiskConfig, Given, PortalConfig};
use crate::failure::Failure;
use crate::logging;
use crate::luns::{Lun, Luns};
use crate::metrics;
use crate::node::{Catalog, Offer};
use crate::snmp::Agent;
use crate::target::Target;
use plan::{Change, Plan};

/// How long initiators have to leave what is served no longer, and their commands to end.
const LEAVE: Duration = Duration::from_secs(5);

/// What was opened before anything was changed.
struct Opened {
    listeners: Vec<Listener>,
    /// Portals that take the place of others at the same port: they can only listen when those do no more.
    later: Vec<PortalConfig>,
    agent: Option<Agent>,
    metrics: Option<metrics::Server>,
    log: logging::Opened,
    luns: Vec<(String, Arc<Lun>)>,
}

impl Service {
    /// Reads the configuration again. A faulty one changes nothing.
    pub(super) async fn reload(&mut self, cli: &Cli, given: &Given) {
        let fresh = Config::load(cli, given);
        let plan = fresh.map(|mut fresh| {
            if self.is_given {
                // The service manager's sockets stay whatever the file says.
                fresh.portals.clone_from(&self.config.portals);
            }
            Plan::new(&self.config, fresh)
        });
        let opened = match plan {
            Ok(plan) => self.open(&plan).await.map(|opened| (plan, opened)),
            Err(failure) => Err(failure),
        };
        match opened {
            Ok((plan, opened)) => self.apply(plan, opened).await,
            Err(failure) => {
                // Whoever moved the log file away waits for this all the same.
                if let Ok(log) = logging::open(&self.config.log) {
                    logging::change(log);
                }
                let reason = failure.summary();
                tracing::error!(reason, "the configuration was not read again, and nothing was changed");
            }
        }
    }

    /// Everything that can fail.
    async fn open(&self, plan: &Plan) -> Result<Opened, Failure> {
        let (mut listeners, mut later) = (Vec::new(), Vec::new());
        for portal in &plan.fresh.portals {
            if self.portals.iter().any(|old| old.config.address == portal.address) {
                continue;
            }
            let leaves = |old: &PortalConfig| !plan.fresh.portals.iter().any(|new| new.address == old.address);
            match listen::bind(portal) {
                Ok(listener) => listeners.push(listener),
                Err(failure) => {
                    let port = portal.address.port();
                    let mut others = self.portals.iter().map(|old| &old.config);
                    if !others.any(|old| leaves(old) && old.address.port() == port) {
                        return Err(failure);
                    }
                    later.push(portal.clone());
                }
            }
        }
        let agent = match (&self.config.snmp, &plan.fresh.snmp) {
            // The address is this program's until the old agent ends.
            (Some(old), Some(new)) if old.listen == new.listen => None,
            (old, Some(new)) if old.as_ref() != Some(new) => Some(Agent::bind(new.clone())?),
            _ => None,
        };
        let metrics = plan.fresh.metrics.filter(|wanted| self.config.metrics != Some(*wanted));
        let metrics = metrics.map(metrics::Server::bind).transpose()?;
        let log = logging::open(&plan.fresh.log)?;
        // Last: it may make images.
        let luns = disks::open(&self.node, plan.wanted(Change::Added), self.away(plan)).await?;
        Ok(Opened { listeners, later, agent, metrics, log, luns })
    }

    /// The disks that are not there and are wanted still.
    fn away(&self, plan: &Plan) -> Vec<DiskConfig> {
        let waiting = self.node.waiting();
        let stay = waiting.iter().filter(|waiting| plan.keeps_disk(&waiting.target, waiting.number));
        stay.map(|waiting| waiting.config.clone()).collect()
    }

    async fn apply(&mut self, plan: Plan, opened: Opened) {
        let Opened { listeners, later, agent, metrics, log, mut luns } = opened;
        logging::change(log);
        for what in plan.at_next_start(&self.config) {
            tracing::warn!(what, "this changes at the next start");
        }
        let old = self.node.catalog();
        let (kept, gone): (Vec<_>, Vec<_>) =
            old.offers.iter().cloned().partition(|offer| plan.keeps_target(&offer.target.name));
        // From here on nobody comes in by what is gone.
        let portals_gone = self.leave_portals(&plan);
        self.node.publish(Catalog { offers: kept.clone(), ..Catalog::clone(&old) });
        drop(old);
        self.node.leave_portals(|id| portals_gone.contains(&id));
        for offer in &gone {
            offer.target.close();
        }
        let away: Vec<_> = self.node.waiting().iter().map(|waiting| (waiting.target.clone(), waiting.number)).collect();
        self.node.waiting().retain(|waiting| plan.keeps_disk(&waiting.target, waiting.number));
        disks::remove(&kept, &plan).await;
        for offer in gone {
            end(offer.target).await;
        }
        // What stood in the way is gone.
        let mut fresh = plan.fresh.clone();
        let (awaited, reopened): (Vec<_>, Vec<_>) = plan
            .wanted(Change::Reopened)
            .into_iter()
            .partition(|(target, number, _)| away.contains(&(target.clone(), *number)));
        let mut lost = Vec::new();
        match disks::open(&self.node, reopened, self.away(&plan)).await {
            Ok(more) => luns.extend(more),
            Err(failure) => {
                let mut before = plan.reopened_before(&self.config);
                before.retain(|(target, number, _)| !away.contains(&(target.clone(), *number)));
                let (restored, gone) = disks::open_what_can_be(&self.node, before.clone()).await;
                let stays = if gone.is_empty() { "as it was" } else { "not at all" };
                tracing::error!(%failure, stays, "a disk cannot be had: correct this and read the configuration again");
                before.extend(awaited.iter().cloned());
                plan.put_back(&mut fresh, &before);
                luns.extend(restored);
                lost.extend(gone);
            }
        }
        let (came, gone) = disks::open_what_can_be(&self.node, awaited).await;
        luns.extend(came);
        lost.extend(gone);
        for target in &mut fresh.targets {
            target.disks.retain(|(number, _)| !lost.contains(&(target.name.clone(), *number)));
        }
        for portal in later {
            match listen::bind(&portal) {
                Ok(listener) => self.start_portal(listener),
                Err(failure) => {
                    tracing::error!(%failure, "a portal is not there: correct this and read the configuration again");
                    fresh.portals.retain(|other| other.address != portal.address);
                }
            }
        }
        for listener in listeners {
            self.start_portal(listener);
        }
        self.offer(&fresh, &kept, luns);
        disks::resize(&self.node, &fresh);
        self.dismiss();
        self.change_agent(&fresh, agent);
        self.change_metrics(&fresh, metrics);
        super::advise(&fresh);
        let (targets, disks, portals) = (fresh.targets.len(), fresh.disks().count(), fresh.portals.len());
        tracing::info!(targets, disks, portals, changes = plan.describe(), "the configuration was read again");
        self.config = fresh;
    }

    fn start_portal(&mut self, listener: Listener) {
        let address = listener.address;
        if let Err(error) = self.listen(listener) {
            tracing::error!(%address, %error, "nobody can connect to this address");
        }
    }

    /// Listens no longer where nobody wants it.
    fn leave_portals(&mut self, plan: &Plan) -> Vec<crate::node::PortalId> {
        let stays = |old: &PortalConfig| plan.fresh.portals.iter().any(|new| new.address == old.address);
        let (kept, gone) = std::mem::take(&mut self.portals).into_iter().partition(|portal| stays(&portal.config));
        self.portals = kept;
        let gone: Vec<super::Listening> = gone;
        for portal in &gone {
            portal.task.abort();
        }
        gone.iter().map(|portal| portal.id).collect()
    }

    /// Offers all that there is now.
    fn offer(&mut self, fresh: &Config, kept: &[Offer], mut opened: Vec<(String, Arc<Lun>)>) {
        for portal in &mut self.portals {
            let same = fresh.portals.iter().find(|new| new.address == portal.config.address);
            portal.config.name = same.and_then(|new| new.name.clone());
        }
        let portals: Vec<_> = self.portals.iter().map(super::Listening::portal).collect();
        let waiting = self.node.waiting().clone();
        let offers = fresh.targets.iter().map(|config| {
            let own = opened.extract_if(.., |(target, _)| *target == config.name).map(|(_, lun)| lun);
            let awaited: Vec<_> =
                waiting.iter().filter(|one| one.target == config.name).map(|one| one.number).collect();
            let target = match kept.iter().find(|offer| offer.target.name == config.name) {
                Some(offer) => {
                    disks::add(&offer.target, own.collect(), &awaited);
                    Arc::clone(&offer.target)
                }
                None => Arc::new(Target::new(config.name.clone(), Luns::new(own).awaiting(awaited.into_iter()))),
            };
            build::offer(config, target, &portals)
        });
        let offers = offers.collect();
        let settings = build::settings(fresh);
        self.node.publish(Catalog {
            offers,
            portals,
            discovery: fresh.discovery.clone(),
            settings,
            trace: fresh.log.trace.clone(),
        });
    }

    /// Those have to leave who might not come in any more.
    fn dismiss(&self) {
        for offer in &self.node.catalog().offers {
            offer.target.dismiss(|who| {
                let admission = offer.access.admit(&who.initiator);
                admission == iesp_iscsi::login::Admission::Forbidden || !offer.is_at(who.portal)
            });
        }
    }

    fn change_agent(&mut self, fresh: &Config, agent: Option<Agent>) {
        if fresh.snmp == self.config.snmp {
            return;
        }
        if let Some(task) = self.agent.take() {
            task.abort();
        }
        if agent.is_some() || fresh.snmp.is_none() {
            return self.answer_snmp(agent);
        }
        // The same address: it is free when the task has let go of it.
        if let Some(config) = fresh.snmp.clone() {
            let node = Arc::clone(&self.node);
            self.agent = Some(tokio::spawn(async move {
                tokio::task::yield_now().await;
                match Agent::bind(config) {
                    Ok(agent) => drop(agent.serve(node).await),
                    Err(failure) => tracing::error!(%failure, "SNMP cannot be answered"),
                }
            }));
        }
    }

    fn change_metrics(&mut self, fresh: &Config, server: Option<metrics::Server>) {
        if fresh.metrics == self.config.metrics {
            return;
        }
        if let Some(task) = self.metrics.take() {
            task.abort();
        }
        self.serve_metrics(server);
    }
}

/// Waits for the end of a target's sessions, then flushes its disks and lets go of them.
async fn end(target: Arc<Target>) {
    let deadline = Instant::now() + LEAVE;
    while target.has_sessions() {
        if Instant::now() > deadline {
            target.close_sessions("the target is served no longer");
        }
        if Instant::now() > deadline + LEAVE {
            tracing::error!(target = target.name, "a session of a target that was removed does not end");
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let luns: Vec<_> = target.luns().iter().cloned().collect();
    flush(&target.name, luns).await;
    tracing::info!(target = target.name, "the target is served no longer");
}

/// Flushes disks that are served no longer, and lets go of them.
async fn flush(target: &str, luns: Vec<Arc<Lun>>) {
    let luns = luns.into_iter().map(|lun| (target.to_owned(), lun)).collect();
    if let Err(error) = tokio::task::spawn_blocking(move || flush_all(luns)).await {
        tracing::error!(%error, "disks that were removed were not flushed");
    }
}
