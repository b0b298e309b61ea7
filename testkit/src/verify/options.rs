//! The command line of `test-blockdevice`.

use std::path::PathBuf;

use clap::Parser;

use crate::device::Direct;
use crate::size::{SizeError, parse_size, parse_with_unit};

/// Tests whether what is written to a disk can be read later. OVERWRITES THE DISK.
///
/// Threads write unique blocks, duplicate blocks and trims to random places, and before they replace something they
/// read it and compare. Every sector says where it belongs, which write made it and in which run, so that a wrong block
/// is explained. All choices follow from the seed: a fault is repeated with the command line that it comes with.
///
/// Exit code: 0 verified, 1 found a fault, 2 could not run.
#[allow(rustdoc::broken_intra_doc_links, reason = "these texts are what --help shows")]
#[derive(Debug, Parser)]
#[command(name = "test-blockdevice", version, max_term_width = 110)]
pub struct Options {
    /// A block device, a file, iscsi://[user[%secret]@]host[:port]/target/lun, or ram:SIZE
    #[arg(short = 'd', long, value_name = "DEVICE")]
    pub device: String,

    /// Block size, a multiple of 512
    #[arg(short = 'b', long, value_name = "SIZE", default_value = "4096", value_parser = block_size)]
    pub block_size: u32,

    /// Most blocks in one operation
    #[arg(short = 'm', long, value_name = "N", default_value_t = 16)]
    pub max_blocks: u32,

    /// Of the blocks written, so many percent are unique; what -u and -T leave are duplicates of one block
    #[arg(short = 'u', long, value_name = "PERCENT", default_value_t = 51)]
    pub unique_percent: u32,

    /// Accepted for iESP's sake: content is always made at memory speed
    #[arg(short = 'f', long)]
    pub fast_random: bool,

    /// Threads; over iSCSI each has a session of its own, unless --sessions says otherwise
    #[arg(short = 'n', long, value_name = "N", default_value_t = 2)]
    pub threads: u32,

    /// Over iSCSI the threads share so many sessions to each path, with the commands of all in flight together
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub sessions: Option<u32>,

    /// So many percent of the changes are trims: three of four discard, one zeroes
    #[arg(short = 'T', long, value_name = "PERCENT", default_value_t = 0)]
    pub trim_percent: u32,

    /// Stop when every block was written and verified
    #[arg(short = 't', long)]
    pub till_covered: bool,

    /// Test so much from the offset on; a plain number is in MB
    #[arg(short = 'l', long, value_name = "SIZE", value_parser = megabytes)]
    pub limit: Option<u64>,

    /// Begin here; a plain number is a block number, one with a suffix (4k, 1M) is in bytes
    #[arg(short = 'o', long, value_name = "BLOCK", default_value = "0")]
    pub offset: String,

    /// Repeat the run with this seed; without, one is chosen and printed
    #[arg(long, value_name = "SEED")]
    pub seed: Option<u64>,

    /// Stop after so many operations, shared out evenly over the threads
    #[arg(long, value_name = "N")]
    pub ops: Option<u64>,

    /// Stop after so many seconds
    #[arg(long, value_name = "SECONDS")]
    pub seconds: Option<f64>,

    /// Stop after so many faults
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..))]
    pub max_faults: u64,

    /// So many percent of the operations are flushes
    #[arg(long, value_name = "PERCENT", default_value_t = 3)]
    pub flush_percent: u32,

    /// So many percent of the writes are with FUA
    #[arg(long, value_name = "PERCENT", default_value_t = 3)]
    pub fua_percent: u32,

    /// So many percent of the operations only read and compare
    #[arg(long, value_name = "PERCENT", default_value_t = 10)]
    pub verify_percent: u32,

    /// So many percent of the operations go where blocks still wait to be written or verified
    #[arg(long, value_name = "PERCENT", default_value_t = 50)]
    pub seek_percent: u32,

    /// What discarded blocks read as: what the device promises, zeros, or anything
    #[arg(long, value_enum, default_value_t = DiscardReads::Device)]
    pub discard_reads: DiscardReads,

    /// Do not read everything once more at the end
    #[arg(long)]
    pub no_final_check: bool,

    /// A second path to the same disk: writes go to the first, reads to the second
    #[arg(long, value_name = "DEVICE")]
    pub second_path: Option<String>,

    /// Race for blocks with COMPARE AND WRITE instead: nobody's update may be lost
    #[arg(long, conflicts_with_all = ["journal", "second_path"])]
    pub caw_race: bool,

    /// Record what was acknowledged and flushed in this new file, for --verify-after-crash
    #[arg(long, value_name = "FILE")]
    pub journal: Option<PathBuf>,

    /// Bring each line of the journal to stable storage: for a journal on the machine that crashes
    #[arg(long, requires = "journal")]
    pub journal_sync: bool,

    /// Keep the length of this growing file with each line of the journal: QEMU's log of a disk (blklogwrites)
    #[arg(long, value_name = "FILE", requires = "journal")]
    pub block_log: Option<PathBuf>,

    /// Check the disk against the journal of a run that a crash ended
    #[arg(long, value_name = "FILE", conflicts_with_all = ["journal", "seed", "caw_race"])]
    pub verify_after_crash: Option<PathBuf>,

    /// Only what happened while the block log was not longer than this: for a disk made of the log's beginning
    #[arg(long, value_name = "BYTES", requires = "verify_after_crash")]
    pub until: Option<u64>,

    /// The size in which writes must not be torn by a crash: 512 to the block size
    #[arg(long, value_name = "SIZE", default_value = "512", value_parser = block_size)]
    pub atomic: u32,

    /// Bypass the page cache
    #[arg(long, value_enum, default_value_t = Direct::Auto)]
    pub direct: Direct,

    /// Overwrite a disk that is in use or holds something
    #[arg(long)]
    pub yes_destroy_data: bool,

    /// JSON objects instead of text, one a line
    #[arg(long, conflicts_with = "quiet")]
    pub json: bool,

    /// Only faults and the summary
    #[arg(short = 'q', long)]
    pub quiet: bool,

    /// Where the logs of faults go
    #[arg(long, value_name = "FOLDER", default_value = ".")]
    pub log_dir: PathBuf,
}

/// What discarded blocks read as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum DiscardReads {
    /// What the device promises
    Device,
    /// Zeros
    Zeros,
    /// Anything
    Anything,
}

fn block_size(text: &str) -> Result<u32, String> {
    let size = parse_size(text).map_err(|error| error.to_string())?;
    match u32::try_from(size) {
        Ok(size) if size > 0 && size.is_multiple_of(512) => Ok(size),
        _ => Err("it must be a multiple of 512".to_owned()),
    }
}

fn megabytes(text: &str) -> Result<u64, SizeError> {
    parse_with_unit(text, 1 << 20)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_options_are_consistent() {
        Options::command().debug_assert();
    }

    #[test]
    fn the_letters_of_the_python_tool() {
        let line = "test-blockdevice -d x -b 4k -m 8 -u 75 -f -n 6 -T 10 -t -l 64 -o 3";
        let options = Options::try_parse_from(line.split(' ')).unwrap();
        assert_eq!((options.block_size, options.max_blocks, options.unique_percent), (4096, 8, 75));
        assert_eq!((options.threads, options.trim_percent, options.till_covered), (6, 10, true));
        assert_eq!((options.limit, options.offset.as_str()), (Some(64 << 20), "3"));
        assert!(Options::try_parse_from(["test-blockdevice", "-d", "x", "-b", "1000"]).is_err());
    }
}
