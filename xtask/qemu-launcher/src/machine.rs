//! What to start.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::{Accelerator, Guest, LaunchError};

/// What the machine starts with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Firmware {
    /// SeaBIOS, on the machine `pc`.
    Bios,
    /// UEFI (OVMF), on the machine `q35`.
    Uefi,
}

/// A network of QEMU's own ("user"): no privileges, and its gateway leads to the host's loopback address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Network {
    /// The id, for [`crate::Qmp::set_link`].
    pub id: String,
    /// The third byte of its addresses: 10.0.`subnet`.0/24, the host being 10.0.`subnet`.2.
    pub subnet: u8,
    /// More options of `-netdev user`, such as `tftp=DIR,bootfile=FILE`.
    pub options: Vec<String>,
    /// More options of the virtio network card, such as `bootindex=1`.
    pub device_options: Vec<String>,
}

impl Network {
    /// A network with the addresses 10.0.`subnet`.0/24.
    #[must_use]
    pub fn new(id: &str, subnet: u8) -> Self {
        Network { id: id.to_owned(), subnet, options: Vec::new(), device_options: Vec::new() }
    }

    fn arguments(&self) -> [String; 4] {
        let (id, subnet) = (&self.id, self.subnet);
        let mut netdev = format!("user,id={id},net=10.0.{subnet}.0/24,host=10.0.{subnet}.2,dhcpstart=10.0.{subnet}.15");
        let mut device = format!("virtio-net-pci,netdev={id}");
        self.options.iter().for_each(|option| netdev += &format!(",{option}"));
        self.device_options.iter().for_each(|option| device += &format!(",{option}"));
        ["-netdev".to_owned(), netdev, "-device".to_owned(), device]
    }
}

/// A machine that can be started, several times over.
///
/// It has two serial lines: the first is the console of firmware and kernel, the second a quiet line between a script in
/// the guest and the host. A panic of the guest's kernel (with the module pvpanic) ends QEMU with exit status 1, a reset
/// ends it with 0.
#[derive(Clone, Debug)]
pub struct Machine {
    pub(crate) program: PathBuf,
    pub(crate) accelerator: Accelerator,
    firmware: Firmware,
    firmware_file: Option<PathBuf>,
    memory_mib: u32,
    cpus: u32,
    kernel: Option<(PathBuf, PathBuf, String)>,
    networks: Vec<Network>,
    reset_ends: bool,
    arguments: Vec<OsString>,
}

impl Machine {
    /// A machine without kernel, disks and networks: two processors, 1 GiB of memory.
    #[must_use]
    pub fn new(accelerator: Accelerator, firmware: Firmware) -> Self {
        Machine {
            program: PathBuf::from("qemu-system-x86_64"),
            accelerator,
            firmware,
            firmware_file: None,
            memory_mib: 1024,
            cpus: 2,
            kernel: None,
            networks: Vec::new(),
            reset_ends: true,
            arguments: Vec::new(),
        }
    }

    /// Another program than the `qemu-system-x86_64` of `PATH`.
    #[must_use]
    pub fn program(mut self, program: &Path) -> Self {
        program.clone_into(&mut self.program);
        self
    }

    /// The file with the firmware (`-bios`).
    #[must_use]
    pub fn firmware_file(mut self, file: &Path) -> Self {
        self.firmware_file = Some(file.to_owned());
        self
    }

    /// Memory in MiB.
    #[must_use]
    pub fn memory_mib(mut self, memory: u32) -> Self {
        self.memory_mib = memory;
        self
    }

    /// Processors.
    #[must_use]
    pub fn cpus(mut self, cpus: u32) -> Self {
        self.cpus = cpus;
        self
    }

    /// Starts this kernel with this initramfs and command line, in place of the firmware's choice.
    #[must_use]
    pub fn kernel(mut self, kernel: &Path, initrd: &Path, command_line: &str) -> Self {
        self.kernel = Some((kernel.to_owned(), initrd.to_owned(), command_line.to_owned()));
        self
    }

