//! From samples to medians, ratios and verdicts.

use serde::Serialize;

use super::loads::{Load, ONE_AT_A_TIME, YARDSTICK_LIMIT};
use super::peers::Peer;
use super::sample::Sample;
use crate::measure::Spread;

/// What one server did under one load.
#[derive(Debug, Serialize)]
pub struct ServerResult {
    /// The server's name.
    pub server: &'static str,
    /// CPU time of the server's process an operation, in microseconds.
    pub server_cpu_us: Spread,
    /// The same as a multiple of tuned tgt's in the same round.
    pub to_tgt: Option<Spread>,
    /// The same as a multiple of the yardstick's in the same round.
    pub to_yardstick: Option<Spread>,
    /// Operations a second.
    pub operations_per_second: Spread,
    /// Median latency in microseconds.
    pub p50_us: Spread,
    /// 99th percentile of the latency in microseconds.
    pub p99_us: Spread,
    /// 99.9th percentile of the latency in microseconds.
    pub p99_9_us: Spread,
    /// CPU time of the load generator an operation, in microseconds.
    pub load_cpu_us: Spread,
}

/// A limit on iesp's CPU time an operation.
#[derive(Debug, PartialEq, Serialize)]
pub struct Check {
    /// What it is a multiple of.
    pub beside: &'static str,
    /// At most this.
    pub limit: f64,
    /// The median that was measured.
    pub ratio: f64,
    /// Whether it holds.
    pub met: bool,
}

/// What came out for one load.
#[derive(Debug, Serialize)]
pub struct LoadResult {
    /// The load's short name.
    pub load: &'static str,
    /// What it is.
    pub about: &'static str,
    /// Each server, in the order of the command line.
    pub servers: Vec<ServerResult>,
    /// The limits that could be checked.
    pub checks: Vec<Check>,
}

/// Summarises one load; `samples` has the rounds of each server, in the same order of rounds.
///
/// Ratios are taken within a round and then summarised: what slows the machine down slows both sides.
pub fn summarise(load: &Load, samples: &[(Peer, Vec<Sample>)]) -> LoadResult {
    let rounds = |wanted: Peer| samples.iter().find(|(peer, _)| *peer == wanted).map(|(_, rounds)| rounds);
    let ratio = |own: &[Sample], beside: Peer| {
        let beside = rounds(beside)?;
        Some(Spread::of(own.iter().zip(beside).map(|(own, beside)| own.server_cpu_us / beside.server_cpu_us)))
    };
    let servers: Vec<ServerResult> = samples
        .iter()
        .map(|(peer, rounds)| {
            let spread = |field: fn(&Sample) -> f64| Spread::of(rounds.iter().map(field));
            ServerResult {
                server: peer.name(),
                server_cpu_us: spread(|sample| sample.server_cpu_us),
                to_tgt: (*peer != Peer::Tgt).then(|| ratio(rounds, Peer::Tgt)).flatten(),
                to_yardstick: (*peer != Peer::Yardstick).then(|| ratio(rounds, Peer::Yardstick)).flatten(),
                operations_per_second: spread(|sample| sample.operations_per_second),
                p50_us: spread(|sample| sample.p50_us),
                p99_us: spread(|sample| sample.p99_us),
                p99_9_us: spread(|sample| sample.p99_9_us),
                load_cpu_us: spread(|sample| sample.load_cpu_us),
            }
        })
        .collect();
    let iesp = servers.iter().find(|result| result.server == Peer::Iesp.name());
    let check = |beside: Peer, limit: Option<f64>, measured: Option<Spread>| {
        let (limit, ratio) = (limit?, measured?.median);
        Some(Check { beside: beside.name(), limit, ratio, met: ratio <= limit })
    };
    let checks = [
        check(Peer::Tgt, load.tgt_limit, iesp.and_then(|iesp| iesp.to_tgt)),
        check(Peer::Yardstick, Some(YARDSTICK_LIMIT), iesp.and_then(|iesp| iesp.to_yardstick)),
        check(Peer::Iesp, load.nbd_limit, rounds(Peer::IespNbd).and_then(|own| ratio(own, Peer::Iesp)))
            .map(|check| Check { beside: "iesp, through NBD", ..check }),
    ];
    LoadResult { load: load.name, about: load.about, checks: checks.into_iter().flatten().collect(), servers }
}

/// What many requests in flight bring through NBD: the operations a second of one at a time as a part of theirs. `None` where
/// one of the loads did not run.
pub fn check_proxy(results: &[LoadResult]) -> Option<(&'static str, Check)> {
    let (one, many, limit) = ONE_AT_A_TIME;
    let rate = |name: &str| {
        let load = results.iter().find(|result| result.load == name)?;
        let server = load.servers.iter().find(|server| server.server == Peer::IespNbd.name())?;
        Some(server.operations_per_second.median)
    };
    let ratio = rate(one)? / rate(many)?;
    Some((many, Check { beside: "NBD: op/s of 1 to op/s of 32 in flight", limit, ratio, met: ratio <= limit }))
}

#[cfg(test)]
mod tests {
    use super::super::loads::LOADS;
    use super::*;

    fn sample(cpu: f64) -> Sample {
        Sample {
            operations_per_second: 1e6 / cpu,
            server_cpu_us: cpu,
            load_cpu_us: 1.0,
            p50_us: 1.0,
            p99_us: 2.0,
            p99_9_us: 3.0,
        }
    }

    #[test]
    fn ratios_are_taken_round_by_round_and_held_against_the_limits() {
        let load = LOADS.iter().find(|load| load.name == "rr4k-32").unwrap();
        // The second round ran on a machine that was twice as slow: the ratios do not change.
        let rounds = |cpu: f64| vec![sample(cpu), sample(cpu * 2.0), sample(cpu)];
        let samples = [(Peer::Iesp, rounds(3.0)), (Peer::Tgt, rounds(20.0)), (Peer::Yardstick, rounds(1.5))];
        let result = summarise(load, &samples);
        assert_eq!(result.servers[0].to_tgt, Some(Spread { median: 0.15, min: 0.15, max: 0.15 }));
        assert_eq!((result.servers[1].to_tgt, result.servers[2].to_yardstick), (None, None));
        assert_eq!(
            result.checks,
            [
                Check { beside: "tgt tuned", limit: 0.20, ratio: 0.15, met: true },
                Check { beside: "yardstick", limit: 1.5, ratio: 2.0, met: false },
            ]
        );
    }

    #[test]
    fn the_proxy_is_held_against_the_file_and_against_one_request_at_a_time() {
        let load = |name: &str| LOADS.iter().find(|load| load.name == name).unwrap();
        let run = |name, file, proxy| {
            summarise(load(name), &[(Peer::Iesp, vec![sample(file)]), (Peer::IespNbd, vec![sample(proxy)])])
        };
        let mut results = vec![run("rr4k-1", 20.0, 60.0), run("rr4k-32", 4.0, 10.0)];
        assert!(results[0].checks.is_empty());
        let [check] = &results[1].checks[..] else { panic!("{:?}", results[1].checks) };
        assert!(check.ratio == 2.5 && !check.met);
        let (many, check) = check_proxy(&results).unwrap();
        assert!(many == "rr4k-32" && (check.ratio - 1.0 / 6.0).abs() < 1e-9 && check.met);
        results.pop();
        assert_eq!(check_proxy(&results), None);
    }

    #[test]
    fn without_iesp_nothing_is_checked() {
        let result = summarise(&LOADS[0], &[(Peer::Tgt, vec![sample(1.0)]), (Peer::Yardstick, vec![sample(1.0)])]);
        assert!(result.checks.is_empty());
    }
}
