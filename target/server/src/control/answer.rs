//! What a process says of itself.

use std::path::PathBuf;
use std::time::Instant;

use serde_json::{Value, json};

use crate::node::{Catalog, Node, Offer, Waiting};
use crate::statistics::DiskTotals;

/// What the process knows of itself beside its targets.
#[derive(Debug)]
pub struct About {
    /// When it began to serve.
    pub since: Instant,
    /// The configuration file.
    pub config: Option<PathBuf>,
    /// Threads that serve connections.
    pub threads: usize,
}

/// What it serves, and what it has counted.
pub fn status(node: &Node, about: &About) -> Value {
    let catalog = node.catalog();
    let totals = node.statistics.totals();
    let waiting = node.waiting().clone();
    let targets = catalog.offers.iter().map(|offer| target(&catalog, offer, &waiting, &totals.disks));
    let targets: Vec<_> = targets.collect();
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "pid": std::process::id(),
        "uptime": about.since.elapsed().as_secs(),
        "config": about.config,
        "threads": about.threads,
        "portals": catalog.portals.iter().map(|portal| portal.address.to_string()).collect::<Vec<_>>(),
        "targets": targets,
        "connections": node.connections(),
        "totals": {
            "units": totals.units,
            "data_in": totals.data_in,
            "data_out": totals.data_out,
            "logins": totals.logins,
            "logouts": totals.logouts,
            "failures": totals.failures,
            "digest_errors": totals.digest_errors,
            "format_errors": totals.format_errors,
            "waited_ms": totals.waited_nanos / 1_000_000,
        },
    })
}

fn target(catalog: &Catalog, offer: &Offer, waiting: &[Waiting], totals: &[DiskTotals]) -> Value {
    let at = catalog.portals.iter().filter(|portal| offer.is_at(portal.id));
    let luns = offer.target.luns();
    let awaited = waiting.iter().filter(|waiting| waiting.target == offer.target.name);
    let is_awaited = |number: u16| waiting.iter().any(|waiting| waiting.is_at(&offer.target.name, number));
    let awaited = awaited.map(|waiting| {
        json!({
            "lun": waiting.number,
            "source": waiting.config.source.to_string(),
            "state": "waiting",
            "state_seconds": waiting.since.elapsed().as_secs(),
            "state_reason": waiting.reason,
            "size": 0,
            "block_size": waiting.config.block_size,
            "read_only": waiting.config.read_only,
            "reads": 0,
            "read_bytes": 0,
            "writes": 0,
            "written_bytes": 0,
        })
    });
    let luns = luns.iter().filter(|lun| !is_awaited(lun.number)).map(|lun| {
        let state = lun.trouble.state(lun);
        let facts = lun.backend.facts();
        let counted = totals.get(usize::from(lun.row)).copied().unwrap_or_default();
        json!({
            "lun": lun.number,
            "source": lun.config.source.to_string(),
            "state": state.condition.name(),
            "state_seconds": state.since.elapsed().as_secs(),
            "state_reason": state.condition.reason(),
            "size": lun.bytes(lun.unit.blocks()),
            "block_size": lun.block_size(),
            "read_only": facts.read_only,
            "reads": counted.reads,
            "read_bytes": counted.read_bytes,
            "writes": counted.writes,
            "written_bytes": counted.written_bytes,
        })
    });
    json!({
        "name": offer.target.name,
        "alias": offer.alias,
        "portals": at.map(|portal| portal.address.to_string()).collect::<Vec<_>>(),
        "chap": !offer.access.users.is_empty(),
        "sessions": offer.target.sessions().len(),
        "luns": luns.chain(awaited).collect::<Vec<_>>(),
    })
}

/// Who is there.
pub fn sessions(node: &Node) -> Value {
    let catalog = node.catalog();
    let mut sessions = Vec::new();
    for offer in &catalog.offers {
        for who in offer.target.sessions() {
            let counted = node.counted(who.tsih).unwrap_or_default();
            sessions.push(json!({
                "target": offer.target.name,
                "initiator": who.initiator,
                "isid": who.isid.iter().map(|byte| format!("{byte:02x}")).collect::<String>(),
                "tsih": who.tsih,
                "peer": who.peer.to_string(),
                "portal": who.local.to_string(),
                "seconds": who.since.elapsed().as_secs(),
                "header_digest": who.digests.header,
                "data_digest": who.digests.data,
                "units": counted.units,
                "data_in": counted.data_in,
                "data_out": counted.data_out,
            }));
        }
    }
    json!({ "pid": std::process::id(), "sessions": sessions })
}
