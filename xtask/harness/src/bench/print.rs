//! The result as tables.

use comfy_table::{CellAlignment, Table, presets};

use super::summary::LoadResult;
use crate::measure::Spread;

/// The table of measurements: a row for each load and server.
pub fn table(results: &[LoadResult]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED).set_header([
        "load",
        "server",
        "CPU µs/op",
        "to tgt",
        "to yardstick",
        "op/s",
        "p50 µs",
        "p99 µs",
        "p99.9 µs",
        "load's CPU µs/op",
    ]);
    for column in table.column_iter_mut().skip(2) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    for result in results {
        for (index, server) in result.servers.iter().enumerate() {
            table.add_row([
                if index == 0 { result.about.to_owned() } else { String::new() },
                server.server.to_owned(),
                range(server.server_cpu_us),
                server.to_tgt.map(range).unwrap_or_default(),
                server.to_yardstick.map(range).unwrap_or_default(),
                format!("{:.0}", server.operations_per_second.median),
                short(server.p50_us.median),
                short(server.p99_us.median),
                short(server.p99_9_us.median),
                short(server.load_cpu_us.median),
            ]);
        }
    }
    table
}

/// The limits, each with its verdict; `None` when nothing could be checked.
pub fn verdicts(results: &[LoadResult]) -> Option<Table> {
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED).set_header([
        "iesp's CPU time an operation",
        "beside",
        "at most",
        "is",
        "",
    ]);
    for result in results {
        for check in &result.checks {
            table.add_row([
                result.about.to_owned(),
                check.beside.to_owned(),
                format!("{:.2}", check.limit),
                format!("{:.2}", check.ratio),
                if check.met { "met" } else { "MISSED" }.to_owned(),
            ]);
        }
    }
    (!table.is_empty()).then_some(table)
}

/// `1.23 (1.20..1.31)`.
fn range(spread: Spread) -> String {
    format!("{} ({}..{})", short(spread.median), short(spread.min), short(spread.max))
}

/// Three digits, more for large numbers.
fn short(value: f64) -> String {
    match value {
        ..10.0 => format!("{value:.2}"),
        ..100.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        let spread = Spread { median: 9.994, min: 0.5, max: 1234.5 };
        assert_eq!(range(spread), "9.99 (0.50..1234)");
        assert_eq!(short(42.26), "42.3");
    }
}
