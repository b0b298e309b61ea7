//! What syncs cost that many writers share: a measurement beside another version of the program.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::place::disk_folder;
use crate::support::client::KEYS;
use crate::support::process::{image, program};
use crate::support::{Client, Iesp, cdb};

const WRITERS: u8 = 32;
const ROUNDS: usize = 7;
const ROUND: Duration = Duration::from_secs(2);

/// Writes of 4 KiB with FUA that 32 sessions have answered in a second, each with one under way.
fn writes_a_second(program: &Path, way: &[&str]) -> f64 {
    let folder = disk_folder();
    let disk = image(folder.path(), "disk", 64 << 20);
    // Without holes: what is measured is the sync.
    std::fs::write(&disk, vec![1; 64 << 20]).expect("room");
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
                let mut client = Client::login_as(address, Client::isid(writer), KEYS);
                let mut number = 0;
                while !end.load(Ordering::Relaxed) {
                    let lba = u64::from(writer) * 4096 + number % 512 * 8;
                    client.put_immediate(&cdb::write_fua(lba, 8), &[writer; 4096]).good();
                    number += 1;
                    done.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        std::thread::sleep(ROUND);
        end.store(true, Ordering::Relaxed);
    });
    let rate = done.into_inner() as f64 / start.elapsed().as_secs_f64();
    assert_eq!(server.stop().0.code(), Some(0));
    rate
}

fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2]
}

/// Rounds of both programs by turns, as a machine has other work, too.
#[test]
#[ignore = "a measurement: IESP_AGAINST names the other program, IESP_PROGRAM a release build of this one"]
fn many_writers_with_fua_beside_another_version() {
    let other = PathBuf::from(std::env::var_os("IESP_AGAINST").expect("IESP_AGAINST names a program"));
    for way in [&["--io-engine", "threads"][..], &[], &["--direct"]] {
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            ours.push(writes_a_second(&program(), way));
            theirs.push(writes_a_second(&other, way));
        }
        let (ours, theirs) = (median(ours), median(theirs));
        eprintln!("{way:?}: {ours:.0} writes/s, the other {theirs:.0}: {:.2} times", ours / theirs);
    }
}
