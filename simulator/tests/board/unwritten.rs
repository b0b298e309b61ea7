//! Files that were made long without being written: exFAT's ValidDataLength.

use iesp_simulator::board::Size;
use iesp_simulator::card::BLOCK;
use iesp_simulator::time::{Pace, Tasks, now_us};

use crate::cards::{VOLUME, config, pattern, read_all, write_all};
use crate::rig::Rig;
use crate::volumes::{ExFile, ExVolume, Folder, check_exfat, exfat, load, save};

const DISK: usize = 1200;

/// A volume with a file of which only the first `valid` bytes were written: behind them is what older files left. The number of
/// its first entry.
fn volume(folder: &Folder, valid: u64, before: u32) -> u64 {
    let path = folder.join("volume.img");
    exfat(&path, VOLUME);
    let mut writer = ExVolume::open(&path);
    for number in 0..before {
        writer.add(&ExFile { name: &format!("file{number}"), data: &[3; 100], valid: 100, piece: 0 });
    }
    let entry = writer.entries();
    writer.add(&ExFile { name: "test.dat", data: &pattern(9, DISK * BLOCK), valid, piece: 0 });
    drop(writer);
    check_exfat(&path);
    entry
}

/// What a PC would show of the file.
fn shown(valid: u64) -> Vec<u8> {
    let mut data = pattern(9, DISK * BLOCK);
    data[valid as usize..].fill(0);
    data
}

fn check(folder: &Folder, rig: &Rig, entry: u64, valid: u64) {
    let path = folder.join("volume.img");
    save(&rig.slot, 0, VOLUME, &path);
    check_exfat(&path);
    assert_eq!(ExVolume::open(&path).valid(entry), valid);
}

#[test]
fn what_was_never_written_reads_as_zeros_and_what_is_written_there_stays() {
    // Cards that erase to zeros and to ones; entries within a sector and across two; a length of no whole blocks.
    for (erased, before, valid) in
        [(0, 0, 0), (0xff, 4, 300_123), (0, 4, 300_000), (0xff, 0, (DISK * BLOCK - 1) as u64)]
    {
        let folder = Folder::new(&format!("valid-{valid}"));
        let entry = volume(&folder, valid, before);
        let path = folder.join("volume.img");
        let rig = Rig::with_card(Size::Small, erased, load(&path, erased), VOLUME, &config("test.dat"));
        let mut now = shown(valid);
        rig.session(async |client| {
            assert!(read_all(client, DISK).await == now, "valid {valid}");
            let end = pattern(10, 10 * BLOCK);
            let written = client.write(DISK as u32 - 10, &end).await.unwrap();
            assert_eq!((written.status, client.flush().await.unwrap().status), (0, 0));
            now[(DISK - 10) * BLOCK..].copy_from_slice(&end);
        });
        let filled = || rig.console().matches("100 % of what was never written is zeros now").count();
        assert_eq!(filled(), usize::from(valid.div_ceil(512) < DISK as u64), "{}", rig.console());
        let once = filled();
        rig.session(async |client| assert!(read_all(client, DISK).await == now, "valid {valid}"));
        assert_eq!(filled(), once, "once is enough: {}", rig.console());
        check(&folder, &rig, entry, (DISK * BLOCK) as u64);
    }
}

#[test]
fn a_disk_that_may_not_be_written_is_refused() {
    let folder = Folder::new("valid-read-only");
    let entry = volume(&folder, 1000, 0);
    let text = config("test.dat").replace('}', r#", "read-only": true}"#);
    let rig = Rig::with_card(Size::Small, 0, load(&folder.join("volume.img"), 0), VOLUME, &text);
    let console = rig.alone(5_000_000);
    assert!(console.contains("disk test.dat: the file was never written to its end"), "{console}");
    assert!(console.contains("start it once without read-only"), "{console}");
    check(&folder, &rig, entry, 1000);
}

#[test]
fn a_power_cut_while_it_is_filled_loses_nothing() {
    let folder = Folder::new("valid-power");
    for (number, erased) in [(0, 0), (1, 0xff), (2, 0xff), (3, 0), (4, 0xff)] {
        let entry = volume(&folder, 200_001, 4);
        let path = folder.join("volume.img");
        let rig = Rig::with_card(Size::Small, erased, load(&path, erased), VOLUME, &config("test.dat"));
        for cut in 0..6 {
            let mut tasks = Tasks::new();
            rig.start(&mut tasks);
            let end = now_us() + 10_000 + (number * 6 + cut) * 5_003;
            rig.slot.cut_power_in(end - now_us());
            tasks.run(Pace::Virtual, end, || false);
            drop(tasks);
            rig.slot.cut_power_now();
            rig.slot.restore_power();
        }
        let mut now = shown(200_001);
        rig.session(async |client| {
            assert!(read_all(client, DISK).await == now, "{}", rig.console());
            now = pattern(11, DISK * BLOCK);
            write_all(client, &now).await;
        });
        rig.session(async |client| assert!(read_all(client, DISK).await == now));
        check(&folder, &rig, entry, (DISK * BLOCK) as u64);
    }
}
