//! A disk that does not answer costs the others nothing.

use std::process::Command;
use std::time::{Duration, Instant};

use crate::loops::has_loops;
use crate::place::{disk_folder, in_namespace};
use crate::support::client::KEYS;
use crate::support::{Client, Iesp, cdb};

/// How long a command of a healthy disk may take on a busy machine.
const BOUND: Duration = Duration::from_secs(3);

/// A file system of the server's that is frozen until it is dropped.
struct Frozen(String);

impl Frozen {
    fn freeze(server: &Iesp, place: &str) -> Self {
        let place = format!("/proc/{}/root{place}", server.id());
        assert!(Command::new("fsfreeze").args(["-f", &place]).status().expect("fsfreeze runs").success());
        Self(place)
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        let _ = Command::new("fsfreeze").args(["-u", &self.0]).status();
    }
}

/// fsfreeze(8) below LUN 0, before anything was written to it: its writes wait, and nothing else does.
#[test]
fn a_frozen_file_system_stops_no_other_disk() {
    if !has_loops() {
        return;
    }
    let folder = disk_folder();
    let place = folder.path().to_str().expect("a plain path");
    let prepare = "truncate -s 32M \"$1/fs\"\nmkfs.ext4 -q -O ^has_journal \"$1/fs\"\nmkdir \"$1/mounted\"\n\
                   mount -o loop \"$1/fs\" \"$1/mounted\"\ntruncate -s 8M \"$1/mounted/disk\"\ntruncate -s 8M \"$1/other\"";
    let (disk, other) = (format!("{place}/mounted/disk"), format!("{place}/other"));
    for way in [&["--io-engine", "threads"][..], &[], &["--direct"]] {
        let mut server =
            in_namespace(prepare, place, &[&["-d", &disk, "-d", &other, "--threads", "1"][..], way].concat());
        let mut slow = Client::login(server.address());
        let mut quick = Client::login_as(server.address(), Client::isid(7), KEYS);
        // Past its unit attention.
        let mut ready = quick.initiator.bare(&[0]);
        ready.lun = 1 << 48;
        quick.command(ready, &[]);
        let frozen = Frozen::freeze(&server, &format!("{place}/mounted"));
        // More than there are threads for a disk; each needs one, and the flush after them.
        let mut tags = Vec::new();
        for number in 0..24u64 {
            let cdb = if number % 2 == 0 { cdb::write(number * 8, 8) } else { cdb::write_fua(number * 8, 8) };
            let command = slow.initiator.write(&cdb, 4096);
            let unit = slow.initiator.unit(&command.emit(), &[number as u8 + 1; 4096]);
            slow.send(&unit);
            tags.push(command.itt);
        }
        let flush = slow.initiator.bare(&cdb::ten(0x35, 0, 0, 0));
        slow.begin(&flush);
        std::thread::sleep(Duration::from_millis(300));
        for number in 0..32u64 {
            let start = Instant::now();
            let mut write = quick.initiator.write(&cdb::write_fua(number * 8, 8), 4096);
            write.lun = 1 << 48;
            assert_eq!(quick.command(write, &[number as u8; 4096]).status, 0, "{way:?}");
            let mut read = quick.initiator.read(&cdb::read(number * 8, 8), 4096);
            read.lun = 1 << 48;
            assert_eq!(quick.command(read, &[]).good(), [number as u8; 4096], "{way:?}");
            let took = start.elapsed();
            assert!(took < BOUND, "{way:?}: a healthy disk's commands took {took:?} beside a frozen one");
        }
        drop(frozen);
        for tag in tags {
            assert_eq!(slow.finish(tag, &[]).status, 0, "{way:?}");
        }
        assert_eq!(slow.finish(flush.itt, &[]).status, 0, "{way:?}");
        assert_eq!(slow.get(&cdb::read(23 * 8, 8), 4096).good(), [24; 4096], "{way:?}");
        assert_eq!(server.stop().0.code(), Some(0));
        drop(server);
        std::fs::remove_dir(format!("{place}/mounted")).expect("nothing is mounted any more");
    }
}
