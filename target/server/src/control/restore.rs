//! Giving a disk back whose flush failed.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::node::Node;

/// Gives the disk of this name back, where it is served; tells what became of it.
pub async fn restore(node: &Node, disk: &str) -> Value {
    let catalog = node.catalog();
    let luns = catalog.offers.iter().flat_map(|offer| offer.target.luns().iter().cloned().collect::<Vec<_>>());
    let backends: Vec<_> =
        luns.filter(|lun| lun.config.source.to_string() == disk).map(|lun| Arc::clone(&lun.backend)).collect();
    if backends.is_empty() {
        return json!({ "error": format!("{disk}: no such disk is served; `iesp status` lists them") });
    }
    // A sync may take its time.
    let restoring = tokio::task::spawn_blocking(move || {
        backends.iter().try_fold(false, |restored, backend| Ok::<_, iesp_scsi::IoError>(backend.restore()? || restored))
    });
    match restoring.await {
        Ok(Ok(restored)) => json!({ "disk": disk, "restored": restored }),
        Ok(Err(error)) => json!({ "error": format!("{disk}: it cannot be flushed still ({error:?})") }),
        Err(error) => json!({ "error": format!("{disk}: {error}") }),
    }
}
