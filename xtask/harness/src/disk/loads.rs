//! The loads, and how fast the programs have to be beside fio: the one table of both.

/// testkit's tool reaches at least so many times fio's rate.
pub const TOOL_LIMIT: f64 = 0.95;

/// One load: random reads.
#[derive(Debug)]
pub struct Load {
    /// For `--only`, tables and JSON: bytes, depth, threads, and where from.
    pub name: &'static str,
    /// Bytes of a read.
    pub block: u32,
    /// Reads in flight of each thread or connection.
    pub depth: u32,
    /// Threads; of iesp, connections.
    pub threads: u32,
    /// Past the page cache; else all of it is in the page cache.
    pub direct: bool,
    /// Whether iesp is measured, too: at least so many times fio's rate, where something is wanted.
    pub iesp: Option<Option<f64>>,
}

const DIRECT: Load = Load { name: "", block: 4096, depth: 32, threads: 1, direct: true, iesp: None };

/// Every load, in the order in which they run.
pub const LOADS: &[Load] = &[
    Load { name: "4k-d32", iesp: Some(Some(0.80)), ..DIRECT },
    Load { name: "4k-d1", depth: 1, iesp: Some(None), ..DIRECT },
    Load { name: "4k-d8", depth: 8, iesp: Some(None), ..DIRECT },
    Load { name: "4k-d128", depth: 128, iesp: Some(None), ..DIRECT },
    Load { name: "4k-d16-t2", depth: 16, threads: 2, iesp: Some(None), ..DIRECT },
    Load { name: "16k-d16", block: 16384, depth: 16, ..DIRECT },
    Load { name: "64k-d8", block: 65536, depth: 8, iesp: Some(None), ..DIRECT },
    // What iesp and its initiator cost without the disk: see `explain`.
    Load { name: "4k-d32-cached", direct: false, iesp: Some(None), ..DIRECT },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_what_runs() {
        for load in LOADS {
            let mut name = format!("{}k-d{}", load.block / 1024, load.depth);
            if load.threads > 1 {
                name += &format!("-t{}", load.threads);
            }
            if !load.direct {
                name += "-cached";
            }
            assert_eq!(load.name, name);
        }
    }
}
