//! Two results compared: iesp now and iesp as it was kept, each beside the yardstick of its own run.

use std::path::Path;

use anyhow::{Context, Result, bail};
use comfy_table::{CellAlignment, Table, presets};
use serde::Deserialize;

use super::peers::Peer;
use super::summary::LoadResult;
use crate::measure::{Machine, Spread};

/// A median that is off by less than this is the same, whatever the spreads say.
const TOLERANCE: f64 = 0.05;

/// A result that was written before.
#[derive(Debug, Deserialize)]
pub struct Kept {
    #[serde(default)]
    commit: String,
    machine: KeptMachine,
    loads: Vec<KeptLoad>,
}

#[derive(Debug, Deserialize)]
struct KeptMachine {
    model: String,
    kernel: String,
}

#[derive(Debug, Deserialize)]
struct KeptLoad {
    load: String,
    servers: Vec<KeptServer>,
}

#[derive(Debug, Deserialize)]
struct KeptServer {
    server: String,
    server_cpu_us: Spread,
    #[serde(default)]
    to_yardstick: Option<Spread>,
}

/// What became of one load.
#[derive(Debug, PartialEq)]
struct Row {
    load: &'static str,
    about: &'static str,
    unit: &'static str,
    before: Spread,
    now: Spread,
    verdict: Verdict,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Better,
    Same,
    Worse,
}

impl Verdict {
    /// Two ranges that overlap may be the same thing.
    fn of(before: Spread, now: Spread) -> Self {
        if now.min > before.max && now.median > before.median * (1.0 + TOLERANCE) {
            Verdict::Worse
        } else if now.max < before.min && now.median < before.median * (1.0 - TOLERANCE) {
            Verdict::Better
        } else {
            Verdict::Same
        }
    }

    fn name(self) -> &'static str {
        match self {
            Verdict::Better => "better",
            Verdict::Same => "same",
            Verdict::Worse => "WORSE",
        }
    }
}

impl Kept {
    /// Reads a file that `--json` or `--keep` has written.
    ///
    /// # Errors
    /// When it is not there, or something else.
    pub fn read(file: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
        serde_json::from_str(&text).with_context(|| format!("{} is no result of `cargo xtask bench`", file.display()))
    }

    /// Prints how iesp stands beside what it was.
    ///
    /// # Errors
    /// When there is nothing to compare, or iesp became slower; the latter only where `binding`.
    pub fn compare(&self, results: &[LoadResult], machine: &Machine, binding: bool) -> Result<()> {
        let rows = self.rows(results);
        if rows.is_empty() {
            bail!("nothing can be compared: both results need iesp under the same loads");
        }
        println!("{}", table(&rows, &self.commit));
        if (self.machine.model.as_str(), self.machine.kernel.as_str()) != (&*machine.model, &*machine.kernel) {
            println!(
                "It was another machine ({}, Linux {}): only multiples of the yardstick can be compared.",
                self.machine.model, self.machine.kernel
            );
        }
        let count = |verdict| rows.iter().filter(|row| row.verdict == verdict).count();
        let [better, same, worse] = [Verdict::Better, Verdict::Same, Verdict::Worse].map(count);
        println!("verdict: {better} loads better, {same} the same, {worse} worse");
        if worse > 0 && binding {
            bail!("{worse} of {} loads cost iesp more CPU time than before", rows.len());
        }
        Ok(())
    }

    fn rows(&self, results: &[LoadResult]) -> Vec<Row> {
        let iesp = Peer::Iesp.name();
        let row = |result: &LoadResult| {
            let before = self.loads.iter().find(|kept| kept.load == result.load)?;
            let before = before.servers.iter().find(|server| server.server == iesp)?;
            let now = result.servers.iter().find(|server| server.server == iesp)?;
            let (unit, before, now) = match (before.to_yardstick, now.to_yardstick) {
                (Some(before), Some(now)) => ("× yardstick", before, now),
                _ => ("µs/op", before.server_cpu_us, now.server_cpu_us),
            };
            Some(Row { load: result.load, about: result.about, unit, before, now, verdict: Verdict::of(before, now) })
        };
        results.iter().filter_map(row).collect()
    }
}

fn table(rows: &[Row], commit: &str) -> Table {
    let before = if commit.is_empty() { "before".to_owned() } else { format!("at {commit}") };
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED).set_header([
        "iesp's CPU time an operation",
        "in",
        &before,
        "now",
        "ratio",
        "",
    ]);
    for column in table.column_iter_mut().skip(2).take(3) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    let range = |spread: Spread| format!("{:.2} ({:.2}..{:.2})", spread.median, spread.min, spread.max);
    for row in rows {
        table.add_row([
            row.about.to_owned(),
            row.unit.to_owned(),
            range(row.before),
            range(row.now),
            format!("{:.2}", row.now.median / row.before.median),
            row.verdict.name().to_owned(),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spread(median: f64) -> Spread {
        Spread { median, min: median * 0.97, max: median * 1.03 }
    }

    #[test]
    fn only_ranges_that_are_apart_are_a_difference() {
        assert_eq!(Verdict::of(spread(1.0), spread(1.2)), Verdict::Worse);
        assert_eq!(Verdict::of(spread(1.2), spread(1.0)), Verdict::Better);
        assert_eq!(Verdict::of(spread(1.0), spread(1.04)), Verdict::Same);
        let wide = Spread { median: 1.2, min: 1.0, max: 1.5 };
        assert_eq!(Verdict::of(spread(1.0), wide), Verdict::Same);
    }

    #[test]
    fn what_was_written_is_read_and_held_against_what_is_now() {
        use super::super::loads::LOADS;
        use super::super::sample::Sample;
        use super::super::summary::summarise;
        let sample = |cpu: f64| Sample {
            operations_per_second: 1.0,
            server_cpu_us: cpu,
            load_cpu_us: 1.0,
            p50_us: 1.0,
            p99_us: 1.0,
            p99_9_us: 1.0,
        };
        let of = |iesp: f64, yardstick: f64| {
            let peers = [(Peer::Iesp, vec![sample(iesp); 3]), (Peer::Yardstick, vec![sample(yardstick); 3])];
            summarise(&LOADS[0], &peers)
        };
        let machine = serde_json::json!({"model": "x", "kernel": "y", "cpus": 2});
        let kept = serde_json::json!({"commit": "abc", "machine": machine, "loads": [of(2.0, 1.0)]});
        let kept: Kept = serde_json::from_value(kept).unwrap();
        // Twice as slow a machine; and then iesp itself.
        assert_eq!(kept.rows(&[of(4.0, 2.0)])[0].verdict, Verdict::Same);
        let here = Machine { cpus: 2, model: "x".into(), kernel: "y".into(), busy_before: 0.0 };
        kept.compare(&[of(4.0, 2.0)], &here, true).unwrap();
        let slower = kept.compare(&[of(6.0, 2.0)], &here, true).unwrap_err().to_string();
        assert!(slower.contains("1 of 1 loads"), "{slower}");
        kept.compare(&[of(6.0, 2.0)], &here, false).unwrap();
        assert!(kept.compare(&[], &here, false).is_err());
    }
}
