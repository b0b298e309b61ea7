//! What only a part of the runs needs: installed with everything else, and where it is missing that part is left out.

use super::table::{Probe, Requirement};
use crate::cross::Target;

/// A part of the runs that can be left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The Linux guest as initiator: `cargo xtask vm`.
    Guest,
    /// A guest that boots from the target: `cargo xtask vm boot`.
    Boot,
    /// One more peer of `cargo xtask bench`.
    Istgt,
    /// What people install on Linux: `cargo xtask package deb`, `rpm` and `musl`.
    Packages,
    /// `cargo xtask package windows`.
    Windows,
    /// `cargo xtask check`.
    Systems,
    /// The programs of the boards: `cargo xtask firmware`.
    Boards,
    /// `cargo xtask conformance --newer`.
    NewerTool,
    /// The emulated RP2040.
    Rp2040,
}

impl Part {
    /// All of them.
    pub const ALL: [Part; 9] = [
        Part::Guest,
        Part::Boot,
        Part::Istgt,
        Part::Packages,
        Part::Windows,
        Part::Systems,
        Part::Boards,
        Part::NewerTool,
        Part::Rp2040,
    ];

    /// What cannot be run without it.
    pub fn about(self) -> &'static str {
        match self {
            Part::Guest => "the runs with a Linux guest",
            Part::Boot => "the runs that boot from the target",
            Part::Istgt => "the peer istgt",
            Part::Packages => "the packages for Linux",
            Part::Windows => "the package for Windows",
            Part::Systems => "the type checks for other systems",
            Part::Boards => "the boards' programs",
            Part::NewerTool => "the newer test-tool",
            Part::Rp2040 => "the emulated RP2040",
        }
    }

    /// Whether it is large, and only `--full` runs need it.
    pub fn is_for_full(self) -> bool {
        matches!(self, Part::Windows | Part::Systems | Part::NewerTool | Part::Rp2040)
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
    (
        Part::Packages,
        Requirement {
            probe: Probe::Program("strip"),
            why: "packages: programs without their debugging information",
            apt: &["binutils"],
            dnf: &["binutils"],
            pacman: &["binutils"],
            note: None,
        },
    ),
    (
        Part::Packages,
        Requirement {
            probe: Probe::Program("qemu-io"),
            why: "packages: reads and writes patterns over iSCSI",
            apt: &["qemu-utils"],
            dnf: &["qemu-img"],
            pacman: &["qemu-img"],
            note: None,
        },
    ),
    (
        Part::Packages,
        Requirement {
            probe: Probe::Program("systemd-analyze"),
            why: "packages: systemd's judgement of the unit",
            apt: &["systemd"],
            dnf: &["systemd"],
            pacman: &["systemd"],
            note: None,
        },
    ),
    (
        Part::Packages,
        Requirement {
            probe: Probe::Program("man"),
            why: "packages: groff's judgement of the manual page",
            apt: &["man-db"],
            dnf: &["man-db"],
            pacman: &["man-db"],
            note: None,
        },
    ),
    (
        Part::Packages,
        Requirement {
            probe: Probe::Program("debootstrap"),
            why: "packages: the .deb is installed in a Debian of its own",
            apt: &["debootstrap"],
            dnf: &["debootstrap"],
            pacman: &["debootstrap"],
            note: None,
        },
    ),
    (
        Part::Packages,
        Requirement {
            probe: Probe::Program("rpm"),
            why: "packages: what rpm sees in the .rpm",
            apt: &["rpm"],
            dnf: &["rpm"],
            pacman: &["rpm-tools"],
            note: None,
        },
    ),
    (
        Part::Packages,
        Requirement {
            probe: Probe::Program("musl-gcc"),
            why: "packages: the C in the static program",
            apt: &["musl-tools"],
            dnf: &["musl-gcc"],
            pacman: &["musl"],
            note: None,
        },
    ),
    (
        Part::Packages,
        Requirement {
            probe: Probe::Std(Target::Musl),
            why: "packages: the static program",
            apt: &["rustc-web", "cargo-web", "rust-web-src"],
            dnf: &["rustup"],
            pacman: &["rustup"],
            note: None,
        },
    ),
    (
        Part::Windows,
        Requirement {
            probe: Probe::Program("x86_64-w64-mingw32-gcc"),
            why: "packages: the linker for Windows",
            apt: &["gcc-mingw-w64-x86-64-win32"],
            dnf: &["mingw64-gcc"],
            pacman: &["mingw-w64-gcc"],
            note: None,
        },
    ),
    (
        Part::Windows,
        Requirement {
            probe: Probe::File(&["/usr/lib/wine/wine64", "/usr/bin/wine64", "/usr/bin/wine"]),
            why: "packages: iesp.exe serves under Wine",
            apt: &["wine64"],
            dnf: &["wine-core"],
            pacman: &["wine"],
            note: None,
        },
    ),
    (
        Part::Windows,
        Requirement {
            probe: Probe::Std(Target::Windows),
            why: "packages: iesp.exe",
            apt: &["rustc-web", "cargo-web", "rust-web-src"],
            dnf: &["rustup"],
            pacman: &["rustup"],
            note: None,
        },
    ),
    (
        Part::Systems,
        Requirement {
            probe: Probe::Std(Target::FreeBsd),
            why: "type checks for FreeBSD",
            apt: &["rustc-web", "cargo-web", "rust-web-src"],
            dnf: &["rustup"],
            pacman: &["rustup"],
            note: None,
        },
    ),
    (
        Part::Systems,
        Requirement {
            probe: Probe::Std(Target::MacOs),
            why: "type checks for macOS",
            apt: &["rustc-web", "cargo-web", "rust-web-src"],
            dnf: &["rustup"],
            pacman: &["rustup"],
            note: None,
        },
    ),
    (
        Part::Boards,
        Requirement {
            probe: Probe::Compiler(&[
                "thumbv7m-none-eabi",
                "armv7a-none-eabi",
                "thumbv6m-none-eabi",
                "riscv32imc-unknown-none-elf",
                "riscv32imac-unknown-none-elf",
                "thumbv7em-none-eabihf",
            ]),
            why: "firmware: builds the boards' programs (or `rustup target add` these)",
            apt: &["rustc-web", "cargo-web", "rust-web-src", "lld"],
            dnf: &["rust", "cargo", "rust-src", "lld"],
            pacman: &["rust", "rust-src", "lld"],
            note: None,
        },
    ),
    (
        Part::Boards,
        Requirement {
            probe: Probe::Program("qemu-system-arm"),
            why: "firmware: runs the emulated boards",
            apt: &["qemu-system-arm"],
            dnf: &["qemu-system-arm-core"],
            pacman: &["qemu-system-arm"],
            note: None,
        },
    ),
    (
        Part::NewerTool,
        Requirement {
            probe: Probe::PkgConfig("cunit"),
            why: "conformance --newer: the test-tool is built on it",
            apt: &["libcunit1-dev"],
            dnf: &["CUnit-devel"],
            pacman: &["cunit"],
            note: None,
        },
    ),
    (
        Part::Rp2040,
        Requirement {
            probe: Probe::Program("npm"),
            why: "firmware run pico-w --check: fetches rp2040js, which Node.js runs",
            apt: &["nodejs", "npm"],
            dnf: &["nodejs", "npm"],
            pacman: &["nodejs", "npm"],
            note: None,
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
