//! What only a part of the runs needs: installed with everything else, and where it is missing that part is left out.

use super::table::{Probe, Requirement};

/// A part of the runs that can be left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The Linux guest as initiator: `cargo xtask vm`.
    Guest,
    /// A guest that boots from the target: `cargo xtask vm boot`.
    Boot,
    /// One more peer of `cargo xtask bench`.
    Istgt,
}

impl Part {
    /// All of them.
    pub const ALL: [Part; 3] = [Part::Guest, Part::Boot, Part::Istgt];

    /// What cannot be run without it.
    pub fn about(self) -> &'static str {
        match self {
            Part::Guest => "the runs with a Linux guest",
            Part::Boot => "the runs that boot from the target",
            Part::Istgt => "the peer istgt",
        }
    }
}

/// What each part needs. Where a distribution has no package the list is empty.
pub const OPTIONAL: &[(Part, Requirement)] = &[
    (
        Part::Guest,
        Requirement {
            probe: Probe::Program("qemu-system-x86_64"),
            why: "vm: the machine that the guest runs in",
            apt: &["qemu-system-x86"],
            dnf: &["qemu-system-x86-core"],
            pacman: &["qemu-system-x86"],
            note: None,
        },
    ),
    (
        Part::Guest,
        Requirement {
            probe: Probe::File(&["/usr/share/seabios/bios-256k.bin", "/usr/share/qemu/bios-256k.bin"]),
            why: "vm: the guest's BIOS",
            apt: &["seabios"],
            dnf: &["seabios-bin"],
            pacman: &["seabios"],
            note: None,
        },
    ),
    (
        Part::Boot,
        Requirement {
            probe: Probe::File(&[
                "/usr/lib/ipxe/qemu/efi-virtio.rom",
                "/usr/share/qemu/efi-virtio.rom",
                "/usr/share/ipxe/qemu/efi-virtio.rom",
                "/usr/share/ipxe.efi/1af41000.rom",
            ]),
            why: "vm boot: iPXE, which boots from the target",
            apt: &["ipxe-qemu"],
            dnf: &["ipxe-roms-qemu"],
            pacman: &["qemu-common"],
            note: None,
        },
    ),
    (
        Part::Boot,
        Requirement {
            probe: Probe::File(&[
                "/usr/share/qemu/OVMF.fd",
                "/usr/share/ovmf/OVMF.fd",
                "/usr/share/edk2/ovmf/OVMF.fd",
                "/usr/share/edk2-ovmf/x64/OVMF.fd",
            ]),
            why: "vm boot: the guest's UEFI",
            apt: &["ovmf"],
            dnf: &["edk2-ovmf"],
            pacman: &["edk2-ovmf"],
            note: None,
        },
    ),
    (
        Part::Boot,
        Requirement {
            probe: Probe::Program("mke2fs"),
            why: "vm boot: makes and checks the file system that is booted from",
            apt: &["e2fsprogs"],
            dnf: &["e2fsprogs"],
            pacman: &["e2fsprogs"],
            note: None,
        },
    ),
    (
        Part::Guest,
        Requirement {
            // The guest is made of Debian's packages: elsewhere there is none.
            probe: Probe::Program("apt-get"),
            why: "vm: fetches the packages that the guest is made of",
            apt: &["apt"],
            dnf: &[],
            pacman: &[],
            note: None,
        },
    ),
    (
        Part::Istgt,
        Requirement {
            probe: Probe::Program("istgt"),
            why: "bench: a second peer",
            apt: &["istgt"],
            dnf: &[],
            pacman: &[],
            note: Some(
                "where systemd runs, the package istgt may start a daemon that no test uses: `systemctl disable --now istgt` ends it",
            ),
        },
    ),
];

#[cfg(test)]
mod tests {
    use super::super::table::REQUIREMENTS;
    use super::*;

    #[test]
    fn each_probe_stands_once_in_both_tables_and_debian_has_all() {
        for (index, (_, one)) in OPTIONAL.iter().enumerate() {
            assert!(!one.apt.is_empty() && !one.why.is_empty(), "{:?}", one.probe);
            assert!(OPTIONAL[index + 1..].iter().all(|(_, other)| other.probe != one.probe));
            assert!(REQUIREMENTS.iter().all(|other| other.probe != one.probe));
            let names = [one.apt, one.dnf, one.pacman].concat();
            assert!(names.iter().all(|name| name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')));
        }
    }
}
