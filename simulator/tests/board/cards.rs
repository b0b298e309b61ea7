//! Cards as PCs make them: each kind of partition table and file system, files in pieces, disks without a file system.

use iesp_simulator::board::Size;
use iesp_simulator::card::BLOCK;

use crate::client::Client;
use crate::rig::Rig;
use crate::volumes::{
    self, ExFile, ExVolume, Folder, START, check_exfat, check_fat, copy, exfat, fat32, get_fat, image, load, partition,
    put_fat, remove_fat, save,
};

/// Blocks of a card, and of its volume: little more than FAT32 takes.
pub const CARD: u64 = 40 << 11;
pub const VOLUME: u64 = 34 << 11;

/// GPT's type of a partition with a file system of Microsoft's.
const BASIC_DATA: &str = "EBD0A0A2-B9E5-4433-87C0-68B6B72699C7";

/// Blocks of a disk; its last 100 bytes are no whole block.
const DISK: usize = 1200;

pub fn config(disks: &str) -> String {
    format!(r#"{{"ip-address": "10.0.0.5/24", "disk-name": "{disks}"}}"#)
}

/// Bytes of which no two blocks are the same.
pub fn pattern(seed: u32, len: usize) -> Vec<u8> {
    let words = (0u32..).flat_map(|at| (at.wrapping_mul(0x9e37_79b9) ^ seed ^ at >> 7).to_be_bytes());
    words.take(len).collect()
}

pub async fn read_all(client: &mut Client<'_>, blocks: usize) -> Vec<u8> {
    let mut data = Vec::new();
    while data.len() < blocks * BLOCK {
        let at = data.len() / BLOCK;
        let ended = client.read(at as u32, (blocks - at).min(64)).await.expect("a connection that holds");
        assert_eq!((ended.status, ended.key()), (0, (0, 0, 0)), "block {at}");
        data.extend(ended.data);
    }
    data
}

pub async fn write_all(client: &mut Client<'_>, data: &[u8]) {
    for (number, part) in data.chunks(64 * BLOCK).enumerate() {
        let ended = client.write(number as u32 * 64, part).await.expect("a connection that holds");
        assert_eq!(ended.status, 0);
    }
    assert_eq!(client.flush().await.expect("a connection that holds").status, 0);
}

async fn capacity(client: &mut Client<'_>) -> u32 {
    let answer = client.run(&[0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0], None, 8).await.expect("a connection that holds");
    u32::from_be_bytes(answer.data[..4].try_into().expect("eight bytes")) + 1
}

/// The disk holds `before`; it is written anew. What it holds then.
fn rewrite(rig: &Rig, before: &[u8]) -> Vec<u8> {
    let after = pattern(0xa5a5, DISK * BLOCK);
    rig.session(async |client| {
        assert_eq!(capacity(client).await, DISK as u32);
        assert!(read_all(client, DISK).await == before[..DISK * BLOCK], "what was on the disk");
        write_all(client, &after).await;
    });
    // The board was off meanwhile.
    rig.session(async |client| assert!(read_all(client, DISK).await == after, "what was written"));
    [&after, &before[DISK * BLOCK..]].concat()
}

/// A card with this volume in a partition, or without a table: the card's image, and where the volume begins.
fn card_of(folder: &Folder, volume: &std::path::Path, label: Option<(&str, &str)>) -> (std::path::PathBuf, u64) {
    let card = folder.join("card.img");
    image(&card, CARD);
    let start = if label.is_some() { START } else { 0 };
    if let Some((label, kind)) = label {
        partition(&card, label, &[(START, VOLUME, kind)]);
    }
    copy(volume, 0, &card, start, VOLUME);
    (card, start)
}

#[test]
fn fat32_of_mkfs_with_each_table() {
    for (size, label) in [(Size::Small, None), (Size::Large, Some(("dos", "c"))), (Size::Small, Some(("gpt", "linux")))]
    {
        let folder = Folder::new(&format!("fat-{}", label.map_or("none", |label| label.0)));
        let (volume, file) = (folder.join("volume.img"), folder.join("test.dat"));
        fat32(&volume, VOLUME);
        let before = pattern(1, DISK * BLOCK + 100);
        std::fs::write(&file, &before).unwrap();
        put_fat(&volume, &file, "a disk of iESP.img");
        let (card, start) = card_of(&folder, &volume, label);
        let rig = Rig::with_card(size, 0, load(&card, 0), CARD, &config("A DISK OF iesp.img"));
        let after = rewrite(&rig, &before);
        assert!(rig.console().contains("in 1 pieces"), "{}", rig.console());
        save(&rig.slot, start, VOLUME, &volume);
        check_fat(&volume);
        assert!(get_fat(&volume, "a disk of iESP.img", &file) == after, "{label:?}");
    }
}

/// What is around the holes.
const SMALL: [u8; 16 << 10] = [7; 16 << 10];

/// A FAT32 volume whose free clusters are so many holes of 16 KiB, and then a disk in them.
fn fragmented(folder: &Folder, holes: usize, before: &[u8]) -> std::path::PathBuf {
    let (volume, file) = (folder.join("volume.img"), folder.join("test.dat"));
    fat32(&volume, VOLUME);
    let small: Vec<_> = (0..2 * holes).map(|number| folder.join(&format!("s{number}"))).collect();
    small.iter().for_each(|path| std::fs::write(path, SMALL).unwrap());
    volumes::put_all_fat(&volume, &small);
    remove_fat(&volume, (0..holes).map(|number| format!("s{}", 2 * number)));
    volumes::forget_next_free(&volume);
    std::fs::write(&file, before).unwrap();
    put_fat(&volume, &file, "test.dat");
    volume
}

#[test]
fn a_file_in_pieces_up_to_the_limit() {
    let folder = Folder::new("pieces");
    let before = pattern(2, DISK * BLOCK + 100);
    // 31 holes and what is behind them: as many pieces as a board keeps.
    let volume = fragmented(&folder, 31, &before);
    let (card, start) = card_of(&folder, &volume, Some(("dos", "c")));
    let rig = Rig::with_card(Size::Small, 0, load(&card, 0), CARD, &config("test.dat"));
    let after = rewrite(&rig, &before);
    assert!(rig.console().contains("in 32 pieces"), "{}", rig.console());
    save(&rig.slot, start, VOLUME, &volume);
    check_fat(&volume);
    assert!(get_fat(&volume, "test.dat", &folder.join("test.dat")) == after);
    for number in [1, 31, 61] {
        assert!(get_fat(&volume, &format!("s{number}"), &folder.join("small")) == SMALL);
    }

    let volume = fragmented(&folder, 33, &before);
    let (card, _) = card_of(&folder, &volume, None);
    let rig = Rig::with_card(Size::Small, 0, load(&card, 0), CARD, &config("test.dat"));
    let console = rig.alone(5_000_000);
    assert!(console.contains("disk test.dat: the file lies in more than 32 pieces"), "{console}");
    assert!(console.contains("copy it back"), "{console}");
    assert!(rig.panel.0.borrow().lights[2], "the red light is on");
}

#[test]
fn exfat_of_mkfs_in_one_piece_and_in_several() {
    for (size, piece, label) in [(Size::Large, 0, None), (Size::Small, 40, Some(("gpt", BASIC_DATA)))] {
        let folder = Folder::new(&format!("exfat-{piece}"));
        let volume = folder.join("volume.img");
        exfat(&volume, VOLUME);
        let before = pattern(3, DISK * BLOCK + 100);
        let mut writer = ExVolume::open(&volume);
        writer.add(&ExFile { name: "A Disk.dat", data: &before, valid: before.len() as u64, piece });
        drop(writer);
        check_exfat(&volume);
        let (card, start) = card_of(&folder, &volume, label);
        let rig = Rig::with_card(size, 0, load(&card, 0), CARD, &config("a disk.DAT"));
        rewrite(&rig, &before);
        let pieces = if piece == 0 { 1 } else { DISK.div_ceil(8).div_ceil(piece as usize) };
        assert!(rig.console().contains(&format!("in {pieces} pieces")), "{}", rig.console());
        save(&rig.slot, start, VOLUME, &volume);
        check_exfat(&volume);
    }
}

#[test]
fn whole_cards_and_partitions_and_several_disks() {
    let folder = Folder::new("raw");
    let (card, volume, file) = (folder.join("card.img"), folder.join("volume.img"), folder.join("b"));
    for label in ["dos", "gpt"] {
        let (linux, fat) = if label == "dos" { ("83", "c") } else { ("linux", BASIC_DATA) };
        image(&card, CARD);
        let second = 2 * START;
        partition(&card, label, &[(START, 2000, linux), (second, VOLUME, fat)]);
        std::fs::write(&file, pattern(4, 2000 * BLOCK)).unwrap();
        copy(&file, 0, &card, START, 2000);
        let before = pattern(5, DISK * BLOCK);
        std::fs::write(&file, &before).unwrap();
        fat32(&volume, VOLUME);
        put_fat(&volume, &file, "b.img");
        copy(&volume, 0, &card, second, VOLUME);
        let rig = Rig::with_card(Size::Large, 0, load(&card, 0), CARD, &config("@1, b.img"));
        rig.session(async |client| {
            assert_eq!(capacity(client).await, 2000);
            assert!(read_all(client, 2000).await == pattern(4, 2000 * BLOCK));
            write_all(client, &pattern(6, 2000 * BLOCK)).await;
            client.lun = 1;
            // The unit attention of this logical unit.
            assert_eq!(client.run(&[0], None, 0).await.unwrap().key(), (6, 0x29, 0));
            assert_eq!(capacity(client).await, DISK as u32);
            assert!(read_all(client, DISK).await == before);
        });
        save(&rig.slot, START, 2000, &file);
        assert!(std::fs::read(&file).unwrap() == pattern(6, 2000 * BLOCK));
        save(&rig.slot, second, VOLUME, &volume);
        check_fat(&volume);

        let whole = Rig::with_card(Size::Small, 0, load(&card, 0), CARD, &config("@card"));
        whole.session(async |client| {
            assert_eq!(u64::from(capacity(client).await), CARD);
            let there = client.read(START as u32, 16).await.unwrap();
            assert!(there.data == pattern(4, 16 * BLOCK));
        });
    }
}

#[test]
fn what_is_wrong_with_a_card_is_said() {
    let folder = Folder::new("wrong");
    let volume = folder.join("volume.img");
    let says = |name: &str, words: &str| {
        let rig = Rig::with_card(Size::Small, 0, load(&volume, 0), VOLUME, &config(name));
        let console = rig.alone(5_000_000);
        assert!(console.contains(&format!("disk {name}: {words}")), "{console}");
        assert!(!console.contains("Serving"), "{console}");
        assert!(rig.panel.0.borrow().lights[2], "the red light is on");
    };
    image(&volume, VOLUME);
    says("test.dat", "no exFAT or FAT32 file system on the card: format it as exFAT");
    says("@1", "there is no partition 1");
    fat32(&volume, VOLUME);
    says("test.dat", "there is no such file: put it on the card, or correct disk-name");
    std::fs::write(folder.join("empty"), b"").unwrap();
    put_fat(&volume, &folder.join("empty"), "test.dat");
    says("test.dat", "the file is empty");
    volumes::tool("mmd", &["-i", volume.to_str().unwrap(), "::folder"], "");
    says("folder", "this is a directory, not a file");
    exfat(&volume, VOLUME);
    let mut writer = ExVolume::open(&volume);
    writer.add(&ExFile { name: "odd", data: &[1; 4096], valid: 5000, piece: 0 });
    drop(writer);
    says("odd", "the file system is damaged (a file with more valid data than it is long): check it on a PC");
}
