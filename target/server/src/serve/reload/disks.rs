//! Disks that come, go and change their size.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::plan::Plan;
use super::{LEAVE, build, flush};
use crate::config::{Config, DiskConfig, Source};
use crate::disk::{self, Absence, Claim, Place, Wanted};
use crate::failure::Failure;
use crate::luns::{Lun, Luns};
use crate::node::{Node, Offer};
use crate::target::Target;

/// Opens disks, all or none, each with the name of its target; those that stay away keep their identities. It may take its
/// time: others are served meanwhile.
pub async fn open(
    node: &Arc<Node>,
    wanted: Vec<(String, u16, DiskConfig)>,
    away: Vec<DiskConfig>,
) -> Result<Vec<(String, Arc<Lun>)>, Failure> {
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    let node = Arc::clone(node);
    let opening = tokio::task::spawn_blocking(move || {
        let claims = Claim::of(away.iter());
        let place = Place { claims: &claims, ..node.place() };
        let all = wanted.iter().map(|(target, number, config)| Wanted { target, number: *number, config });
        let luns = disk::open_all(&all.collect::<Vec<_>>(), place, Absence::Refused)?;
        let named = wanted.iter().map(|(target, ..)| target.clone()).zip(luns);
        named.map(|(target, lun)| Ok((target, lun?))).collect()
    });
    opening.await.unwrap_or_else(|error| Err(Failure::runtime(format!("disks were not opened: {error}"))))
}

/// Opens those of these disks that can be had, each by itself where need be; those that are away are tried again. Those that
/// are served, with the names of their targets, and what cannot be had: by target and number.
pub async fn open_what_can_be(
    node: &Arc<Node>,
    wanted: Vec<(String, u16, DiskConfig)>,
) -> (Vec<(String, Arc<Lun>)>, Vec<(String, u16)>) {
    let opening = tokio::task::spawn_blocking({
        let (node, wanted) = (Arc::clone(node), wanted.clone());
        move || {
            let one_by_one = wanted.iter().map(|(target, number, config)| {
                let one = Wanted { target, number: *number, config };
                disk::open_all(&[one], node.place(), Absence::Accepted)
                    .map(|mut opened| opened.pop().unwrap_or_else(|| Err(Failure::runtime("it was not opened"))))
            });
            one_by_one.collect::<Vec<_>>()
        }
    });
    let opened = opening.await.unwrap_or_else(|error| {
        let failure = Failure::runtime(format!("disks were not opened: {error}"));
        wanted.iter().map(|_| Err(failure.clone())).collect()
    });
    let offers = &node.catalog().offers;
    let served: Vec<_> =
        offers.iter().flat_map(|offer| offer.target.luns().iter().cloned().collect::<Vec<_>>()).collect();
    let (mut luns, mut lost) = (Vec::new(), Vec::new());
    for ((target, number, config), opened) in wanted.iter().zip(opened) {
        match opened {
            Ok(Ok(lun)) => luns.push((target.clone(), lun)),
            Ok(Err(failure)) => {
                let wanted = Wanted { target, number: *number, config };
                let (lun, waiting) = build::await_disk(wanted, &failure, &node.statistics, served.iter());
                luns.extend(lun.map(|lun| (target.clone(), lun)));
                node.waiting().push(waiting);
            }
            Err(failure) => {
                tracing::error!(target, lun = *number, %failure, "a disk is served no longer");
                lost.push((target.clone(), *number));
            }
        }
    }
    (luns, lost)
}

/// Serves no longer what targets that stay have lost: its commands end first, then it is flushed.
pub async fn remove(kept: &[Offer], plan: &Plan) {
    for offer in kept {
        let target = &offer.target;
        let (stay, go): (Vec<_>, Vec<_>) =
            target.luns().iter().cloned().partition(|lun| plan.keeps_disk(&target.name, lun.number));
        let awaited: Vec<_> = target.luns().awaited().filter(|number| plan.keeps_disk(&target.name, *number)).collect();
        if go.is_empty() && awaited.len() == target.luns().awaited().count() {
            continue;
        }
        let (quiet, mut all_quiet) = mpsc::channel(1);
        target.change_luns(Luns::new(stay).awaiting(awaited.into_iter()), &quiet);
        drop(quiet);
        // Nothing is ever sent: the channel ends when all of them are quiet.
        if tokio::time::timeout(LEAVE, all_quiet.recv()).await.is_err() {
            target.hurry();
            if tokio::time::timeout(LEAVE, all_quiet.recv()).await.is_err() {
                tracing::error!(target = target.name, "commands for a disk that was removed do not end");
            }
        }
        flush(&target.name, go).await;
    }
}

/// A target gets more disks, and may be told to wait for others.
pub fn add(target: &Target, luns: Vec<Arc<Lun>>, awaited: &[u16]) {
    let (old, is_more) = (target.luns(), !luns.is_empty());
    let all = Luns::new(old.iter().cloned().chain(luns)).awaiting(awaited.iter().copied());
    if !is_more && all.awaited().eq(old.awaited()) {
        return;
    }
    let (quiet, _) = mpsc::channel(1);
    target.change_luns(all, &quiet);
}

/// Looks at the sizes of all disks, and gives those in memory the size that is wanted.
pub fn resize(node: &Node, config: &Config) {
    for offer in &node.catalog().offers {
        let target = config.targets.iter().find(|target| target.name == offer.target.name);
        for lun in offer.target.luns().iter() {
            let disk = target.and_then(|target| target.disks.iter().find(|(number, _)| *number == lun.number));
            let wanted = match disk.map(|(_, disk)| &disk.source) {
                Some(Source::Ram(len)) => Some(*len),
                _ => None,
            };
            resize_one(&offer.target.name, lun, wanted);
        }
    }
}

fn resize_one(target: &str, lun: &Lun, wanted: Option<u64>) {
    let before = lun.bytes(lun.unit.blocks());
    if let Some(wanted) = wanted.filter(|wanted| *wanted < before && wanted % u64::from(lun.block_size()) == 0) {
        // Nobody may ask for what is going.
        lun.unit.resize(wanted >> lun.block_shift);
    }
    match lun.backend.resize(wanted) {
        Ok(len) if len == before => {}
        Ok(len) if len == 0 || len % u64::from(lun.block_size()) != 0 => {
            let (lun, block) = (lun.number, lun.block_size());
            tracing::error!(
                target,
                lun,
                len,
                block,
                "the disk's new size is no number of whole blocks: it stays as it was"
            );
        }
        Ok(len) => {
            lun.unit.resize(len >> lun.block_shift);
            tracing::info!(target, lun = lun.number, before, len, "the disk has another size");
        }
        Err(error) => tracing::error!(target, lun = lun.number, %error, "the disk's size is not known"),
    }
}
