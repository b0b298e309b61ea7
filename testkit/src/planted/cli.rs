//! The program `faulty-target`.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;

use clap::Parser;
use iesp_initiator::proxy::{self, Tamper};
use rustix::process::{Pid, Signal, kill_process};
use thiserror::Error;

use super::digests::NoDigests;
use super::nbd;
use super::reservation::LoseReservations;
use super::stale::StaleReads;
use crate::device::fault_spec::{self, Fault, SpecError};
use crate::device::faulty::Faulty;
use crate::device::open::{Access, Direct, OpenError, open_file};

/// Serves disk images by iesp, with faults: to see that a test of targets notices them.
///
/// It takes iesp's own arguments behind `--`, of these `-d FILE` (several times), `-i ADDRESS[:PORT]` and `-p PORT`, and
/// ends as iesp ends. Killed, it takes iesp with it.
#[derive(Debug, Parser)]
#[command(name = "faulty-target", version, max_term_width = 110)]
pub struct Options {
    /// The target's program
    #[arg(long, value_name = "FILE")]
    pub iesp: PathBuf,

    /// Faults of a disk, as `test-blockdevice -d faulty:…` takes them: drop-write@1000, lie-flush@1 …
    #[arg(long, value_name = "FAULTS", value_parser = parse_faults)]
    pub disk: Option<Faults>,

    /// Only the disk of this LUN has them [default: all have]
    #[arg(long, value_name = "N", requires = "disk")]
    pub lun: Option<usize>,

    /// The disks keep what was not flushed in a cache, which is lost when this is killed
    #[arg(long)]
    pub volatile: bool,

    /// Grant reservations and forget them
    #[arg(long)]
    pub lose_reservations: bool,

    /// On the portal of this number (from 0) a block of the last LUN is for ever what its first read returned
    #[arg(long, value_name = "PORTAL")]
    pub stale_reads: Option<usize>,

    /// iesp's arguments
    #[arg(last = true, value_name = "ARGUMENTS")]
    pub arguments: Vec<String>,
}

/// Faults as they were written.
#[derive(Debug, Clone)]
pub struct Faults(Vec<Fault>);

fn parse_faults(text: &str) -> Result<Faults, SpecError> {
    fault_spec::parse(&format!("{text}:")).map(|(faults, _)| Faults(faults))
}

/// Why there is no faulty target.
#[derive(Debug, Error)]
enum Error {
    #[error("{0}")]
    Arguments(String),
    #[error(transparent)]
    Disk(#[from] OpenError),
    #[error("{0}: {1}")]
    Io(String, io::Error),
}

/// An [`io::Error`] with what it happened to.
fn at(what: impl Into<String>) -> impl FnOnce(io::Error) -> Error {
    |error| Error::Io(what.into(), error)
}

/// Runs the program.
#[must_use]
pub fn main(options: &Options) -> ExitCode {
    match run(options) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("faulty-target: {error}");
            ExitCode::from(2)
        }
    }
}

/// What of iesp's arguments is replaced.
#[derive(Debug, Default, PartialEq, Eq)]
struct Taken {
    devices: Vec<String>,
    listen: Vec<String>,
    port: Option<String>,
    rest: Vec<String>,
}

impl Taken {
    fn from(arguments: &[String]) -> Result<Self, Error> {
        let mut taken = Self::default();
        let mut words = arguments.iter();
        while let Some(word) = words.next() {
            let mut value = || words.next().cloned().ok_or_else(|| Error::Arguments(format!("{word} has no value")));
            match word.as_str() {
                "-d" | "--device" => taken.devices.push(value()?),
                "-i" | "--listen" => taken.listen.push(value()?),
                "-p" | "--port" => taken.port = Some(value()?),
                "-b" | "--backend" => return Err(Error::Arguments("only files are served with faults".to_owned())),
                _ => taken.rest.push(word.clone()),
            }
        }
        Ok(taken)
    }

