//! What executes the guest's instructions.

use std::fs::File;
use std::path::Path;

/// What executes the guest's instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accelerator {
    /// The processor itself.
    Kvm,
    /// Software emulation: some ten times slower, and runs everywhere.
    Tcg,
}

impl Accelerator {
    /// What is likely to work here: KVM where the processor says that it can and the device can be opened.
    ///
    /// It is no proof: where it is picked, wait for the guest's first line with a limit, and start anew with
    /// [`Accelerator::Tcg`] when that line does not come.
    #[must_use]
    pub fn likely() -> Self {
        let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let device = Path::new("/dev/kvm");
        let opens = || File::options().read(true).write(true).open(device).is_ok();
        if virtualises(&info) && opens() { Accelerator::Kvm } else { Accelerator::Tcg }
    }

    /// QEMU's arguments for it.
    pub(crate) fn arguments(self) -> [&'static str; 4] {
        match self {
            Accelerator::Kvm => ["-accel", "kvm", "-cpu", "host"],
            Accelerator::Tcg => ["-accel", "tcg,thread=multi", "-cpu", "max"],
        }
    }
}

impl std::fmt::Display for Accelerator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Accelerator::Kvm => "KVM",
            Accelerator::Tcg => "software emulation",
        })
    }
}

/// Whether `/proc/cpuinfo` names Intel's or AMD's virtualisation as a flag of its own.
fn virtualises(cpuinfo: &str) -> bool {
    cpuinfo
        .lines()
        .filter(|line| line.starts_with("flags"))
        .any(|line| line.split_whitespace().any(|flag| matches!(flag, "vmx" | "svm")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_processor_says_whether_it_virtualises() {
        assert!(virtualises("processor\t: 0\nflags\t\t: fpu vmx sse\n"));
        assert!(virtualises("flags\t\t: fpu svm\n"));
        assert!(!virtualises("flags\t\t: fpu sse hypervisor vmx_something\nmodel name\t: svm\n"));
        assert!(!virtualises(""));
    }
}
