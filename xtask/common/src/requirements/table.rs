//! The one table of what the tests need beyond cargo, and how each distribution packages it.

use crate::cross::Target;

/// A family of distributions, by its package manager.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packager {
    /// Debian, Ubuntu and their derivatives.
    Apt,
    /// Fedora and the RHEL family.
    Dnf,
    /// Arch Linux.
    Pacman,
}

/// How to see whether a requirement is met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probe {
    /// A program of this name can be started.
    Program(&'static str),
    /// pkg-config knows a library of this name, headers included.
    PkgConfig(&'static str),
    /// A file that matches one of these glob patterns.
    File(&'static [&'static str]),
    /// A standard library for another system: rustup's, or one that Debian's compiler builds from source.
    Std(Target),
    /// A compiler and a linker for these processors.
    Compiler(&'static [&'static str]),
}

/// Something that the tests need.
#[derive(Clone, Copy, Debug)]
pub struct Requirement {
    /// How to see that it is there.
    pub probe: Probe,
    /// What it is needed for.
    pub why: &'static str,
    /// Debian's packages.
    pub apt: &'static [&'static str],
    /// Fedora's packages.
    pub dnf: &'static [&'static str],
    /// Arch's packages; empty where it has none.
    pub pacman: &'static [&'static str],
    /// What to know after the installation.
    pub note: Option<&'static str>,
}

impl Requirement {
    /// The packages that bring it, on distributions of this family.
    pub fn packages(&self, packager: Packager) -> &'static [&'static str] {
        match packager {
            Packager::Apt => self.apt,
            Packager::Dnf => self.dnf,
            Packager::Pacman => self.pacman,
        }
    }
}

