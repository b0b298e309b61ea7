//! What was acknowledged as durable is there, or nothing is acknowledged: on devices that really fail, with several at once.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::Command;

use crate::loops::{Loop, WAYS, has_loops, serve};
use crate::place::disk_folder;
use crate::support::client::KEYS;
use crate::support::{Client, Iesp, cdb};

const SYNCHRONIZE_CACHE: &[u8] = &[0x35, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// Bytes of a write, and its blocks.
const CHUNK: usize = 64 << 10;
const BLOCKS: u32 = (CHUNK >> 9) as u32;

/// Sessions at once.
fn clients(server: &Iesp, count: u8) -> Vec<Client> {
    (0..count).map(|number| Client::login_as(server.address(), Client::isid(number), KEYS)).collect()
}

/// A command of every session under way at the same time; their statuses.
fn at_once(clients: &mut [Client], cdb: &[u8]) -> Vec<u8> {
    let mut tags = Vec::new();
    for client in &mut *clients {
        let command = client.initiator.bare(cdb);
        client.begin(&command);
        tags.push(command.itt);
    }
    clients.iter_mut().zip(tags).map(|(client, itt)| client.finish(itt, &[]).status).collect()
}

/// The contents of a device, past all caches of this machine.
fn contents(device: &Loop) -> Vec<u8> {
    assert!(Command::new("blockdev").args(["--flushbufs", &device.0]).status().expect("it runs").success());
    let mut file = File::open(&device.0).expect("the device");
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).expect("it can be read");
    bytes
}

/// The kernel reports what it could not write back once. All flushes that were under way then have to fail.
#[test]
fn of_flushes_at_the_same_time_none_is_good_after_writes_were_lost() {
    if !has_loops() {
        return;
    }
    let folder = disk_folder();
    for way in [WAYS[0], WAYS[2]] {
        let mut good = Vec::new();
        for round in 0..4 {
            let device = Loop::with_room_for(4 << 20, folder.path());
            let mut server = serve(&device, way);
            let mut clients = clients(&server, 4);
            for chunk in 0..512u64 {
                clients[0].put(&cdb::write(chunk * u64::from(BLOCKS), BLOCKS), &[round + 1; CHUNK]).good();
            }
            good.extend(at_once(&mut clients, SYNCHRONIZE_CACHE).into_iter().filter(|status| *status == 0));
            good.extend(at_once(&mut clients, SYNCHRONIZE_CACHE).into_iter().filter(|status| *status == 0));
            assert!(server.errors().contains("a flush failed"), "{way:?}: {}", server.errors());
            assert_ne!(server.stop().0.code(), Some(0), "{way:?}");
        }
        assert!(good.is_empty(), "{way:?}: {} of 32 flushes are good of which none can be", good.len());
    }
}

#[test]
fn a_write_with_fua_that_is_good_is_on_the_device() {
    if !has_loops() {
        return;
    }
    let folder = disk_folder();
    for way in [WAYS[0], WAYS[2]] {
        let mut lost = Vec::new();
        for _ in 0..4 {
            let device = Loop::with_room_for(4 << 20, folder.path());
            let mut server = serve(&device, way);
            let mut clients = clients(&server, 8);
            let mut acknowledged = Vec::new();
            for round in 0..16u64 {
                let places: Vec<_> = (0..8).map(|number| round * 8 + number).collect();
                let mut tags = Vec::new();
                for (client, place) in clients.iter_mut().zip(&places) {
                    let cdb = cdb::write_fua(place * u64::from(BLOCKS), BLOCKS);
                    let command = client.initiator.write(&cdb, CHUNK as u32);
                    let unit = client.initiator.unit(&command.emit(), &[*place as u8 + 1; CHUNK]);
                    client.send(&unit);
                    tags.push(command.itt);
                }
                for ((client, place), itt) in clients.iter_mut().zip(places).zip(tags) {
                    if client.finish(itt, &[]).status == 0 {
                        acknowledged.push(place);
                    }
                }
            }
            assert!(acknowledged.len() > 16 && acknowledged.len() < 128, "{}", acknowledged.len());
            server.kill();
            let bytes = contents(&device);
            let is_there =
                |place: &u64| bytes[*place as usize * CHUNK..][..CHUNK].iter().all(|byte| *byte == *place as u8 + 1);
            lost.extend(acknowledged.into_iter().filter(|place| !is_there(place)));
        }
        assert!(lost.is_empty(), "{way:?}: writes that were answered with GOOD are lost: {lost:?}");
    }
}

