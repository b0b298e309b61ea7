//! The program `power-cuts`.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{self, BufRead, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use clap::Parser;
use thiserror::Error;

use super::check::{Trial, TrialError};
use super::cut::Cut;
use super::disk::Disk;
use crate::device::Device;
use crate::planted::nbd;
use crate::size::{SizeError, parse_size};
use crate::verify::crash::{AfterCrash, Census};
use crate::verify::report::describe;

/// Cuts the power of a host afterwards, thousands of times, and looks whether what was flushed is there.
///
/// It takes QEMU's log of a virtual disk (blklogwrites) and the journal of test-blockdevice --journal --block-log. For
/// each cut it makes the disk: what was flushed, and any of what was not, in any order, torn at sectors.
///
/// With --serve a file system lies between the two: the disk of each cut is an NBD export, for a guest that mounts it
/// and copies the image to a second one. Words on standard input lead: next, check.
///
/// Exit code: 0 all cuts hold, 1 one does not, 2 could not run.
#[derive(Debug, Parser)]
#[command(name = "power-cuts", version, max_term_width = 110)]
pub struct Options {
    /// QEMU's log of the disk
    #[arg(long, value_name = "FILE")]
    pub log: PathBuf,

    /// The journal of the load
    #[arg(long, value_name = "FILE")]
    pub journal: PathBuf,

    /// How many cuts
    #[arg(long, value_name = "N", default_value_t = 1000)]
    pub cuts: usize,

    /// Repeat the cuts of this seed; without, one is chosen and printed
    #[arg(long, value_name = "SEED")]
    pub seed: Option<u64>,

    /// Only the cut of this number
    #[arg(long, value_name = "N")]
    pub only: Option<usize>,

    /// The disk's size [default: as far as it was written to]
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub disk_size: Option<u64>,

    /// Write the disk of the cut to this file
    #[arg(long, value_name = "FILE", requires = "only", conflicts_with = "serve")]
    pub write: Option<PathBuf>,

    /// Serve the disk at the socket `disk` in this folder, and at `image` one for the image that was found on it
    #[arg(long, value_name = "FOLDER", requires = "image_size")]
    pub serve: Option<PathBuf>,

    /// The image's size
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub image_size: Option<u64>,
}

fn size(text: &str) -> Result<u64, String> {
    let size = parse_size(text).map_err(|error: SizeError| error.to_string())?;
    if size > 0 && size.is_multiple_of(4096) { Ok(size) } else { Err("it must be a multiple of 4096".to_owned()) }
}

#[derive(Debug, Error)]
enum Error {
    #[error(transparent)]
    Trial(#[from] TrialError),
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("{0}")]
    Options(String),
}

/// Runs the program.
#[must_use]
pub fn main(options: &Options) -> ExitCode {
    match run(options) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("power-cuts: {error}");
            ExitCode::from(2)
        }
    }
}

/// Whether all cuts held.
fn run(options: &Options) -> Result<bool, Error> {
    let seed = options.seed.unwrap_or_else(|| RandomState::new().build_hasher().finish());
    let trial = Trial::new(&options.log, &options.journal, options.disk_size, options.cuts, seed)?;
    let (start, count) = match options.only {
        Some(only) if only < trial.cuts().len() => (only, only + 1),
        Some(only) => return Err(Error::Options(format!("there is no cut {only} of {}", trial.cuts().len()))),
        None => (0, trial.cuts().len()),
    };
    let mut series = Series { trial, seed, next: start, end: count, sum: Sum::default(), started: Instant::now() };
    match (&options.serve, options.image_size) {
        (Some(folder), Some(image)) => {
            let image = Arc::new(Disk::new(image, 512));
            nbd::serve(&folder.join("disk"), series.trial.replay().disk().clone())?;
            nbd::serve(&folder.join("image"), image.clone())?;
            series.led(&image, io::stdin().lock(), io::stdout().lock())
        }
        _ => series.alone(options),
    }
}

/// Cuts, one after the other.
struct Series {
    trial: Trial,
    seed: u64,
    next: usize,
    end: usize,
    sum: Sum,
    started: Instant,
}

/// What the cuts that held were like.
#[derive(Debug, Default)]
struct Sum {
    cuts: u64,
    pending: u64,
    kept: u64,
    census: Census,
}