/// What the tests need.
pub const REQUIREMENTS: &[Requirement] = &[
    Requirement {
        probe: Probe::Program("cc"),
        why: "cargo links with it; the header digest run builds a small library with it",
        apt: &["gcc", "libc6-dev"],
        dnf: &["gcc"],
        pacman: &["gcc"],
        note: None,
    },
    Requirement {
        probe: Probe::Program("pkg-config"),
        why: "finds libiscsi",
        apt: &["pkg-config"],
        dnf: &["pkgconf-pkg-config"],
        pacman: &["pkgconf"],
        note: None,
    },
    Requirement {
        probe: Probe::PkgConfig("libiscsi"),
        why: "testkit's load generator is built on it",
        apt: &["libiscsi-dev"],
        dnf: &["libiscsi-devel"],
        pacman: &["libiscsi"],
        note: None,
    },
    Requirement {
        probe: Probe::Program("iscsi-test-cu"),
        why: "conformance: libiscsi's test-tool",
        apt: &["libiscsi-bin"],
        dnf: &["libiscsi-utils"],
        pacman: &["libiscsi"],
        note: None,
    },
    Requirement {
        probe: Probe::Program("iscsi-perf"),
        why: "clients: libiscsi's small tools",
        apt: &["libiscsi-bin"],
        dnf: &["libiscsi-utils"],
        pacman: &["libiscsi"],
        note: None,
    },
    Requirement {
        probe: Probe::Program("stdbuf"),
        why: "conformance: the test-tool's words up to a crash",
        apt: &["coreutils"],
        dnf: &["coreutils"],
        pacman: &["coreutils"],
        note: None,
    },
    Requirement {
        probe: Probe::Program("qemu-img"),
        why: "clients: a real initiator",
        apt: &["qemu-utils"],
        dnf: &["qemu-img"],
        pacman: &["qemu-img"],
        note: None,
    },
    Requirement {
        probe: Probe::File(&[
            "/usr/lib*/qemu/block-iscsi.so",
            "/usr/lib*/*/qemu/block-iscsi.so",
            "/usr/lib*/qemu-kvm/block-iscsi.so",
        ]),
        why: "clients: qemu-img's iSCSI driver",
        apt: &["qemu-block-extra"],
        dnf: &["qemu-block-iscsi"],
        pacman: &["qemu-block-iscsi"],
        note: None,
    },
    Requirement {
        probe: Probe::Program("nbdkit"),
        why: "tests of the NBD backend: a server with faults on demand",
        apt: &["nbdkit"],
        dnf: &["nbdkit", "nbdkit-basic-plugins", "nbdkit-basic-filters"],
        pacman: &["nbdkit"],
        note: None,
    },
    Requirement {
        probe: Probe::Program("qemu-nbd"),
        why: "tests of the NBD backend: qcow2 images",
        apt: &["qemu-utils"],
        dnf: &["qemu-img"],
        pacman: &["qemu-img"],
        note: None,
    },
    Requirement {
        probe: Probe::Program("nbd-server"),
        why: "tests of the NBD backend: a server without structured replies",
        apt: &["nbd-server"],
        dnf: &["nbd"],
        pacman: &["nbd"],
        note: Some(
            "where systemd runs, the package nbd-server starts a daemon that no test uses: `systemctl disable --now nbd-server` ends it",
        ),
    },
    Requirement {
        probe: Probe::Program("mkfs.exfat"),
        why: "makes and checks the cards of the simulator's tests and of the emulated boards",
        apt: &["exfatprogs"],
        dnf: &["exfatprogs"],
        pacman: &["exfatprogs"],
        note: None,
    },
    Requirement {
        probe: Probe::Program("mkfs.vfat"),
        why: "the simulator's tests have cards with FAT32",
        apt: &["dosfstools"],
        dnf: &["dosfstools"],
        pacman: &["dosfstools"],
        note: None,
    },
    Requirement {
        probe: Probe::Program("mcopy"),
        why: "the simulator's tests put files on them",
        apt: &["mtools"],
        dnf: &["mtools"],
        pacman: &["mtools"],
        note: None,
    },
    Requirement {
        probe: Probe::Program("sfdisk"),
        why: "the simulator's tests have cards with partition tables",
        apt: &["fdisk"],
        dnf: &["util-linux"],
        pacman: &["util-linux"],
        note: None,
    },
    Requirement {
        probe: Probe::Program("snmpbulkwalk"),
        why: "the server's tests ask its SNMP agent with net-snmp's tools",
        apt: &["snmp"],
        dnf: &["net-snmp-utils"],
        pacman: &["net-snmp"],
        note: None,
    },
    Requirement {
        probe: Probe::Program("fio"),
        why: "disk: what files are read by that iesp and testkit are measured beside",
        apt: &["fio"],
        dnf: &["fio"],
        pacman: &["fio"],
        note: None,
    },
    Requirement {
        probe: Probe::Program("promtool"),
        why: "the server's tests have Prometheus read its metrics",
        apt: &["prometheus"],
        dnf: &["golang-github-prometheus"],
        pacman: &["prometheus"],
        note: Some(
            "where systemd runs, the package prometheus starts a daemon on port 9090 that no test uses: `systemctl disable --now prometheus` ends it",
        ),
    },
    Requirement {
        probe: Probe::Program("tgtd"),
        why: "bench: the peer that iesp is measured beside",
        apt: &["tgt"],
        dnf: &["scsi-target-utils"],
        pacman: &[],
        note: Some(
            "where systemd runs, the package tgt starts a daemon on port 3260 that no test uses: `systemctl disable --now tgt` frees the port",
        ),
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_probe_stands_once_and_has_a_package_for_debian_and_fedora() {
        for (index, requirement) in REQUIREMENTS.iter().enumerate() {
            assert!(!requirement.apt.is_empty() && !requirement.dnf.is_empty(), "{:?}", requirement.probe);
            assert!(!requirement.why.is_empty());
            assert!(REQUIREMENTS[index + 1..].iter().all(|other| other.probe != requirement.probe));
        }
    }

    #[test]
    fn package_names_are_safe_to_pass_on() {
        let names = REQUIREMENTS.iter().flat_map(|r| [r.apt, r.dnf, r.pacman].concat());
        for name in names {
            assert!(name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-'), "{name}");
        }
    }
}
