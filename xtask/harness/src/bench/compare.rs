//! `--against COMMIT`: iesp as it is and as it was, in turns on the same cores.
//!
//! Each round puts every load on both, one right after the other, and changes who is first: what
//! the machine does meanwhile meets both. Ratios are taken within a round. What a ratio is worth is
//! its interval: "within 3 %" says that all of it is.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;

use super::Scale;
use super::loads::Load;
use super::peers::{Peer, Server};
use super::sample::{Sample, Times, measure};
use crate::commit::Commit;
use crate::measure::cores::{self, Cores};
use crate::measure::{Interval, Machine, MemoryFolder, Spread, full_image};

/// A difference up to this is none.
const TOLERANCE: f64 = 0.03;

/// What became of the CPU time that a load takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Verdict {
    /// All of the interval is close to 1.
    Within,
    /// All of it is below.
    Better,
    /// All of it is above.
    Worse,
    /// The interval is too wide, or at the border.
    Unknown,
}

impl Verdict {
    fn of(cpu: Interval) -> Self {
        if cpu.is_within(TOLERANCE) {
            Verdict::Within
        } else if cpu.low > 1.0 + TOLERANCE {
            Verdict::Worse
        } else if cpu.high < 1.0 - TOLERANCE {
            Verdict::Better
        } else {
            Verdict::Unknown
        }
    }

    fn text(self) -> &'static str {
        match self {
            Verdict::Within => "within 3 %",
            Verdict::Better => "better by more than 3 %",
            Verdict::Worse => "WORSE by more than 3 %",
            Verdict::Unknown => "not known to 3 %",
        }
    }
}

/// One load: now beside before.
#[derive(Debug, Serialize)]
struct Row {
    load: &'static str,
    about: &'static str,
    before_cpu_us: Spread,
    now_cpu_us: Spread,
    /// Now to before, as all ratios here: CPU time of the target an operation.
    cpu: Interval,
    /// Operations a second.
    rate: Interval,
    /// The latency's median.
    p50: Interval,
    /// The latency's 99th percentile.
    p99: Interval,
    verdict: Verdict,
}

impl Row {
    fn of(load: &Load, rounds: &[[Sample; 2]]) -> Option<Self> {
        let ratio =
            |field: fn(&Sample) -> f64| Interval::of(rounds.iter().map(|[before, now]| field(now) / field(before)));
        let cpu = ratio(|sample| sample.server_cpu_us)?;
        Some(Row {
            load: load.name,
            about: load.about,
            before_cpu_us: Spread::of(rounds.iter().map(|[before, _]| before.server_cpu_us)),
            now_cpu_us: Spread::of(rounds.iter().map(|[_, now]| now.server_cpu_us)),
            cpu,
            rate: ratio(|sample| sample.operations_per_second)?,
            p50: ratio(|sample| sample.p50_us)?,
            p99: ratio(|sample| sample.p99_us)?,
            verdict: Verdict::of(cpu),
        })
    }
}

/// What is written as JSON.
#[derive(Serialize)]
struct Report<'a> {
    before: &'a str,
    now: &'a str,
    machine: &'a Machine,
    rounds: u32,
    seconds: f64,
    loads: &'a [Row],
}

/// Compares, and prints a table; where `binding`, what became worse is a failure.
///
/// # Errors
/// When one of them does not build or run, or iesp became worse.
pub fn run(
    commit: &Commit,
    loads: &[&Load],
    scale: &Scale,
    (generator, now): (&Path, &Path),
    json: Option<&Path>,
    binding: bool,
) -> Result<()> {
    // What was just built: a commit that is made meanwhile is another one.
    let now_name = super::commit_name();
    let before = commit.iesp()?;
    let (machine, cores) = (Machine::look(), Cores::choose()?);
    println!("{} CPUs, {}, Linux {}; {cores}", machine.cpus, machine.model, machine.kernel);
    super::warn_if_busy(&machine);
    let folder = MemoryFolder::new()?;
    let image = folder.path().join("disk");
    full_image(&image, scale.image_bytes)?;
    let programs = [before, now.to_owned()];
    let mut rounds: Vec<Vec<[Sample; 2]>> = loads.iter().map(|_| Vec::new()).collect();
    for round in 0..scale.rounds {
        for (load, rounds) in loads.iter().zip(&mut rounds) {
            eprintln!("round {} of {}: {}", round + 1, scale.rounds, load.about);
            let mut pair = [None, None];
            // Before, now; now, before; and so on.
            let order = if round.is_multiple_of(2) { [0, 1] } else { [1, 0] };
            for side in order {
                pair[side] = Some(one(&programs[side], load, scale.times, round, (generator, &image, &folder), cores)?);
            }
            rounds.extend(pair[0].zip(pair[1]).map(|(before, now)| [before, now]));
        }
    }
    let rows: Vec<Row> = loads.iter().zip(&rounds).filter_map(|(load, rounds)| Row::of(load, rounds)).collect();
    if rows.len() != loads.len() {
        bail!("{} rounds are too few for an interval: {} are needed", scale.rounds, Interval::LEAST_ROUNDS);
    }
    println!("{}", table(&rows));
    println!(
        "Before: {}. Now: {}. Ratios now to before, with the interval that holds the true one with 95 % confidence; {} rounds of {} s.",
        commit.about, now_name, scale.rounds, scale.times.measure
    );
    if let Some(file) = json {
        let (rounds, seconds) = (scale.rounds, scale.times.measure);
        let report = Report { before: &commit.about, now: &now_name, machine: &machine, rounds, seconds, loads: &rows };
        let text = serde_json::to_string_pretty(&report)? + "\n";
        std::fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))?;
    }
    conclude(&rows, binding)
}

