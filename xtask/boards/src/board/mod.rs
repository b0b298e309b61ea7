//! A board on one's desk: its power, its serial line, its address.
//!
//! - [`profile`]: what a board is, from `ci/boards`.
//! - [`flash`], [`console`], [`address`]: how it is reached.

pub mod address;
mod console;
mod flash;
mod profile;

use std::fs::File;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use xtask_common::process::{Ended, Running, last_lines, run_logged};
use xtask_common::workspace::{self, find_program};

use self::console::{Console, pseudo_terminal};
pub use self::profile::{Profile, RULES, names};

/// How long a command of the profile may take: a build, a flash tool.
const COMMAND: Duration = Duration::from_secs(1800);

/// A board. An emulated one ends with this value.
#[derive(Debug)]
pub struct Board {
    /// What is known of it.
    pub profile: Profile,
    dir: PathBuf,
    /// This very program: `cargo xtask` has a process of cargo in between, which does not take it along when it is killed.
    xtask: PathBuf,
    port: u16,
    serial: String,
    /// The end of the pseudo terminal that an emulated board writes to.
    terminal: Option<File>,
    process: Option<Running>,
    console: Console,
    address: Option<SocketAddr>,
}

impl Board {
    /// A board that has not been started; the run's folder is `dir`.
    ///
    /// # Errors
    /// When there is no pseudo terminal for an emulated one, or the serial line's log cannot be written.
    pub fn new(profile: Profile, dir: &Path) -> Result<Self> {
        // Free a moment ago: an emulator has to be told one.
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let (terminal, serial) = match &profile.serial.port {
            Some(port) => (None, port.clone()),
            None => pseudo_terminal().map(|(terminal, name)| (Some(terminal), name))?,
        };
        let console = Console::open(&serial, profile.serial.baud, &profile.serial.bad, &dir.join("serial.log"))?;
        let dir = dir.to_owned();
        let xtask = std::env::current_exe()?;
        Ok(Board { profile, dir, xtask, port, serial, terminal, process: None, console, address: None })
    }

    /// Makes the program, and brings it onto the board.
    ///
    /// # Errors
    /// Which command failed, with its last words.
    pub fn flash(&self, log: &Path) -> Result<String> {
        let mut commands = Vec::new();
        if !self.profile.build.is_empty() {
            commands.push(self.profile.build.clone());
        }
        if let Some(how) = &self.profile.flash {
            commands.extend(flash::commands(how, self.profile.serial.port.as_deref())?);
        }
        for command in &commands {
            self.execute(command, log)?;
        }
        Ok(commands.iter().map(|words| self.fill(&words.join(" "))).collect::<Vec<_>>().join("; "))
    }

    /// Whether its power can be switched here.
    pub fn has_power(&self) -> bool {
        self.profile.power.is_some() || !self.profile.process.is_empty()
    }

