//! The checks.

use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use xtask_common::process::Ended;
use xtask_common::target::Served;

use super::Bench;
use super::verifier::Verifier;
use crate::nbd_server::{Kind, Server};

/// How long a verifier may take.
const LIMIT: Duration = Duration::from_secs(600);

/// So many commands have to be in flight over each of two sessions.
const DEPTH: u64 = 32;

/// A server whose writes are lost when it is killed, but for those that were flushed.
const FORGETFUL: (&[&str], &[&str]) = (&["--filter=cache"], &["cache=writeback"]);

/// Numbers that follow from a seed (splitmix64).
struct Dice(u64);

impl Dice {
    /// From 0 to `most`.
    fn throw(&mut self, most: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % (most + 1)
    }

    fn millis(&mut self, least: u64, most: u64) -> Duration {
        Duration::from_millis(least + self.throw(most - least))
    }
}

/// Every block is written and read back: unique ones, duplicates, trims.
pub fn verify(bench: &Bench<'_>, kind: Kind) -> Result<String> {
    let image = bench.image(kind)?;
    let server = Server::start(kind, &image, &bench.dir.join("server.log"))?;
    let served = bench.serve(&server)?;
    let seed = bench.seed.to_string();
    let arguments = ["-d", served.url(), "-b", "4096", "-u", "75", "-n", "6", "-T", "10", "-t", "--seed", &seed];
    let figures = Verifier::start(bench.verifier, &arguments, &bench.dir, "verifier")?.verified(LIMIT)?;
    served.stop()?;
    ensure!(figures.coverage_percent >= 100.0, "only {:.1} % were covered", figures.coverage_percent);
    Ok(format!("{} operations, {} flushes", figures.ops, figures.flushes))
}

/// Two sessions, each with many commands in flight: writes by one, reads by the other, over a server whose replies come in any
/// order.
pub fn two_paths(bench: &Bench<'_>) -> Result<String> {
    let image = bench.image(Kind::Nbdkit)?;
    let log = bench.dir.join("server.log");
    let delays = ["delay-read=5ms", "delay-write=5ms"];
    let server = Server::nbdkit(&image, &log, &["--filter=delay"], &delays)?;
    let served = bench.serve(&server)?;
    let (url, seed) = (served.url(), bench.seed.to_string());
    let more = ["-b", "4096", "-u", "75", "-n", "96", "--sessions", "1", "-T", "5", "--seconds", "8", "--seed", &seed];
    let arguments = [&["-d", url, "--second-path", url][..], &more].concat();
    let figures = Verifier::start(bench.verifier, &arguments, &bench.dir, "verifier")?.verified(LIMIT)?;
    served.stop()?;
    ensure!(figures.most_in_flight >= DEPTH, "only {} commands were in flight at once", figures.most_in_flight);
    Ok(format!("{} operations, up to {} commands in flight over each session", figures.ops, figures.most_in_flight))
}

/// The server is killed and started again under load; in the end it and iesp are killed at once, as a power cut would.
pub fn kills(bench: &Bench<'_>) -> Result<String> {
    let image = bench.image(Kind::Nbdkit)?;
    let mut server = Server::nbdkit(&image, &bench.dir.join("server.log"), FORGETFUL.0, FORGETFUL.1)?;
    let mut dice = Dice(bench.seed);
    let mut run = Journaled::start(bench, &server)?;
    for _ in 0..bench.kills {
        sleep(dice.millis(20, 150));
        run.verifier.goes_on()?;
        server.kill()?;
        sleep(dice.millis(0, 30));
        server.start_again()?;
    }
    sleep(dice.millis(100, 300));
    let figures = run.power_cut(bench, &mut server, &image, &mut dice)?;
    Ok(format!("{} kills; {figures}", bench.kills))
}

/// nbdkit's delay and error filters, in phases that follow from the seed. Its errors are ESHUTDOWN, which a client has to take
/// for a connection that is lost: initiators must not notice.
pub fn faults(bench: &Bench<'_>) -> Result<String> {
    let image = bench.image(Kind::Nbdkit)?;
    let mut server = Server::nbdkit(&image, &bench.dir.join("server.log"), FORGETFUL.0, FORGETFUL.1)?;
    let mut dice = Dice(bench.seed ^ 0xfa17);
    let mut run = Journaled::start(bench, &server)?;
    const PHASES: u64 = 12;
    for _ in 0..PHASES {
        sleep(dice.millis(100, 300));
        run.verifier.goes_on()?;
        server.kill()?;
        let filters = ["--filter=error", "--filter=delay", FORGETFUL.0[0]].map(str::to_owned).into();
        let mut parameters = vec![FORGETFUL.1[0].to_owned(), "error=ESHUTDOWN".to_owned()];
        for call in ["pread", "pwrite"] {
            parameters.push(format!("error-{call}-rate={:.4}", 0.0005 * (1 + dice.throw(9)) as f64));
        }
        for call in ["read", "write", "zero"] {
            parameters.push(format!("delay-{call}={}ms", dice.throw(4)));
        }
        server.change(filters, parameters);
        server.start_again()?;
    }
    sleep(dice.millis(100, 300));
    let lost = run.connections_lost(bench)?;
    ensure!(lost > PHASES, "no injected error was met: {lost} connections were lost in {PHASES} phases");
    let figures = run.power_cut(bench, &mut server, &image, &mut dice)?;
    Ok(format!("{PHASES} phases, {lost} connections lost; {figures}"))
}