    /// The size of a logical block in bytes.
    fn block(&self) -> usize {
        let behind = self.rest.iter().skip_while(|word| *word != "--block-size").nth(1);
        behind.and_then(|text| text.parse().ok()).unwrap_or(512)
    }
}

fn run(options: &Options) -> Result<ExitCode, Error> {
    let taken = Taken::from(&options.arguments)?;
    let mut command = Command::new(&options.iesp);
    command.args(&taken.rest);
    let scratch = serve_disks(options, &taken, &mut command)?;
    let proxied = options.lose_reservations || options.stale_reads.is_some();
    let listeners = if proxied { listen(&taken)? } else { Vec::new() };
    if proxied {
        listeners.iter().for_each(|_| {
            command.args(["-i", "127.0.0.1:0"]);
        });
    } else {
        taken.listen.iter().for_each(|address| {
            command.args(["-i", address]);
        });
        command.args(taken.port.iter().flat_map(|port| ["-p", port]));
    }
    let mut child = start(command.stdin(Stdio::null()).stdout(Stdio::piped()), &options.iesp)?;
    let id = child.id();
    pass_signals(id).map_err(at("signals"))?;
    let stdout = child.stdout.take().map(BufReader::new);
    let mut portals = Portals { options, taken: &taken, waiting: listeners.into_iter().enumerate(), shown: Vec::new() };
    for line in stdout.into_iter().flat_map(BufRead::lines).map_while(Result::ok) {
        let line = portals.show(&line)?;
        // Nobody may be listening any more.
        let _ = writeln!(io::stdout(), "{line}");
    }
    let status = child.wait().map_err(at("iesp"))?;
    // Only a killed one leaves it: the next one makes it anew.
    drop(scratch);
    Ok(match (status.code(), status.signal()) {
        (Some(code), _) => ExitCode::from(code as u8),
        (None, signal) => {
            eprintln!("faulty-target: signal {} ended iesp", signal.unwrap_or_default());
            ExitCode::FAILURE
        }
    })
}

/// A folder for sockets, removed at the end.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Puts the disks behind NBD where they have faults or a cache, and names them to iesp.
fn serve_disks(options: &Options, taken: &Taken, command: &mut Command) -> Result<Option<Scratch>, Error> {
    if options.disk.is_none() && !options.volatile {
        command.args(taken.devices.iter().flat_map(|device| ["-d", device]));
        return Ok(None);
    }
    let first = taken.devices.first().ok_or_else(|| Error::Arguments("no -d FILE".to_owned()))?;
    // Beside the image, by its name: a disk's identity is kept by the socket's path, and has to stay.
    let folder = PathBuf::from(format!("{first}.faulty"));
    let _ = std::fs::remove_dir_all(folder.join("sockets"));
    std::fs::create_dir_all(folder.join("sockets")).map_err(at(folder.display().to_string()))?;
    command.args(["-b", "nbd"]).env("STATE_DIRECTORY", folder.join("state"));
    for (lun, device) in taken.devices.iter().enumerate() {
        let faults = options.disk.as_ref().filter(|_| options.lun.is_none_or(|only| only == lun));
        let faults = faults.map(|faults| faults.0.clone()).unwrap_or_default();
        let access = Access { write: true, destroy: true, direct: Direct::Off, alignment: 4096, shared: false };
        let mut disk = Faulty::new(Arc::new(open_file(device, access)?), faults);
        if options.volatile {
            disk = disk.volatile();
        }
        let socket = folder.join("sockets").join(lun.to_string());
        nbd::serve(&socket, Arc::new(disk)).map_err(at(socket.display().to_string()))?;
        command.args(["-d", &format!("nbd+unix:///?socket={}", socket.display())]);
    }
    Ok(Some(Scratch(folder.join("sockets"))))
}