    /// Starts it, or resets it by its power; a board without a switch runs already since it was flashed. Waits for its
    /// serial line's word and for its service.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn start(&mut self, log: &Path) -> Result<String> {
        let since = Instant::now();
        let lines = if self.has_power() { self.console.count() } else { 0 };
        self.power_on(log)?;
        let limit = Duration::from_secs_f64(self.profile.limits.ready_seconds);
        self.console.wait_for(&self.profile.serial.ready, lines, limit)?;
        let address = self.find(lines, limit)?;
        address::until_it_serves(address, limit)?;
        self.address = Some(address);
        Ok(format!("it serves at {address} after {:.1} s", since.elapsed().as_secs_f64()))
    }

    fn find(&self, lines: usize, limit: Duration) -> Result<SocketAddr> {
        let how = &self.profile.address;
        match (&how.fixed, &how.banner, &how.mdns) {
            (Some(fixed), ..) => address::resolve(&self.fill(fixed)),
            (_, Some(banner), _) => {
                let before = banner.split("{address}").next().unwrap_or_default();
                address::in_banner(&self.console.wait_for(before, lines, limit)?, banner)
            }
            (_, _, Some(name)) => address::announced(name, limit),
            _ => bail!("the profile says nothing of the address"),
        }
    }

    /// Switches it on.
    ///
    /// # Errors
    /// When that cannot be done.
    pub fn power_on(&mut self, log: &Path) -> Result<()> {
        if let Some(power) = self.profile.power.clone() {
            return self.execute(&power.on, log);
        }
        let Some(terminal) = &self.terminal else { return Ok(()) };
        let words: Vec<String> = self.profile.process.iter().map(|word| self.fill(word)).collect();
        let (program, arguments) = words.split_first().context("the profile's process is empty")?;
        let mut command = Command::new(program);
        command.args(arguments).current_dir(workspace::root()).stdin(Stdio::null());
        command.stdout(terminal.try_clone()?).stderr(terminal.try_clone()?);
        self.process = Some(Running::start(&mut command)?);
        Ok(())
    }

    /// Takes its power away, in the middle of what it does.
    ///
    /// # Errors
    /// When that cannot be done, or an emulated board had ended by itself.
    pub fn power_off(&mut self, log: &Path) -> Result<()> {
        if let Some(power) = self.profile.power.clone() {
            self.execute(&power.off, log)?;
            std::thread::sleep(Duration::from_secs_f64(power.off_seconds));
            return Ok(());
        }
        let mut process = self.process.take().context("the board does not run")?;
        ensure!(process.ended()?.is_none(), "the board's process has ended by itself");
        Ok(())
    }

    /// That it still runs and has not complained.
    ///
    /// # Errors
    /// What it said, or that it is gone.
    pub fn is_well(&mut self) -> Result<()> {
        if let Some(line) = self.console.complaint() {
            bail!("the board said: {line}");
        }
        if let Some(process) = &mut self.process
            && let Some(ended) = process.ended()?
        {
            bail!("the board's process has ended ({ended})");
        }
        address::until_it_serves(self.address()?, Duration::from_secs_f64(self.profile.limits.ready_seconds))
    }

    /// Where it serves.
    ///
    /// # Errors
    /// When it was not started.
    pub fn address(&self) -> Result<SocketAddr> {
        self.address.context("the board was not started")
    }

    /// The URL of its disk. The target's name is what the profile or discovery says.
    ///
    /// # Errors
    /// When discovery finds none.
    pub fn url(&self) -> Result<String> {
        let address = self.address()?;
        let name = match &self.profile.address.target {
            Some(name) => self.fill(name),
            None => discovered(address)?,
        };
        Ok(format!("iscsi://{address}/{name}/{}", self.profile.address.lun))
    }

    fn execute(&self, command: &[String], log: &Path) -> Result<()> {
        let words: Vec<String> = command.iter().map(|word| self.fill(word)).collect();
        let (program, arguments) = words.split_first().context("an empty command in the profile")?;
        let is_path = program.contains('/');
        if !is_path && find_program(program).is_none() {
            bail!("{program} is not installed ({})", flash::source(program));
        }
        println!("    $ {}", words.join(" "));
        let mut command = Command::new(program);
        command.args(arguments).current_dir(workspace::root());
        let ended = run_logged(&mut command, log, COMMAND)?;
        if ended != Ended::Exit(0) {
            bail!("`{}`: {ended}: {}", words.join(" "), last_lines(log, 3).join(" | "));
        }
        Ok(())
    }

    /// A text of the profile with what stands for this run in it.
    fn fill(&self, text: &str) -> String {
        text.replace("{root}", &workspace::root().display().to_string())
            .replace("{build}", &workspace::build_dir().display().to_string())
            .replace("{xtask}", &self.xtask.display().to_string())
            .replace("{dir}", &self.dir.display().to_string())
            .replace("{port}", &self.port.to_string())
            .replace("{serial}", &self.serial)
    }
}

/// The first target that a discovery session is told of.
fn discovered(address: SocketAddr) -> Result<String> {
    let program = find_program("iscsi-ls").context("iscsi-ls is not installed: run `cargo xtask setup`")?;
    let output = Command::new(program).arg(format!("iscsi://{address}/")).stdin(Stdio::null()).output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    name_in(&text).with_context(|| format!("discovery at {address} tells of no target: {}", text.trim()))
}

/// In lines such as `Target:iqn.2026-01.x:y Portal:10.0.0.7:3260,1`.
fn name_in(text: &str) -> Option<String> {
    text.lines().find_map(|line| Some(line.strip_prefix("Target:")?.split_whitespace().next()?.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_targets_name_is_what_discovery_says() {
        assert_eq!(name_in("Target:iqn.2026-01.x:y Portal:10.0.0.7:3260,1\n").as_deref(), Some("iqn.2026-01.x:y"));
        assert_eq!(name_in("nothing"), None);
    }
}
