//! The command line of `iscsi-load`.

use std::time::Duration;

use clap::ValueEnum;
use serde::Serialize;

use crate::iscsi::{Options, Url};
use crate::size::parse_size;

use super::LoadError;

/// Most commands in flight on one connection.
const DEEPEST: u32 = 65_536;
/// Most connections.
const MOST_CONNECTIONS: u32 = 4096;
/// Largest operation: what the 16-bit block count of READ(10) and WRITE(10) reaches with 512-byte blocks.
const LARGEST_BLOCK: u64 = 16 << 20;

/// Puts load on an iSCSI target and measures it: operations a second, latency, CPU time.
///
/// Everything goes through libiscsi in this process: no kernel initiator and no privileges are needed.
#[derive(Clone, Debug, clap::Parser)]
#[command(version)]
pub struct Args {
    /// The logical unit: `iscsi://[user[%secret]@]host[:port]/target/lun`
    // Parsed later: clap's message about a bad value would repeat the secret.
    pub url: String,
    /// Bytes of an operation, such as 4k or 256k.
    #[arg(short, long, default_value = "4k", value_name = "SIZE", value_parser = parse_size)]
    pub block: u64,
    /// Operations in flight on each connection.
    #[arg(short, long, default_value_t = 32, value_name = "N")]
    pub depth: u32,
    /// Connections, each a session of its own in a thread of its own.
    #[arg(short, long, default_value_t = 1, value_name = "N")]
    pub connections: u32,
    /// Read (the default).
    #[arg(short, long, conflicts_with_all = ["write", "mix"])]
    pub read: bool,
    /// Write.
    #[arg(short, long, conflicts_with = "mix")]
    pub write: bool,
    /// Read and write, so many percent of it reads.
    #[arg(short, long, value_name = "PERCENT", value_parser = clap::value_parser!(u8).range(0..=100))]
    pub mix: Option<u8>,
    /// Where operations go.
    #[arg(short, long, value_enum, default_value_t)]
    pub pattern: Pattern,
    /// Touch only the first SIZE bytes of the disk.
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub span: Option<u64>,
    /// Write with FUA: through to the medium.
    #[arg(long)]
    pub fua: bool,
    /// How long to measure.
    #[arg(short, long, default_value_t = 5.0, value_name = "SECONDS", conflicts_with = "ops")]
    pub seconds: f64,
    /// Measure so many operations in all instead.
    #[arg(short, long, value_name = "N")]
    pub ops: Option<u64>,
    /// How long to run before the measurement.
    #[arg(long, default_value_t = 0.5, value_name = "SECONDS")]
    pub warm_up: f64,
    /// Seed of the random positions; one is chosen, and printed, when it is not given.
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// The iSCSI name of this initiator.
    #[arg(long, default_value = "iqn.2024-01.org.example:iscsi-load", value_name = "NAME")]
    pub initiator: String,
    /// Seconds that an operation may take.
    #[arg(long, default_value_t = 30.0, value_name = "SECONDS")]
    pub timeout: f64,
    /// Process on this machine whose CPU time is measured along: the target.
    #[arg(long, value_name = "PID")]
    pub server_pid: Option<u32>,
    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
    /// Confirm that writing may destroy what is on the disk; needed by --write and --mix.
    #[arg(long)]
    pub yes_destroy_data: bool,
}

/// Where operations go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Pattern {
    /// Anywhere, each position as likely as any other, aligned to the operation's size.
    #[default]
    Random,
    /// One after the other; each connection in its own part of the disk, from its begin again at its end.
    Sequential,
}

/// Which operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// Reads only.
    Read,
    /// Writes only.
    Write,
    /// So many percent reads.
    Mix(u8),
}

/// A load that makes sense; what depends on the disk is checked when it is known.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The logical unit.
    pub url: Url,
    /// The iSCSI name of this initiator.
    pub initiator: String,
    /// How sessions are opened.
    pub options: Options,
    /// Bytes of an operation.
    pub block: u64,
    /// Operations in flight on each connection.
    pub depth: u32,
    /// Number of connections.
    pub connections: u32,
    /// Which operations.
    pub direction: Direction,
    /// Where they go.
    pub pattern: Pattern,
    /// Bytes of the disk that are touched, from its begin; `None` for all.
    pub span: Option<u64>,
    /// Write with FUA.
    pub fua: bool,
    /// How long to measure; `None` when `ops` says how much.
    pub seconds: Option<Duration>,
    /// How many operations to measure, over all connections.
    pub ops: Option<u64>,
    /// How long to run before.
    pub warm_up: Duration,
    /// Seed of the random positions.
    pub seed: u64,
    /// Process whose CPU time is measured along.
    pub server_pid: Option<u32>,
}

impl TryFrom<&Args> for Plan {
    type Error = LoadError;

    fn try_from(args: &Args) -> Result<Self, LoadError> {
        let direction = match (args.write, args.mix) {
            (true, _) => Direction::Write,
            (_, Some(percent)) => Direction::Mix(percent),
            _ => Direction::Read,
        };
        if direction != Direction::Read && !args.yes_destroy_data {
            return Err(LoadError::Input(
                "writing destroys what is on the disk: confirm with --yes-destroy-data".into(),
            ));
        }
        let seconds = args.ops.is_none().then(|| span_of_time("--seconds", args.seconds)).transpose()?;
        Ok(Self {
            url: Url::parse(&args.url).map_err(LoadError::Session)?,
            initiator: args.initiator.clone(),
            options: Options { timeout: span_of_time("--timeout", args.timeout)?, ..Options::default() },
            block: in_range("--block", args.block, 1, LARGEST_BLOCK)?,
            depth: in_range("--depth", args.depth, 1, DEEPEST)?,
            connections: in_range("--connections", args.connections, 1, MOST_CONNECTIONS)?,
            direction,
            pattern: args.pattern,
            span: args.span,
            fua: args.fua,
            seconds,
            ops: args.ops.map(|ops| in_range("--ops", ops, 1, u64::MAX)).transpose()?,
            warm_up: if args.warm_up == 0.0 { Duration::ZERO } else { span_of_time("--warm-up", args.warm_up)? },
            seed: args.seed.unwrap_or_else(seed_of_the_clock),
            server_pid: args.server_pid,
        })
    }
}

fn in_range<T: PartialOrd + std::fmt::Display>(option: &str, value: T, least: T, most: T) -> Result<T, LoadError> {
    if (&least..=&most).contains(&&value) {
        Ok(value)
    } else {
        Err(LoadError::Input(format!("{option} is {value}; it has to be from {least} to {most}")))
    }
}

fn span_of_time(option: &str, seconds: f64) -> Result<Duration, LoadError> {
    const LONGEST: f64 = 30.0 * 86400.0;
    if seconds > 0.0 && seconds <= LONGEST {
        return Ok(Duration::from_secs_f64(seconds));
    }
    Err(LoadError::Input(format!("{option} is {seconds}; it has to be more than 0 and at most {LONGEST} seconds")))
}

fn seed_of_the_clock() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    // Short enough to be typed again.
    u64::from(now.subsec_nanos()) ^ (now.as_secs() & 0xffff)
}
