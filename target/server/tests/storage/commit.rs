//! What syncs cost that many writers share: a measurement beside another version of the program.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::place::{disk_folder, forget};
use crate::support::client::KEYS;
use crate::support::process::{image, program};
use crate::support::{Client, Iesp, cdb};

const WRITERS: u8 = 32;
const ROUNDS: usize = 5;
const ROUND: Duration = Duration::from_secs(1);

/// A session that costs next to no CPU time: one command's unit, whose numbers change.
struct Writer {
    client: Client,
    unit: Vec<u8>,
    number: u32,
    first_lba: u64,
}

impl Writer {
    fn new(address: SocketAddr, number: u8) -> Self {
        let mut client = Client::login_as(address, Client::isid(number), KEYS);
        let command = client.initiator.write(&cdb::write_fua(0, 8), 4096);
        let unit = client.initiator.unit(&command.emit(), &[number; 4096]);
        Self { client, unit, number: 0, first_lba: u64::from(number) * 4096 }
    }

    /// RFC 7143 11.3 and 11.4: a SCSI Command with its data, and its SCSI Response.
    fn write(&mut self) {
        let lba = self.first_lba + u64::from(self.number % 512) * 8;
        self.unit[34..42].copy_from_slice(&lba.to_be_bytes());
        self.client.stream.write_all(&self.unit).expect("it is taken");
        let mut response = [0; 48];
        self.client.stream.read_exact(&mut response).expect("a response");
        assert_eq!((response[0] & 0x3f, response[2], response[3]), (0x21, 0, 0), "{response:02x?}");
        let after =
            |field: &[u8]| u32::from_be_bytes(field.try_into().expect("four bytes")).wrapping_add(1).to_be_bytes();
        let (itt, cmd_sn) = (after(&self.unit[16..20]), after(&self.unit[24..28]));
        self.unit[16..20].copy_from_slice(&itt);
        self.unit[24..28].copy_from_slice(&cmd_sn);
        // ExpStatSN.
        self.unit[28..32].copy_from_slice(&after(&response[24..28]));
        self.number += 1;
    }
}

/// What a round came to.
#[derive(Clone, Copy)]
struct Rate {
    /// Writes that were answered in a second.
    writes: f64,
    /// Microseconds of CPU time that the target took for one.
    cpu: f64,
}

/// Microseconds of CPU time that a process has used: proc_pid_stat(5), in ticks of 10 ms.
fn cpu_time(id: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).expect("it runs");
    let fields = stat.rsplit_once(')').expect("its name").1.split_whitespace().skip(11).take(2);
    fields.map(|ticks| ticks.parse::<f64>().expect("a number") * 10_000.0).sum()
}

/// Writes of 4 KiB with FUA that 32 sessions have answered, each with one under way.
fn round(program: &Path, way: &[&str], sparse: bool) -> Rate {
    let folder = std::env::var_os("IESP_FOLDER")
        .map_or_else(disk_folder, |folder| tempfile::tempdir_in(folder).expect("a folder"));
    let disk = image(folder.path(), "disk", 64 << 20);
    // Without holes it is read anew: small writes to the large pages that such a write leaves in
    // the cache cost more than all else.
    if !sparse {
        std::fs::write(&disk, vec![1; 64 << 20]).expect("room");
        forget(&disk);
    }
    let mut command = std::process::Command::new(program);
    command.args(["-d", &disk, "-i", "127.0.0.1", "-p", "0"]).args(way).stdin(std::process::Stdio::null());
    let mut server = Iesp::spawn(command);
    let address = server.address();
    let (done, end) = (AtomicU64::new(0), AtomicBool::new(false));
    let start = Instant::now();
    std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            let (done, end) = (&done, &end);
            scope.spawn(move || {
                let mut writer = Writer::new(address, writer);
                while !end.load(Ordering::Relaxed) {
                    writer.write();
                    done.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        std::thread::sleep(ROUND);
        end.store(true, Ordering::Relaxed);
    });
    let done = done.into_inner() as f64;
    let rate = Rate { writes: done / start.elapsed().as_secs_f64(), cpu: cpu_time(server.id()) / done };
    assert_eq!(server.stop().0.code(), Some(0));
    rate
}

fn median(rates: &[Rate], of: impl Fn(&Rate) -> f64) -> f64 {
    let mut numbers: Vec<_> = rates.iter().map(of).collect();
    numbers.sort_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}

/// Rounds of both programs by turns, as a machine has other work, too.
#[test]
#[ignore = "a measurement: IESP_AGAINST names the other program, IESP_PROGRAM a release build of this one"]
fn many_writers_with_fua_beside_another_version() {
    let other = PathBuf::from(std::env::var_os("IESP_AGAINST").expect("IESP_AGAINST names a program"));
    let ways = [(&[][..], false), (&[], true), (&["--direct"], false), (&["--direct"], true)];
    for (way, sparse) in ways {
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            ours.push(round(&program(), way, sparse));
            theirs.push(round(&other, way, sparse));
        }
        let [ours, theirs] =
            [ours, theirs].map(|rates| (median(&rates, |rate| rate.writes), median(&rates, |rate| rate.cpu)));
        eprintln!(
            "{way:?}, holes {sparse}: {:.0} writes/s at {:.1} us of CPU time each, the other {:.0} at {:.1}: {:.2} times, {:.2} of its CPU time",
            ours.0,
            ours.1,
            theirs.0,
            theirs.1,
            ours.0 / theirs.0,
            ours.1 / theirs.1
        );
    }
}
