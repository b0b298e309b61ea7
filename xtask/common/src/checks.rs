//! Single checks, as steps of `cargo xtask ci` leave them.

use serde::{Deserialize, Serialize};

/// One check and what came of it.
#[derive(Debug, Serialize, Deserialize)]
pub struct CheckReport {
    /// Its name.
    pub name: String,
    /// Why it failed; `None` when it passed.
    pub failure: Option<String>,
    /// How long it took, in seconds.
    pub seconds: f64,
}