/// Opens the portals that iesp was to have.
fn listen(taken: &Taken) -> Result<Vec<TcpListener>, Error> {
    let port = taken.port.as_deref().unwrap_or("3260");
    let bind = |address: &String| {
        let address = match address.parse::<SocketAddr>() {
            Ok(_) => address.clone(),
            Err(_) => {
                format!("{}:{port}", if address.contains(':') { format!("[{address}]") } else { address.clone() })
            }
        };
        TcpListener::bind(&address).map_err(at(address))
    };
    taken.listen.iter().map(bind).collect()
}

fn start(command: &mut Command, program: &Path) -> Result<Child, Error> {
    // SAFETY: the closure makes one system call between fork and exec, allocates nothing and takes no lock.
    unsafe {
        command.pre_exec(|| Ok(rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?));
    }
    command.spawn().map_err(at(program.display().to_string()))
}

/// Asks iesp to end when this is asked to.
fn pass_signals(id: u32) -> io::Result<()> {
    let mut signals = signal_hook::iterator::Signals::new([signal_hook::consts::SIGTERM, signal_hook::consts::SIGINT])?;
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        for _ in &mut signals {
            let Some(pid) = i32::try_from(id).ok().and_then(Pid::from_raw) else { return };
            let _ = kill_process(pid, Signal::TERM);
        }
    })?;
    Ok(())
}

/// The portals, each joined with iesp's own as iesp names it.
struct Portals<'a, I> {
    options: &'a Options,
    taken: &'a Taken,
    waiting: I,
    /// iesp's address, and the one in its place.
    shown: Vec<(String, String)>,
}

impl<I: Iterator<Item = (usize, TcpListener)>> Portals<'_, I> {
    /// A line of iesp's with the addresses that initiators are to use.
    fn show(&mut self, line: &str) -> Result<String, Error> {
        let named = line.trim().strip_prefix("address ").and_then(|text| text.trim().parse::<SocketAddr>().ok());
        if let Some(target) = named
            && let Some((number, listener)) = self.waiting.next()
        {
            let address = listener.local_addr().map_err(at("a portal"))?;
            let lose = self.options.lose_reservations;
            let stale = self.options.stale_reads == Some(number);
            let (lun, block) = (self.taken.devices.len().saturating_sub(1) as u16, self.taken.block());
            let tamper = move || {
                let mut all: Vec<Box<dyn Tamper>> = vec![Box::new(NoDigests)];
                if lose {
                    all.push(Box::new(LoseReservations::default()));
                }
                if stale {
                    all.push(Box::new(StaleReads::new(lun, block)));
                }
                all
            };
            proxy::serve(listener, target, tamper).map_err(at("a portal"))?;
            self.shown.push((target.to_string(), address.to_string()));
        }
        Ok(self.shown.iter().fold(line.to_owned(), |line, (own, shown)| line.replace(own, shown)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn iesps_arguments_are_told_apart() {
        let taken = Taken::from(&words("-d a -i 127.0.0.1 -p 0 -t x --block-size 4096 -d b -i [::1]:7")).unwrap();
        assert_eq!(taken.devices, ["a", "b"]);
        assert_eq!(taken.listen, ["127.0.0.1", "[::1]:7"]);
        assert_eq!((taken.port.as_deref(), taken.block()), (Some("0"), 4096));
        assert_eq!(taken.rest, words("-t x --block-size 4096"));
        assert!(Taken::from(&words("-d")).is_err());
        assert!(Taken::from(&words("-b ram -d 1G")).is_err());
    }

    #[test]
    fn the_options_are_consistent() {
        use clap::CommandFactory;
        Options::command().debug_assert();
        let options =
            Options::try_parse_from(words("faulty-target --iesp x --disk drop-write@3 -- -d y -p 0")).unwrap();
        assert_eq!(options.arguments, words("-d y -p 0"));
        assert!(Options::try_parse_from(words("faulty-target --iesp x --disk nonsense@3")).is_err());
    }
}
