//! What a disk is, whatever it is called: two names of one thing are two paths to one disk, never two disks.

use std::path::{Path, PathBuf};

use crate::backend::ExportKey;
use crate::config::Source;
use crate::system::{self, FileId};

/// What a disk's blocks are kept in.
#[derive(Debug, Clone)]
pub enum Thing {
    /// A file or a block device, by the system's number for it.
    File(FileId),
    /// An export of a server.
    Export(ExportKey),
    /// Memory: each is its own.
    Memory,
    /// What is not there, by where it would be.
    Missing(PathBuf),
}

impl Thing {
    /// What this is now. It may ask for the addresses of a name.
    pub fn of(source: &Source) -> Self {
        match source {
            Source::Ram(_) => Self::Memory,
            Source::Path(path) => match system::file_id(path) {
                Ok(id) => Self::File(id),
                Err(_) => Self::Missing(super::identity::real(path)),
            },
            Source::Nbd { address, .. } => Self::Export(address.key()),
        }
    }

    /// Whether both are one.
    pub fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::File(one), Self::File(other)) => one == other,
            (Self::Export(one), Self::Export(other)) => one.is_same(other),
            (Self::Missing(one), Self::Missing(other)) => one == other,
            _ => false,
        }
    }
}

/// Whether two sources are one thing now. It may ask for the addresses of a name.
pub fn is_same(one: &Source, other: &Source) -> bool {
    match (one, other) {
        (Source::Path(one), Source::Path(other)) => is_same_path(one, other),
        (Source::Nbd { address: one, .. }, Source::Nbd { address: other, .. }) => {
            one == other || one.key().is_same(&other.key())
        }
        _ => false,
    }
}

/// Whether two sources may be one thing by different names: what is on the network is asked only when it is opened.
pub fn may_be_same(one: &Source, other: &Source) -> bool {
    match (one, other) {
        (Source::Nbd { address: one, .. }, Source::Nbd { address: other, .. }) => one.export == other.export,
        _ => is_same(one, other),
    }
}

fn is_same_path(one: &Path, other: &Path) -> bool {
    one == other || system::is_same(one, other) || super::identity::real(one) == super::identity::real(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn export(text: &str) -> Thing {
        Thing::Export(crate::backend::NbdAddress::parse(text).expect("an address").key())
    }

    #[test]
    fn an_export_by_all_its_names() {
        let one = export("nbd://127.0.0.1:10809/disk");
        for same in ["nbd://localhost/disk", "nbd://127.0.0.1/disk", "nbds://127.0.0.1/disk"] {
            assert!(one.is(&export(same)), "{same}");
        }
        for other in ["nbd://127.0.0.1:10810/disk", "nbd://127.0.0.1/", "nbd://127.0.0.2/disk"] {
            assert!(!one.is(&export(other)), "{other}");
        }
        assert!(!Thing::Memory.is(&Thing::Memory));
    }

    #[cfg(unix)]
    #[test]
    fn a_file_by_all_its_names() {
        let folder = tempfile::tempdir().expect("a folder");
        let name = |name: &str| folder.path().join(name);
        std::fs::write(name("disk"), "").expect("a file");
        std::os::unix::fs::symlink(name("disk"), name("link")).expect("a link");
        std::fs::hard_link(name("disk"), name("hard")).expect("a link");
        std::fs::copy(name("disk"), name("copy")).expect("a copy");
        let thing = |name: &str| Thing::of(&Source::Path(folder.path().join(name)));
        for same in ["link", "hard", "./disk"] {
            assert!(thing("disk").is(&thing(same)), "{same}");
        }
        assert!(!thing("disk").is(&thing("copy")));
        assert!(thing("gone").is(&thing("./gone")) && !thing("gone").is(&thing("other")));
    }
}
