//! What a process says of itself.

use std::path::PathBuf;
use std::time::Instant;

use serde_json::{Value, json};

use crate::node::{Catalog, Node, Offer};
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
    let targets: Vec<_> = catalog.offers.iter().map(|offer| target(&catalog, offer, &totals.disks)).collect();
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

fn target(catalog: &Catalog, offer: &Offer, totals: &[DiskTotals]) -> Value {
    let at = catalog.portals.iter().filter(|portal| offer.is_at(portal.id));
    let luns = offer.target.luns();
    let luns = luns.iter().map(|lun| {
        let facts = lun.backend.facts();
        let counted = totals.get(usize::from(lun.row)).copied().unwrap_or_default();
        json!({
            "lun": lun.number,
            "source": lun.config.source.to_string(),
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
        "luns": luns.collect::<Vec<_>>(),
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