    /// Adds a network, with a virtio card on it.
    #[must_use]
    pub fn network(mut self, network: Network) -> Self {
        self.networks.push(network);
        self
    }

    /// Whether a reset of the guest ends QEMU (the default), or starts the machine anew.
    #[must_use]
    pub fn reset_ends(mut self, ends: bool) -> Self {
        self.reset_ends = ends;
        self
    }

    /// One more argument for QEMU.
    #[must_use]
    pub fn argument(mut self, argument: impl Into<OsString>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// Starts it. Logs go to the folder `logs`: `console.log`, `report.log`, `qemu.log`.
    ///
    /// # Errors
    /// When QEMU is not there, refuses its arguments, or does not open its channels within 20 seconds.
    pub fn start(&self, logs: &Path) -> Result<Guest, LaunchError> {
        Guest::start(&self.program, self.accelerator, |qmp, report| self.command_line(qmp, report), logs)
    }

    /// QEMU's arguments, with the sockets of the machine protocol and of the second serial line.
    pub(crate) fn command_line(&self, qmp: &Path, report: &Path) -> Vec<OsString> {
        let machine = match self.firmware {
            Firmware::Bios => "pc,graphics=off",
            Firmware::Uefi => "q35,graphics=off",
        };
        let mut line: Vec<OsString> = Vec::new();
        let mut add = |words: &[&str]| line.extend(words.iter().map(OsString::from));
        add(&["-nodefaults", "-no-user-config", "-display", "none", "-machine", machine]);
        add(&self.accelerator.arguments());
        add(&["-m", &format!("{}M", self.memory_mib), "-smp", &self.cpus.to_string()]);
        add(&["-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console"]);
        add(&["-chardev", &format!("socket,id=report,path={},server=off", report.display())]);
        add(&["-serial", "chardev:report"]);
        add(&["-chardev", &format!("socket,id=qmp,path={},server=off", qmp.display())]);
        add(&["-mon", "chardev=qmp,mode=control"]);
        add(&["-device", "pvpanic-pci", "-action", "panic=exit-failure", "-device", "virtio-rng-pci"]);
        if self.reset_ends {
            add(&["-no-reboot"]);
        }
        for network in &self.networks {
            add(&network.arguments().each_ref().map(String::as_str));
        }
        if let Some(file) = &self.firmware_file {
            line.extend(["-bios".into(), file.into()]);
        }
        if let Some((kernel, initrd, command_line)) = &self.kernel {
            line.extend(["-kernel".into(), kernel.into(), "-initrd".into(), initrd.into()]);
            line.extend(["-append".into(), command_line.into()]);
        }
        line.extend(self.arguments.iter().cloned());
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_what_was_asked_for() {
        let mut second = Network::new("b", 3);
        second.device_options.push("bootindex=1".into());
        let machine = Machine::new(Accelerator::Tcg, Firmware::Bios)
            .memory_mib(768)
            .kernel(Path::new("/k"), Path::new("/i"), "quiet console=ttyS0")
            .network(Network::new("a", 2))
            .network(second)
            .argument("-S");
        let line = machine.command_line(Path::new("/q"), Path::new("/r"));
        let line = line.iter().map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ");
        for part in [
            "-machine pc,graphics=off -accel tcg,thread=multi -cpu max -m 768M -smp 2",
            "socket,id=qmp,path=/q,server=off",
            "-netdev user,id=a,net=10.0.2.0/24,host=10.0.2.2,dhcpstart=10.0.2.15 -device virtio-net-pci,netdev=a",
            "-device virtio-net-pci,netdev=b,bootindex=1",
            "-no-reboot",
            "-kernel /k -initrd /i -append quiet console=ttyS0 -S",
        ] {
            assert!(line.contains(part), "{part} is not in {line}");
        }
        let again = machine.reset_ends(false).command_line(Path::new("/q"), Path::new("/r"));
        assert!(!again.iter().any(|word| word == "-no-reboot"));
    }
}