/// Errors of the server's reach the initiator as such; what was not refused is right.
pub fn errors(bench: &Bench<'_>) -> Result<String> {
    let image = bench.image(Kind::Nbdkit)?;
    let rates = ["error=EIO", "error-pread-rate=0.5%", "error-pwrite-rate=0.5%", "delay-write=1ms"];
    let parameters = [FORGETFUL.1, &rates].concat();
    let filters = [&["--filter=error", "--filter=delay"], FORGETFUL.0].concat();
    let server = Server::nbdkit(&image, &bench.dir.join("server.log"), &filters, &parameters)?;
    let served = bench.serve(&server)?;
    let seed = bench.seed.to_string();
    let limits = ["--seconds", "6", "--max-faults", "1000000", "--no-final-check", "--seed", &seed];
    let arguments = [&["-d", served.url(), "-b", "4096", "-u", "75", "-n", "4", "-T", "5"][..], &limits].concat();
    let verdict = Verifier::start(bench.verifier, &arguments, &bench.dir, "verifier")?.wait(LIMIT)?;
    let count = |kind: &str| verdict.faults.iter().filter(|fault| *fault == kind).count();
    let told = ["read-error", "write-error", "flush-error", "trim-error"].map(|kind| (kind, count(kind)));
    let others: Vec<_> =
        verdict.faults.iter().filter(|fault| told.iter().all(|(kind, _)| kind != &fault.as_str())).collect();
    ensure!(others.is_empty(), "not only errors: {others:?}");
    ensure!(verdict.ended == Ended::Exit(1), "the verifier ended with {}", verdict.ended);
    ensure!(told[..2].iter().all(|(_, count)| *count > 0), "not all kinds of errors were met: {told:?}");
    // The last flush may fail, too, and then iesp says so.
    drop(served);
    Ok(format!("{} operations, {told:?}", verdict.figures.ops))
}

/// A verifier with a journal, until a power cut.
struct Journaled {
    served: Served,
    verifier: Verifier,
    journal: String,
}

impl Journaled {
    fn start(bench: &Bench<'_>, server: &Server) -> Result<Self> {
        let served = bench.serve(server)?;
        let journal = bench.dir.join("journal").display().to_string();
        let seed = bench.seed.to_string();
        let load = ["-b", "4096", "-u", "75", "-n", "6", "-T", "5", "--flush-percent", "5", "--fua-percent", "5"];
        let arguments =
            [&["-d", served.url(), "--journal", &journal, "--seed", &seed, "--seconds", "500"][..], &load].concat();
        let verifier = Verifier::start(bench.verifier, &arguments, &bench.dir, "verifier")?;
        Ok(Journaled { served, verifier, journal })
    }

    /// How often iesp said that it lost the connection.
    fn connections_lost(&self, bench: &Bench<'_>) -> Result<u64> {
        let text = std::fs::read_to_string(bench.dir.join("iesp.stderr.log"))?;
        Ok(text.lines().filter(|line| line.contains("is lost")).count() as u64)
    }

    /// The verifier comes to its end, every command of its answered, or is cut off, as the dice fall; server and iesp are
    /// killed; what was flushed is in the image, and is served again.
    fn power_cut(self, bench: &Bench<'_>, server: &mut Server, image: &Path, dice: &mut Dice) -> Result<String> {
        let Journaled { served, mut verifier, journal } = self;
        verifier.interrupt()?;
        let figures = verifier.verified(Duration::from_secs(90))?;
        ensure!(figures.flushes > 0 && figures.ops > 100, "{} operations are no load", figures.ops);
        server.kill()?;
        drop(served);
        let check = |device: &str, name: &str| {
            let arguments = ["-d", device, "--verify-after-crash", &journal];
            Verifier::start(bench.verifier, &arguments, &bench.dir, name)?.verified(LIMIT)
        };
        check(&image.display().to_string(), "image")?;
        server.change(FORGETFUL.0.iter().map(|word| (*word).to_owned()).collect(), vec![FORGETFUL.1[0].to_owned()]);
        server.start_again()?;
        let served = bench.serve(server)?;
        check(served.url(), "again")?;
        served.stop()?;
        let second = cut_off(bench, server, image, dice)?;
        Ok(format!("{} operations, {} flushes; {second}", figures.ops, figures.flushes))
    }
}

/// The same once more without warning: commands are under way when everything is killed.
fn cut_off(bench: &Bench<'_>, server: &mut Server, image: &Path, dice: &mut Dice) -> Result<String> {
    std::fs::rename(bench.dir.join("journal"), bench.dir.join("journal.first"))?;
    let run = Journaled::start(bench, server)?;
    sleep(dice.millis(500, 900));
    let Journaled { served, mut verifier, journal } = run;
    verifier.goes_on()?;
    server.kill()?;
    drop(served);
    let verdict = verifier.wait(Duration::from_secs(90))?;
    if verdict.ended != Ended::Exit(2) || !verdict.faults.is_empty() {
        bail!("cut off, the verifier ended with {}: {:?}", verdict.ended, verdict.faults);
    }
    let device = image.display().to_string();
    let arguments = ["-d", &device, "--verify-after-crash", &journal];
    Verifier::start(bench.verifier, &arguments, &bench.dir, "cut-off")?.verified(LIMIT)?;
    server.start_again()?;
    Ok(format!("cut off after {} more", verdict.figures.ops))
}