/// One of the two under one load.
fn one(
    program: &Path,
    load: &Load,
    times: Times,
    round: u32,
    (generator, image, folder): (&Path, &PathBuf, &MemoryFolder),
    cores: Cores,
) -> Result<Sample> {
    let dir = folder.folder("server")?;
    let server = cores::on(cores.target, || Server::start(Peer::Iesp, program, image, &dir))?;
    let sample =
        cores::on(cores.generator, || measure(generator, load, &server, times, u64::from(round) + 1, folder.path()));
    let sample = sample.with_context(|| format!("{} under {}", program.display(), load.about))?;
    server.stop().with_context(|| format!("{} did not end well", program.display()))?;
    Ok(sample)
}

fn conclude(rows: &[Row], binding: bool) -> Result<()> {
    let count = |verdict| rows.iter().filter(|row| row.verdict == verdict).count();
    let [within, better, worse, unknown] =
        [Verdict::Within, Verdict::Better, Verdict::Worse, Verdict::Unknown].map(count);
    let same = rows.iter().filter(|row| row.cpu.holds(1.0)).count();
    println!("{same} of {} intervals of the CPU time hold 1", rows.len());
    println!("verdict: {within} loads within 3 %, {better} better, {worse} worse, {unknown} not known to 3 %");
    if unknown > 0 {
        println!("an interval that is too wide becomes narrower with --rounds and on a machine that does nothing else");
    }
    if worse > 0 && binding {
        bail!("{worse} of {} loads cost iesp more CPU time than before", rows.len());
    }
    Ok(())
}

fn table(rows: &[Row]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED).set_header([
        "load",
        "CPU µs/op before",
        "now",
        "CPU time",
        "op/s",
        "p50",
        "p99",
        "CPU time is",
    ]);
    for column in table.column_iter_mut().skip(1).take(6) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    for row in rows {
        table.add_row([
            row.about.to_owned(),
            format!("{:.2}", row.before_cpu_us.median),
            format!("{:.2}", row.now_cpu_us.median),
            row.cpu.to_string(),
            row.rate.to_string(),
            row.p50.to_string(),
            row.p99.to_string(),
            row.verdict.text().to_owned(),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::loads::LOADS;

    fn sample(cpu: f64) -> Sample {
        Sample {
            operations_per_second: 1e6 / cpu,
            server_cpu_us: cpu,
            load_cpu_us: 1.0,
            p50_us: cpu,
            p99_us: 2.0 * cpu,
            p99_9_us: 3.0 * cpu,
        }
    }

    /// Rounds on a machine whose speed changes from round to round, with a little noise within
    /// each.
    fn rounds(ratio: f64, noise: f64) -> Vec<[Sample; 2]> {
        let round = |number: i32| {
            let speed = f64::from(number % 4 + 1);
            let up = if number % 2 == 0 { 1.0 + noise } else { 1.0 - noise };
            [sample(speed), sample(speed * ratio * up)]
        };
        (0..14).map(round).collect()
    }

    #[test]
    fn a_verdict_is_about_the_whole_interval() {
        let verdict = |ratio, noise| Row::of(&LOADS[0], &rounds(ratio, noise)).unwrap().verdict;
        assert_eq!(verdict(1.0, 0.01), Verdict::Within);
        assert_eq!(verdict(1.02, 0.005), Verdict::Within);
        assert_eq!(verdict(1.02, 0.02), Verdict::Unknown);
        assert_eq!(verdict(1.0, 0.2), Verdict::Unknown);
        assert_eq!(verdict(1.1, 0.01), Verdict::Worse);
        assert_eq!(verdict(0.9, 0.01), Verdict::Better);
    }

    #[test]
    fn what_became_worse_fails_where_it_counts() {
        let row = |ratio| Row::of(&LOADS[0], &rounds(ratio, 0.01)).unwrap();
        conclude(&[row(1.0), row(0.9)], true).unwrap();
        conclude(&[row(1.1)], false).unwrap();
        let error = conclude(&[row(1.0), row(1.1)], true).unwrap_err().to_string();
        assert!(error.contains("1 of 2 loads"), "{error}");
        let rate = row(1.1).rate;
        assert!(rate.ratio < 0.92 && rate.high < 1.0, "{rate}");
        assert!(Row::of(&LOADS[0], &rounds(1.0, 0.01)[..5]).is_none());
    }
}
