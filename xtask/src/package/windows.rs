//! `cargo xtask package windows`: one `iesp.exe`, which needs Windows' own libraries alone. Under Wine it serves, by itself
//! and as a service.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use xtask_common::cross::{Cargo, MINGW, Target};
use xtask_common::process::{Ended, Running};
use xtask_common::target::sparse_image;
use xtask_common::workspace;

use super::exercise::{self, logged};
use super::{DISK_BYTES, done, output_folder, scratch_folder};

/// It comes with the linker for Windows.
const OBJDUMP: &str = "x86_64-w64-mingw32-objdump";

/// What every Windows since 10 has.
const LIBRARIES: &[&str] = &[
    "advapi32.dll",
    "bcrypt.dll",
    "bcryptprimitives.dll",
    "crypt32.dll",
    "iphlpapi.dll",
    "kernel32.dll",
    "msvcrt.dll",
    "ntdll.dll",
    "user32.dll",
    "userenv.dll",
    "ws2_32.dll",
];

/// How long Wine may take to make its folder, or a service to start or stop.
const LIMIT: Duration = Duration::from_secs(120);

/// The target's name in the checks.
const NAME: &str = "iqn.2026-01.io.github.iesp:windows";

/// Builds it, looks at what it needs, and lets it serve.
///
/// # Errors
/// What is not as it should be.
pub fn run(from_source: bool) -> Result<()> {
    let cargo = Cargo::new(Target::Windows, from_source)?;
    println!("package: {}", cargo.describe());
    // What only Linux' parts use is dead here.
    let built = cargo.build_iesp(&["-Ctarget-feature=+crt-static", "-Cstrip=symbols", "-Adead_code"])?;
    let program = output_folder()?.join("iesp.exe");
    std::fs::copy(&built, &program).with_context(|| format!("cannot write {}", program.display()))?;
    needs_windows_alone(&program)?;
    println!("package: one file: it needs Windows' own libraries alone");
    let folder = scratch_folder("windows")?;
    let wine = Wine::new(&folder, &program)?;
    serves(&wine, &folder)?;
    println!("package: under Wine it serves: login, read, write, verify; stopped by Ctrl-C; started anew, verified");
    is_a_service(&wine, &folder)?;
    println!("package: under Wine it is a service: installed, started, read, stopped, taken away");
    drop(wine);
    std::fs::remove_dir_all(&folder)?;
    done(&program)
}

fn needs_windows_alone(program: &Path) -> Result<()> {
    let said = super::said_by(OBJDUMP, &["--private-headers"], program)?;
    let libraries: Vec<&str> = said.lines().filter_map(|line| line.trim().strip_prefix("DLL Name: ")).collect();
    let others: Vec<_> = libraries.iter().filter(|name| !is_windows(name)).collect();
    ensure!(others.is_empty(), "it needs {others:?}");
    ensure!(
        !libraries.is_empty() && said.contains("file format pei-x86-64"),
        "this is no program for Windows on x86-64"
    );
    Ok(())
}

/// Whether a library is one of [`LIBRARIES`].
fn is_windows(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    LIBRARIES.contains(&name.as_str()) || name.starts_with("api-ms-win-")
}

/// A Wine with a folder of its own, which ends with this value.
struct Wine {
    wine: PathBuf,
    server: PathBuf,
    prefix: PathBuf,
    program: PathBuf,
    folder: PathBuf,
}

impl Wine {
    fn new(folder: &Path, program: &Path) -> Result<Self> {
        // Debian's packages bring it without a name in the PATH.
        let find = |names: &[&str]| {
            let known = names.iter().map(|name| Path::new("/usr/lib/wine").join(name)).find(|file| file.exists());
            known.or_else(|| names.iter().find_map(|name| workspace::find_program(name)))
        };
        let missing = "no Wine: `cargo xtask setup --full` installs it";
        let wine = find(&["wine64", "wine"]).context(missing)?;
        let server = find(&["wineserver64", "wineserver"]).context(missing)?;
        let wine = Wine {
            wine,
            server,
            prefix: folder.join("prefix"),
            program: folder.join("iesp.exe"),
            folder: folder.to_owned(),
        };
        std::fs::copy(program, &wine.program)?;
        wine.make_random_numbers()?;
        // It makes its folder: once, and not while something is waited for.
        logged_for(&wine.folder, "wineboot", wine.command("wineboot").arg("--init"))?;
        wine.be_patient()?;
        Ok(wine)
    }

    /// Its service manager gives up a service that does not speak within ten seconds: little, on a machine that is busy. It
    /// reads this when it starts: so it ends first.
    fn be_patient(&self) -> Result<()> {
        let millis = LIMIT.as_millis().to_string();
        let mut registry = self.command("reg");
        registry.args([
            "add",
            r"HKLM\System\CurrentControlSet\Control",
            "/v",
            "ServicesPipeTimeout",
            "/d",
            &millis,
            "/f",
        ]);
        logged_for(&self.folder, "registry", &mut registry)?;
        let mut all_ended = Command::new(&self.server);
        all_ended.arg("-w").env("WINEPREFIX", &self.prefix);
        logged_for(&self.folder, "wineserver", &mut all_ended).map(drop)
    }

    /// Beside the program, for a Wine that lacks that library.
    fn make_random_numbers(&self) -> Result<()> {
        let source = workspace::root().join("xtask/src/package/stub-bcryptprimitives.c");
        let library = self.folder.join("bcryptprimitives.dll");
        let mut command = Command::new(MINGW);
        command.args(["-shared", "-O1", "-o"]).arg(&library).arg(&source).args(["-ladvapi32"]);
        logged(&self.folder, "mingw", &mut command).map(drop)
    }