/// A device with a cache that fails once, then says that all is well: a loop device on a file of a file system whose own device
/// is full.
fn forgetful(folder: &Path) -> (Loop, Loop, File) {
    let below = Loop::with_room_for(6 << 20, folder);
    let script = "mkfs.ext4 -q -O ^has_journal -E lazy_itable_init=0 \"$1\"\nmount \"$1\" \"$2\"\n\
                  fallocate -l 40M \"$2/disk\"\nsync \"$2/disk\"\nsync -f \"$2\"\nlosetup --find --show \"$2/disk\"";
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-ec", script, "sh", &below.0]).arg(folder);
    let above = Loop::by(&mut command);
    let direct = rustix::fs::OFlags::DIRECT.bits() as i32;
    let file = File::options().read(true).custom_flags(direct).open(&above.0).expect("the device");
    (above, below, file)
}

/// Past the page cache a write is answered once the device has it in its cache. Where that cache is lost, the flush that finds it
/// fails, and every one after it, as does every write with FUA.
#[test]
fn a_device_that_lost_its_cache_is_trusted_no_more() {
    if !has_loops() {
        return;
    }
    let folder = disk_folder();
    for way in [WAYS[1], WAYS[3]] {
        let (device, below, _) = forgetful(folder.path());
        let mut server = serve(&device, way);
        let mut client = Client::login(server.address());
        // Its place is taken: this one can be written whatever becomes of others.
        client.put(&cdb::write_fua(0, BLOCKS), &[6; CHUNK]).good();
        for chunk in 1..480u64 {
            client.put(&cdb::write(chunk * u64::from(BLOCKS), BLOCKS), &[7; CHUNK]).good();
        }
        let first = client.put(&cdb::write_fua(0, BLOCKS), &[8; CHUNK]);
        let flush = client.run(SYNCHRONIZE_CACHE);
        let second = client.put(&cdb::write_fua(0, BLOCKS), &[9; CHUNK]);
        let answers = [first.status, flush.status, second.status];
        assert_eq!(answers, [2; 3], "{way:?}: WRITE with FUA, SYNCHRONIZE CACHE, WRITE with FUA");
        assert_eq!(flush.code().0, 3, "{way:?}: MEDIUM ERROR");
        assert_eq!(flush.sense[0], 0x70, "{way:?}: a flush has no INFORMATION");
        assert_ne!(server.stop().0.code(), Some(0), "{way:?}");
        drop((device, below));
    }
}

/// SBC-3 4.7.3.6: a device without room is no device that failed. What was written stays, flushes are good, and writes go on when
/// there is room again.
#[test]
fn a_device_without_room_goes_on_when_there_is_some() {
    if !has_loops() {
        return;
    }
    let folder = disk_folder();
    // Past the page cache: there a write itself finds that there is no room.
    for way in [WAYS[1], WAYS[3]] {
        let device = Loop::with_room_for(4 << 20, folder.path());
        let mut server = serve(&device, way);
        let mut client = Client::login(server.address());
        let at = |chunk: u64| cdb::write_fua(chunk * u64::from(BLOCKS), BLOCKS);
        let mut written = 0;
        let refused = loop {
            assert!(written < 1024, "64 MiB do not fit");
            let done = client.put(&at(written), &[written as u8 + 1; CHUNK]);
            if done.status != 0 {
                break done;
            }
            written += 1;
        };
        assert!(written > 16, "{way:?}: {written}");
        assert_eq!(refused.code(), (7, 0x27, 7), "{way:?}: SPACE ALLOCATION FAILED WRITE PROTECT");
        client.run(SYNCHRONIZE_CACHE).good();
        for chunk in 0..written {
            let read = cdb::read(chunk * u64::from(BLOCKS), BLOCKS);
            assert_eq!(client.get(&read, CHUNK as u32).good(), [chunk as u8 + 1; CHUNK], "{way:?}");
        }
        let (unmap, list) = cdb::unmap(0, 4 * BLOCKS);
        client.put(&unmap, &list).good();
        client.put(&at(written), &[0xee; CHUNK]).good();
        client.run(SYNCHRONIZE_CACHE).good();
        assert_eq!(server.stop().0.code(), Some(0));
    }
}
