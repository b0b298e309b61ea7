//! Images that are deleted while they are served: nothing fails, and everything is gone at the end.

use std::sync::Arc;
use std::time::Duration;

use crate::node::Node;

/// How often they are looked at.
const EVERY: Duration = Duration::from_secs(3);

/// Looks at each disk's file, until the task is aborted.
pub async fn watch(node: Arc<Node>) {
    loop {
        tokio::time::sleep(EVERY).await;
        for offer in &node.catalog().offers {
            offer.target.luns().iter().for_each(|lun| lun.trouble.look(lun));
        }
    }
}