    /// A program under Wine: with its folder, without a screen, and silent about what is only a remark.
    fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(&self.wine);
        command.arg(program.as_ref()).current_dir(&self.folder).stdin(Stdio::null());
        command.env("WINEPREFIX", &self.prefix).env("WINEDEBUG", "-all").env_remove("DISPLAY");
        // No browser, no .NET: nothing that would be asked for on a screen.
        command.env("WINEDLLOVERRIDES", "mscoree,mshtml=;bcryptprimitives=n");
        command
    }

    /// iesp itself.
    fn iesp(&self, arguments: &[&str]) -> Command {
        let mut command = self.command(&self.program);
        command.args(arguments);
        command
    }
}

impl Drop for Wine {
    fn drop(&mut self) {
        // All that runs in its folder.
        let mut command = Command::new(&self.server);
        command.arg("-k").env("WINEPREFIX", &self.prefix).stdin(Stdio::null());
        let _ = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
    }
}

/// As [`logged`], with more patience, and its output to a file that children may hold open.
fn logged_for(folder: &Path, name: &str, command: &mut Command) -> Result<String> {
    let log = folder.join(format!("{name}.log"));
    let ended = xtask_common::process::run_logged(command, &log, LIMIT)?;
    let text = String::from_utf8_lossy(&std::fs::read(&log)?).into_owned();
    ensure!(ended == Ended::Exit(0), "{name}: {ended}: {}", text.trim());
    Ok(text)
}

fn serves(wine: &Wine, folder: &Path) -> Result<()> {
    let image = folder.join("disk.img");
    sparse_image(&image, DISK_BYTES)?;
    for round in 0..2 {
        let port = free_port()?;
        let (portal, url) = addresses(port);
        let (out, err) = (folder.join("iesp.stdout.log"), folder.join("iesp.stderr.log"));
        let mut command = wine.iesp(&["-d", "disk.img", "-i", &portal, "-t", NAME]);
        command.stdout(std::fs::File::create(&out)?).stderr(std::fs::File::create(&err)?);
        let mut running = Running::start(&mut command)?;
        wait_for(&portal, || {
            if let Some(ended) = running.ended()? {
                bail!("it does not serve ({ended}): {}", std::fs::read_to_string(&err).unwrap_or_default());
            }
            Ok(())
        })?;
        if round == 0 {
            exercise::find(folder, &portal, &url, DISK_BYTES)?;
            exercise::write(folder, &url)?;
        } else {
            exercise::verify(folder, &url)?;
        }
        // Of two programs one has the image.
        let second = wine.iesp(&["-d", "disk.img", "-i", "127.0.0.1", "-p", "0"]).output()?;
        let said = String::from_utf8_lossy(&second.stderr).into_owned();
        ensure!(!second.status.success() && said.contains("in use"), "a second iesp on the same image: {said}");
        // Wine makes Ctrl-C of it.
        let ended = running.interrupt(LIMIT)?;
        ensure!(ended == Ended::Exit(0), "its end: {ended}: {}", std::fs::read_to_string(&err).unwrap_or_default());
        let screen = std::fs::read_to_string(&out)?;
        ensure!(screen.contains(&url), "the first screen has no {url}: {screen}");
    }
    exercise::verify_image(&image)
}

fn is_a_service(wine: &Wine, folder: &Path) -> Result<()> {
    // Wine ends its service manager, and all services, when no other program runs: somebody is there all the time.
    let mut resident = wine.iesp(&["-b", "ram", "-d", "1M", "-i", "127.0.0.1", "-p", "0"]);
    let mut resident = Running::start(resident.stdout(Stdio::null()).stderr(Stdio::null()))?;
    let (portal, url) = addresses(free_port()?);
    // As Wine names this folder.
    let image = format!("Z:{}", folder.join("disk.img").display());
    let install = ["service", "install", "--", "-d", &image, "-i", &portal, "-t", NAME];
    let wrong = wine.iesp(&["service", "install", "--", "-d", &image, "-i", "nowhere.invalid"]).output()?;
    ensure!(!wrong.status.success(), "a service with a wrong address is installed");
    logged_for(folder, "service-install", &mut wine.iesp(&install))?;
    wait_for(&portal, || Ok(()))?;
    exercise::verify(folder, &url)?;
    logged_for(folder, "service-uninstall", &mut wine.iesp(&["service", "uninstall"]))?;
    ensure!(std::net::TcpStream::connect(&portal).is_err(), "the service still serves when it is taken away");
    let again = wine.iesp(&["service", "uninstall"]).output()?;
    ensure!(!again.status.success(), "a service that is not there is taken away");
    let ended = resident.interrupt(LIMIT)?;
    ensure!(ended == Ended::Exit(0), "another iesp, beside the service: {ended}");
    Ok(())
}

fn free_port() -> Result<u16> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

fn addresses(port: u16) -> (String, String) {
    let portal = format!("127.0.0.1:{port}");
    let url = format!("iscsi://{portal}/{NAME}/0");
    (portal, url)
}

/// Waits until somebody listens there; `check` may see that nobody will.
fn wait_for(portal: &str, mut check: impl FnMut() -> Result<()>) -> Result<()> {
    let start = Instant::now();
    while std::net::TcpStream::connect(portal).is_err() {
        check()?;
        ensure!(start.elapsed() < LIMIT, "nobody listens at {portal}");
        std::thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}
