//! How the disks are, looked at again and again: one that goes away, fails or comes back is told of in the log, and an image
//! that is deleted while it is served, as nothing else tells of that before everything is gone at the end.

use std::sync::Arc;
use std::time::Duration;

use crate::node::Node;

/// How often they are looked at.
const EVERY: Duration = Duration::from_secs(1);

/// Looks at each disk, until the task is aborted.
pub async fn watch(node: Arc<Node>) {
    loop {
        tokio::time::sleep(EVERY).await;
        for offer in &node.catalog().offers {
            offer.target.luns().iter().for_each(|lun| lun.trouble.look(lun));
        }
    }
}
