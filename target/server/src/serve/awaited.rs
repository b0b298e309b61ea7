//! Disks that were not there at the start: tried again until they are, then served.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use super::Service;
use crate::disk::{self, Absence, Wanted};
use crate::luns::{Lun, Luns};
use crate::node::{Node, Waiting};

/// The pause between two tries.
const EVERY: Duration = Duration::from_secs(1);

/// Disks that came, each with what was wanted. It never ends where none comes; nothing is lost where it is dropped.
pub async fn next(node: Arc<Node>) -> Vec<(Waiting, Arc<Lun>)> {
    loop {
        tokio::time::sleep(EVERY).await;
        let waiting = node.waiting().clone();
        if waiting.is_empty() {
            continue;
        }
        let trying = Arc::clone(&node);
        let tried = tokio::task::spawn_blocking(move || {
            waiting.into_iter().filter_map(|one| attempt(&trying, one)).collect::<Vec<_>>()
        });
        match tried.await {
            Ok(came) if came.is_empty() => {}
            Ok(came) => return came,
            Err(error) => tracing::error!(%error, "disks that are not there are not tried again"),
        }
    }
}

/// Tries one: each by itself, as none waits for another.
fn attempt(node: &Node, waiting: Waiting) -> Option<(Waiting, Arc<Lun>)> {
    let wanted = Wanted { target: &waiting.target, number: waiting.number, config: &waiting.config };
    let failure = match disk::open_all(&[wanted], node.place(), Absence::Accepted).map(|mut luns| luns.pop()) {
        Ok(Some(Ok(lun))) => return Some((waiting, lun)),
        Ok(Some(Err(failure))) | Err(failure) => failure,
        Ok(None) => return None,
    };
    let reason = failure.to_string();
    if let Some(known) = node.waiting().iter_mut().find(|known| known.is_at(&waiting.target, waiting.number))
        && known.reason != reason
    {
        let (target, lun) = (&known.target, known.number);
        tracing::error!(target, lun, reason, "a disk is still not there");
        known.reason = reason;
    }
    None
}

impl Service {
    /// Serves disks that came. Initiators learn of them by unit attentions.
    pub(super) fn welcome(&self, came: Vec<(Waiting, Arc<Lun>)>) {
        for (waiting, lun) in came {
            let Waiting { target: name, number, since, .. } = waiting;
            // It may be wanted no longer, or in another way.
            let still = |known: &Waiting| known.is_at(&name, number) && known.config == lun.config;
            if !node_forgets(&self.node, still) {
                continue;
            }
            let catalog = self.node.catalog();
            let Some(offer) = catalog.offers.iter().find(|offer| offer.target.name == name) else { continue };
            let (disk, seconds) = (lun.config.source.to_string(), since.elapsed().as_secs());
            let old = offer.target.luns();
            let others = old.iter().filter(|other| other.number != number).cloned();
            let luns = Luns::new(others.chain([lun])).awaiting(old.awaited());
            let (quiet, _) = mpsc::channel(1);
            offer.target.change_luns(luns, &quiet);
            tracing::warn!(target = name, lun = number, disk, seconds, "a disk that was not there is served now");
        }
    }
}

/// Takes what is waited for from the list; whether it was there.
fn node_forgets(node: &Node, is_it: impl Fn(&Waiting) -> bool) -> bool {
    let mut waiting = node.waiting();
    let before = waiting.len();
    waiting.retain(|known| !is_it(known));
    waiting.len() < before
}
