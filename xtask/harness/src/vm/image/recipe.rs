//! `ci/guest/*.toml`: what a guest is made of.

use anyhow::{Context, Result};
use serde::Deserialize;

/// What the guest is made of.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// The package that depends on the newest kernel.
    pub kernel: String,
    /// All other packages.
    pub packages: Vec<String>,
    /// Patterns of programs; what they link comes along.
    pub programs: Vec<String>,
    /// Patterns of libraries that no program names; what they link comes along.
    pub libraries: Vec<String>,
    /// Patterns of other files.
    pub files: Vec<String>,
    /// Kernel modules; what they depend on comes along.
    pub modules: Vec<String>,
}

impl Recipe {
    /// Reads a recipe.
    ///
    /// # Errors
    /// When the text is no recipe.
    pub fn parse(text: &str) -> Result<Self> {
        toml::from_str(text).context("no recipe")
    }
}
