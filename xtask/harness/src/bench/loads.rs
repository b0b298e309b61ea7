//! The loads, and what they may cost: the one table of both.

/// At most so many times the yardstick's CPU time an operation, for every load.
pub const YARDSTICK_LIMIT: f64 = 1.5;

/// Through NBD one request at a time gets at most so much of the operations a second that many get: of which two loads.
pub const ONE_AT_A_TIME: (&str, &str, f64) = ("rr4k-1", "rr4k-32", 0.25);

/// One load.
#[derive(Debug)]
pub struct Load {
    /// Short name, for `--only` and JSON.
    pub name: &'static str,
    /// What it is, for people.
    pub about: &'static str,
    /// Writes; else reads.
    pub write: bool,
    /// One position after the other; else random positions.
    pub sequential: bool,
    /// Bytes of an operation.
    pub block: u32,
    /// Operations in flight on each connection.
    pub depth: u32,
    /// Number of connections.
    pub connections: u32,
    /// At most so many times tuned tgt's CPU time an operation, where something is wanted.
    pub tgt_limit: Option<f64>,
    /// At most so many times, through NBD, iesp's CPU time an operation on the file itself.
    pub nbd_limit: Option<f64>,
}

const READ_4K: Load = Load {
    name: "",
    about: "",
    write: false,
    sequential: false,
    block: 4096,
    depth: 32,
    connections: 1,
    tgt_limit: None,
    nbd_limit: None,
};
const WRITE_4K: Load = Load { write: true, ..READ_4K };
const READ_256K: Load = Load { sequential: true, block: 262_144, depth: 8, ..READ_4K };
const WRITE_256K: Load = Load { write: true, ..READ_256K };

/// Every load, in the order in which they run.
pub const LOADS: &[Load] = &[
    Load { name: "rr4k-1", about: "4 KiB random read, 1 in flight", depth: 1, tgt_limit: Some(0.50), ..READ_4K },
    Load {
        name: "rr4k-32",
        about: "4 KiB random read, 32 in flight",
        tgt_limit: Some(0.20),
        nbd_limit: Some(2.0),
        ..READ_4K
    },
    Load { name: "rr4k-128", about: "4 KiB random read, 128 in flight", depth: 128, ..READ_4K },
    Load { name: "rw4k-1", about: "4 KiB random write, 1 in flight", depth: 1, ..WRITE_4K },
    Load { name: "rw4k-32", about: "4 KiB random write, 32 in flight", tgt_limit: Some(0.22), ..WRITE_4K },
    Load { name: "rw4k-128", about: "4 KiB random write, 128 in flight", depth: 128, ..WRITE_4K },
    Load { name: "sr256k-8", about: "256 KiB sequential read, 8 in flight", tgt_limit: Some(0.40), ..READ_256K },
    Load { name: "sw256k-8", about: "256 KiB sequential write, 8 in flight", tgt_limit: Some(0.40), ..WRITE_256K },
    Load { name: "rr4k-32-c2", about: "4 KiB random read, 2 connections of 32", connections: 2, ..READ_4K },
    Load { name: "rr4k-32-c4", about: "4 KiB random read, 4 connections of 32", connections: 4, ..READ_4K },
    Load { name: "rr4k-32-c16", about: "4 KiB random read, 16 connections of 32", connections: 16, ..READ_4K },
];

impl Load {
    /// The arguments of `iscsi-load`, the URL apart.
    pub fn arguments(&self) -> Vec<String> {
        let mut arguments = vec![
            "--block".to_owned(),
            self.block.to_string(),
            "--depth".to_owned(),
            self.depth.to_string(),
            "--connections".to_owned(),
            self.connections.to_string(),
            "--pattern".to_owned(),
            if self.sequential { "sequential" } else { "random" }.to_owned(),
        ];
        if self.write {
            arguments.extend(["--write".to_owned(), "--yes-destroy-data".to_owned()]);
        }
        arguments
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_texts_say_what_runs() {
        for (index, load) in LOADS.iter().enumerate() {
            assert!(LOADS[..index].iter().all(|other| other.name != load.name && other.about != load.about));
            assert!(load.about.starts_with(&format!("{} KiB", load.block / 1024)), "{}", load.about);
            assert_eq!(load.about.contains("write"), load.write, "{}", load.about);
            assert_eq!(load.about.contains("sequential"), load.sequential, "{}", load.about);
            assert_eq!(load.about.contains("connections"), load.connections > 1, "{}", load.about);
            assert!(load.about.contains(&format!(" {}", load.depth)), "{}", load.about);
        }
    }
}