impl Series {
    /// Makes the next cut; `None` when there is none.
    fn step(&mut self) -> io::Result<Option<(usize, Cut)>> {
        if self.next >= self.end {
            return Ok(None);
        }
        let (number, cut) = (self.next, self.trial.cuts()[self.next]);
        self.next += 1;
        let made = self.trial.make(&cut)?;
        self.sum.pending += made.pending as u64;
        self.sum.kept += made.kept as u64;
        Ok(Some((number, cut)))
    }

    /// Checks the cut that was made; what is wrong with it, in words.
    fn judge(&mut self, number: usize, cut: &Cut, device: &dyn Device) -> io::Result<Result<(), String>> {
        let AfterCrash { census, findings } = self.trial.check(cut, device)?;
        if let Some(finding) = findings.first() {
            let told = describe(&self.trial.events().plan, finding);
            return Ok(Err(format!(
                "cut {number} at entry {} of {}, seed {}: {told} (test-blockdevice --until {})",
                cut.entries,
                self.trial.replay().log().entries().len(),
                self.seed,
                self.trial.length(cut)
            )));
        }
        let sum = &mut self.sum;
        sum.cuts += 1;
        sum.census.flushed += census.flushed;
        sum.census.old += census.old;
        sum.census.new += census.new;
        sum.census.mixed += census.mixed;
        Ok(Ok(()))
    }

    /// Where the disk itself is tested.
    fn alone(&mut self, options: &Options) -> Result<bool, Error> {
        let disk = self.trial.replay().disk().clone();
        while let Some((number, cut)) = self.step()? {
            if let Some(file) = &options.write {
                let mut all = vec![0; disk.geometry().size as usize];
                disk.read(0, &mut all)?;
                std::fs::write(file, all)?;
            }
            if let Err(wrong) = self.judge(number, &cut, &*disk)? {
                println!("FAULTY: {wrong}");
                return Ok(false);
            }
        }
        println!("{}", self.summary());
        Ok(true)
    }

    /// Where words on `input` lead: `next` makes a cut, `check` looks at the image. Each is answered by a line.
    fn led(&mut self, image: &Disk, input: impl BufRead, mut output: impl Write) -> Result<bool, Error> {
        let mut current = None;
        let mut held = true;
        for word in input.lines() {
            let answer = match (word?.as_str(), current) {
                ("next", _) => {
                    current = self.step()?;
                    image.revert();
                    current.map_or("end".to_owned(), |(number, cut)| format!("cut {number} at entry {}", cut.entries))
                }
                ("check", Some((number, cut))) => match self.judge(number, &cut, image)? {
                    Ok(()) => "held".to_owned(),
                    Err(wrong) => {
                        held = false;
                        format!("FAULTY: {}", wrong.replace('\n', " "))
                    }
                },
                ("summary", _) => self.summary(),
                (other, _) => return Err(Error::Options(format!("'{other}' on standard input"))),
            };
            writeln!(output, "{answer}")?;
            output.flush()?;
        }
        Ok(held)
    }

    fn summary(&self) -> String {
        let Sum { cuts, pending, kept, census } = &self.sum;
        let log = self.trial.replay().log();
        format!(
            "{cuts} cuts held in {:.1} s, seed {}: {} entries, {} flushes acknowledged; {pending} unflushed requests, {kept} \
             of them kept; blocks: {} flushed, {} newer, {} old, {} mixed",
            self.started.elapsed().as_secs_f64(),
            self.seed,
            log.entries().len(),
            self.trial.flushes(),
            census.flushed,
            census.new,
            census.old,
            census.mixed,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_options_are_consistent() {
        use clap::CommandFactory;
        Options::command().debug_assert();
        let options = |line: &str| Options::try_parse_from(line.split(' '));
        let served = options("power-cuts --log l --journal j --serve d --image-size 8M --disk-size 300M").unwrap();
        assert_eq!((served.image_size, served.disk_size), (Some(8 << 20), Some(300 << 20)));
        assert!(options("power-cuts --log l --journal j --serve d").is_err());
        assert!(options("power-cuts --log l --journal j --write f").is_err());
        assert!(options("power-cuts --log l --journal j --disk-size 100").is_err());
    }
}
