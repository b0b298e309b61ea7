//! Disks that were not there at the start: tried again until they are, then served.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Interval, MissedTickBehavior};

use super::Service;
use crate::disk::{self, Absence, Claim, Place, Wanted};
use crate::luns::{Lun, Luns};
use crate::node::{Node, Waiting};

/// The pause between two tries.
const EVERY: Duration = Duration::from_secs(1);

/// When to try, however often [`next`] is dropped meanwhile.
pub fn tries() -> Interval {
    let mut tries = tokio::time::interval(EVERY);
    tries.set_missed_tick_behavior(MissedTickBehavior::Delay);
    tries
}

/// Disks that came, each with what was wanted. It never ends where none comes; nothing is lost where it is dropped.
pub async fn next(node: Arc<Node>, tries: &mut Interval) -> Vec<(Waiting, Arc<Lun>)> {
    loop {
        tries.tick().await;
        let waiting = node.waiting().clone();
        if waiting.is_empty() {
            continue;
        }
        let trying = Arc::clone(&node);
        match tokio::task::spawn_blocking(move || attempt(&trying, waiting)).await {
            Ok(came) if came.is_empty() => {}
            Ok(came) => return came,
            Err(error) => tracing::error!(%error, "disks that are not there are not tried again"),
        }
    }
}

/// Tries all of them at the same time; where one of them is wrong, each by itself.
fn attempt(node: &Node, waiting: Vec<Waiting>) -> Vec<(Waiting, Arc<Lun>)> {
    let wanted = waiting.iter().map(|one| Wanted { target: &one.target, number: one.number, config: &one.config });
    let wanted: Vec<_> = wanted.collect();
    let claims = Claim::of(waiting.iter().map(|one| &one.config));
    let place = Place { claims: &claims, ..node.place() };
    let open = |wanted: &[Wanted<'_>]| disk::open_all(wanted, place, Absence::Accepted);
    let tried = open(&wanted).unwrap_or_else(|_| {
        let alone = wanted.iter().map(|one| open(&[*one]).unwrap_or_else(|failure| vec![Err(failure)]));
        alone.flatten().collect()
    });
    let came = waiting.iter().zip(tried).filter_map(|(one, tried)| match tried {
        Ok(lun) => Some((one.clone(), lun)),
        Err(failure) => {
            remark(node, one, &failure.to_string());
            None
        }
    });
    came.collect()
}

/// Says why a disk is not there, where that is news.
fn remark(node: &Node, waiting: &Waiting, reason: &str) {
    let mut all = node.waiting();
    let known = all.iter_mut().find(|known| known.is_at(&waiting.target, waiting.number));
    if let Some(known) = known.filter(|known| known.reason != reason) {
        tracing::error!(target = known.target, lun = known.number, reason, "a disk is still not there");
        reason.clone_into(&mut known.reason);
    }
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
