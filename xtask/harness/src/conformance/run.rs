//! Runs the tests: each in its own process, against a target of its own that starts on a fresh disk.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use anyhow::{Context, Result};
use xtask_common::conformance::Outcome;
use xtask_common::process::timed;
use xtask_common::target::{Launch, Served, sparse_image};

use super::card;
use super::config::{Digests, Disk, Glob, Repair};
use super::digest_proxy::{DigestProxy, Mode};
use super::preload::{Effect, Preload};
use super::tool::{Run, TestTool};
use crate::nbd_server::{Kind, Server};

/// Where a test's target comes from.
#[derive(Debug)]
pub enum Place<'a> {
    /// `iesp`, started for each test with a fresh disk.
    Fresh {
        /// The program.
        iesp: &'a Path,
        /// What it serves and how.
        disk: &'a Disk,
        /// What has its blocks.
        backing: Backing,
    },
    /// A target that someone else runs: its state goes from test to test.
    Existing {
        /// The name in the reports.
        name: &'a str,
        /// The logical unit's URL.
        url: &'a str,
        /// What is known of it.
        disk: Option<&'a Disk>,
    },
}

impl Place<'_> {
    /// The disk's name in the reports.
    pub fn name(&self) -> &str {
        match self {
            Place::Fresh { disk, .. } => &disk.name,
            Place::Existing { name, .. } => name,
        }
    }
}

/// What has the blocks of a disk.
#[derive(Clone, Copy, Debug)]
pub enum Backing {
    /// An image file.
    File,
    /// An image behind an NBD server.
    Nbd(Kind),
    /// An image of a card, in the board that `cargo xtask conformance --simulator` simulates.
    Card,
}

/// One test to run.
#[derive(Clone, Copy, Debug)]
pub struct Job<'a> {
    /// The test's name.
    pub test: &'a str,
    /// Where it runs, as an index into the places.
    pub place: usize,
}

/// What came of one test.
#[derive(Debug)]
pub struct Done {
    /// The job's index.
    pub job: usize,
    /// What the tool said.
    pub outcome: Outcome,
    /// What was wrong with the target itself, such as a panic.
    pub target_fault: Option<String>,
    /// How long it took, target included.
    pub took: Duration,
}

/// What all tests of a run share.
#[derive(Debug)]
pub struct Runner<'a> {
    /// The test-tool.
    pub tool: &'a TestTool,
    /// Where the tests run.
    pub places: &'a [Place<'a>],
    /// The tests.
    pub jobs: &'a [Job<'a>],
    /// Tests that the tool gets wrong by itself.
    pub repairs: &'a [Repair],
    /// The library that goes between the tool and libiscsi, where a job needs it.
    pub preload: Option<&'a Preload>,
    /// How long one test may take.
    pub limit: Duration,
    /// The folder for images and logs.
    pub dir: &'a Path,
    /// Keep the logs of tests that passed, too.
    pub keep_logs: bool,
}

/// How many tests may hang on a disk before the rest is given up: a dead target must not cost an hour.
const HANGS_UNTIL_GIVEN_UP: usize = 8;

/// How many starts of the target may fail on a disk until then: one may be for want of the machine's time.
const STARTS_UNTIL_GIVEN_UP: usize = 3;

/// What is known of a place while the run goes on.
#[derive(Debug, Default)]
struct Health {
    failed_starts: AtomicUsize,
    hangs: AtomicUsize,
}

impl Health {
    fn is_given_up(&self) -> bool {
        self.failed_starts.load(Ordering::Relaxed) >= STARTS_UNTIL_GIVEN_UP
            || self.hangs.load(Ordering::Relaxed) >= HANGS_UNTIL_GIVEN_UP
    }
}

