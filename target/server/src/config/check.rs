//! `iesp check FILE`.

use std::path::Path;

use super::file::{self, Unreadable};
use crate::disk;
use crate::failure::Failure;

/// Says whether a file is right: all that is wrong with it; or what it asks for, and what is better done
/// in another way.
///
/// # Errors
/// Everything that is wrong.
pub fn check(path: &Path) -> Result<(), Failure> {
    match file::read(path) {
        Ok(config) => {
            config.check_files().map_err(|failure| Failure::runtime(failure.to_string()))?;
            let count = |number: usize, what: &str| format!("{number} {what}{}", if number == 1 { "" } else { "s" });
            println!(
                "{}: right: {}, {}, {}",
                path.display(),
                count(config.targets.len(), "target"),
                count(config.disks().count(), "disk"),
                count(config.portals.len(), "address").replace("addresss", "addresses")
            );
            for failure in disk::look_at_all(config.disks()) {
                println!("warning: {failure}");
            }
            for advice in config.advice() {
                println!("{}: warning: {advice}", path.display());
            }
            Ok(())
        }
        Err(Unreadable::Io(message)) => Err(Failure::runtime(message)),
        Err(Unreadable::Wrong(document)) => Err(Failure::check(document.render().trim_end())),
    }
}