impl Runner<'_> {
    /// Runs all jobs, `parallel` at a time, and reports each as it ends.
    pub fn run(&self, parallel: usize, mut report: impl FnMut(Done)) {
        let next = AtomicUsize::new(0);
        let health: Vec<Health> = self.places.iter().map(|_| Health::default()).collect();
        let (sender, receiver) = mpsc::channel();
        std::thread::scope(|scope| {
            for _ in 0..parallel.max(1) {
                let (sender, next, health) = (sender.clone(), &next, &health);
                scope.spawn(move || {
                    loop {
                        let index = next.fetch_add(1, Ordering::Relaxed);
                        let Some(job) = self.jobs.get(index) else { break };
                        let done = self.run_one(index, *job, &health[job.place]);
                        if sender.send(done).is_err() {
                            break;
                        }
                    }
                });
            }
            drop(sender);
            receiver.iter().for_each(&mut report);
        });
    }

    fn run_one(&self, index: usize, job: Job<'_>, health: &Health) -> Done {
        if health.is_given_up() {
            let why = "given up: the target does not serve this disk, or too many tests hung".to_owned();
            return Done { job: index, outcome: Outcome::NotRun { why }, target_fault: None, took: Duration::ZERO };
        }
        let (result, took) = timed(|| self.run_in_folder(job, health));
        let (outcome, target_fault) = result.unwrap_or_else(|error| {
            let why = format!("{error:#}");
            (Outcome::NotRun { why }, None)
        });
        if matches!(outcome, Outcome::Hung { .. }) {
            health.hangs.fetch_add(1, Ordering::Relaxed);
        }
        Done { job: index, outcome, target_fault, took }
    }

    fn run_in_folder(&self, job: Job<'_>, health: &Health) -> Result<(Outcome, Option<String>)> {
        let place = &self.places[job.place];
        let folder = log_folder(self.dir, place.name(), job.test);
        std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let log = folder.join("test-tool.log");

        let (outcome, fault) = match place {
            Place::Existing { url, .. } => (self.run_tool(job.test, place, url, &log)?, None),
            Place::Fresh { iesp, disk, backing } => {
                let image = folder.join("disk.img");
                let (served, _server) = serve(iesp, disk, *backing, &image, &folder)
                    .inspect_err(|_| _ = health.failed_starts.fetch_add(1, Ordering::Relaxed))?;
                let mode = disk.digests.map(|digests| match digests {
                    Digests::Proxy => Mode::Add,
                    Digests::Libiscsi => Mode::Watch,
                });
                let proxy = mode.map(|mode| DigestProxy::start(served.portal(), mode)).transpose()?;
                let url = match &proxy {
                    Some(proxy) => served.url().replacen(served.portal(), proxy.portal(), 1),
                    None => served.url().to_owned(),
                };
                let outcome = self.run_tool(job.test, place, &url, &log)?;
                let digest_fault = proxy.as_ref().and_then(DigestProxy::verdict);
                let fault = served.stop().err().map(|error| format!("{error:#}")).or(digest_fault);
                let fault = match backing {
                    Backing::Card => fault.or(card::check(&image).err().map(|error| format!("{error:#}"))),
                    Backing::File | Backing::Nbd(_) => fault,
                };
                std::fs::remove_file(&image)?;
                (outcome, fault)
            }
        };
        let is_well = matches!(outcome, Outcome::Passed | Outcome::Skipped { .. }) && fault.is_none();
        if is_well && !self.keep_logs {
            std::fs::remove_dir_all(&folder)?;
        }
        Ok((outcome, fault))
    }

    fn run_tool(&self, test: &str, place: &Place<'_>, url: &str, log: &Path) -> Result<Outcome> {
        let effects = effects(test, place, self.repairs);
        let one_path = match place {
            Place::Existing { disk: Some(disk), .. } | Place::Fresh { disk, .. } => disk.one_session,
            Place::Existing { disk: None, .. } => false,
        };
        let run = Run { test, url, one_path, effects: &effects, log, limit: self.limit };
        self.tool.run(&run, self.preload)
    }
}

/// Makes a disk and serves it; what serves its blocks lives as long as the answer.
fn serve(program: &Path, disk: &Disk, backing: Backing, image: &Path, dir: &Path) -> Result<(Served, Option<Server>)> {
    let bytes = disk.size_mib << 20;
    let server = match backing {
        Backing::Card => return Ok((card::serve(program, disk, image, dir)?, None)),
        Backing::File => {
            sparse_image(image, bytes)?;
            None
        }
        Backing::Nbd(kind) => {
            kind.image(image, bytes)?;
            Some(Server::start(kind, image, &dir.join("nbd-server.log"))?)
        }
    };
    let export = server.as_ref().map(|server| PathBuf::from(server.url()));
    let more = server.as_ref().map(|_| Server::arguments()).unwrap_or_default();
    let launch = Launch {
        iesp: program,
        image: export.as_deref().unwrap_or(image),
        address: "127.0.0.1",
        arguments: &[&disk.iesp[..], &more].concat(),
        chap: disk.chap.as_ref(),
        dir,
    };
    Ok((Served::start(&launch)?, server))
}

/// What the library between the tool and libiscsi has to do for a test.
pub fn effects(test: &str, place: &Place<'_>, repairs: &[Repair]) -> Vec<Effect> {
    let repairs = repairs.iter().filter(|repair| Glob::any(&repair.tests, test)).map(|repair| repair.effect);
    let digest = match place {
        Place::Fresh { disk, .. } if disk.digests == Some(Digests::Libiscsi) => Some(Effect::HeaderDigest),
        _ => None,
    };
    digest.into_iter().chain(repairs).collect()
}

/// Where a test's logs are.
pub fn log_folder(dir: &Path, disk: &str, test: &str) -> PathBuf {
    dir.join(disk).join(test)
}
