//! Cards as PCs make them: partition tables by sfdisk, file systems by mkfs.exfat and mkfs.vfat, files by mtools. Nothing puts
//! a file into an exFAT volume without mounting it; that, this does itself, and fsck.exfat judges it.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use iesp_simulator::card::{BLOCK, Medium, Memory};
use iesp_simulator::slot::Slot;

/// Where the volume begins behind a partition table, in sectors.
pub const START: u64 = 2048;

/// A folder that goes with its owner.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("iesp-card-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a folder for images");
        Self(path)
    }

    pub fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Runs a program, which has to end well.
pub fn tool(name: &str, arguments: &[&str], input: &str) -> String {
    // Where only the superuser looks for programs, Debian puts those for disks.
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
    let mut command = Command::new(name);
    command.args(arguments).env("PATH", path).env("MTOOLS_SKIP_CHECK", "1").env("LC_ALL", "C");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{name}: {error} (cargo xtask setup installs it)"));
    child.stdin.take().expect("its input").write_all(input.as_bytes()).expect("it takes its input");
    let output = child.wait_with_output().expect("it ends");
    let words = [output.stdout, output.stderr].concat();
    let words = String::from_utf8_lossy(&words).into_owned();
    assert!(output.status.success(), "{name} {arguments:?}: {}\n{words}", output.status);
    words
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path of text")
}

/// An empty image.
pub fn image(path: &Path, blocks: u64) {
    File::create(path).and_then(|file| file.set_len(blocks * BLOCK as u64)).expect("an image");
}

/// Copies blocks from one image to another.
pub fn copy(from: &Path, skip: u64, to: &Path, seek: u64, blocks: u64) {
    let mut from = File::open(from).expect("an image");
    let mut to = File::options().write(true).open(to).expect("an image");
    from.seek(SeekFrom::Start(skip * BLOCK as u64)).expect("a position");
    to.seek(SeekFrom::Start(seek * BLOCK as u64)).expect("a position");
    let copied = std::io::copy(&mut from.take(blocks * BLOCK as u64), &mut to).expect("a copy");
    assert_eq!(copied, blocks * BLOCK as u64);
}

/// Writes a partition table; each partition by its first sector, its sectors and its type as sfdisk calls it.
pub fn partition(card: &Path, label: &str, partitions: &[(u64, u64, &str)]) {
    let mut script = format!("label: {label}\n");
    for (start, size, kind) in partitions {
        script += &format!("start={start}, size={size}, type={kind}\n");
    }
    tool("sfdisk", &["--quiet", text(card)], &script);
}

/// A FAT32 volume with clusters of one sector.
pub fn fat32(volume: &Path, blocks: u64) {
    image(volume, blocks);
    tool("mkfs.vfat", &["-F", "32", "-s", "1", text(volume)], "");
}

/// Copies a file into a FAT32 volume.
pub fn put_fat(volume: &Path, file: &Path, name: &str) {
    tool("mcopy", &["-o", "-i", text(volume), text(file), &format!("::{name}")], "");
}

/// Copies files into a FAT32 volume, in this order.
pub fn put_all_fat(volume: &Path, files: &[PathBuf]) {
    let files = files.iter().map(|path| text(path));
    tool("mcopy", &["-i", text(volume)].into_iter().chain(files).chain(["::"]).collect::<Vec<_>>(), "");
}

/// Removes files of a FAT32 volume.
pub fn remove_fat(volume: &Path, names: impl Iterator<Item = String>) {
    let names: Vec<String> = names.map(|name| format!("::{name}")).collect();
    tool("mdel", &["-i", text(volume)].into_iter().chain(names.iter().map(String::as_str)).collect::<Vec<_>>(), "");
}

/// The next file begins in the first cluster that is free: FSI_Nxt_Free says that it is not known.
pub fn forget_next_free(volume: &Path) {
    let mut file = File::options().write(true).open(volume).expect("a volume");
    file.seek(SeekFrom::Start(BLOCK as u64 + 492)).expect("a position");
    file.write_all(&[0xff; 4]).expect("a volume that can be written");
}

/// The contents of a FAT32 volume's file.
pub fn get_fat(volume: &Path, name: &str, to: &Path) -> Vec<u8> {
    tool("mcopy", &["-n", "-o", "-i", text(volume), &format!("::{name}"), text(to)], "");
    std::fs::read(to).expect("the file")
}

pub fn check_fat(volume: &Path) {
    tool("fsck.vfat", &["-n", text(volume)], "");
}

/// An exFAT volume with clusters of 4 KiB.
pub fn exfat(volume: &Path, blocks: u64) {
    image(volume, blocks);
    tool("mkfs.exfat", &["-c", "4096", text(volume)], "");
}

pub fn check_exfat(volume: &Path) {
    tool("fsck.exfat", &["-n", text(volume)], "");
}

/// A file for an exFAT volume.
pub struct ExFile<'a> {
    pub name: &'a str,
    pub data: &'a [u8],
    pub valid: u64,
    /// Free clusters that are left between every so many of its own; 0: it lies in one piece.
    pub piece: u32,
}

/// An exFAT volume that is written to (Microsoft's specification, version 1.00).
pub struct ExVolume {
    file: File,
    fat: u64,
    heap: u64,
    per_cluster: u64,
    root: u32,
    bitmap: u32,
    /// The next entry of the root directory, and the next cluster that is free.
    entry: u64,
    free: u32,
}

impl ExVolume {
    pub fn open(volume: &Path) -> Self {
        let file = File::options().read(true).write(true).open(volume).expect("a volume");
        let mut this = Self { file, fat: 0, heap: 0, per_cluster: 0, root: 0, bitmap: 0, entry: 0, free: 0 };
        let boot: [u8; 512] = this.get(0);
        let number = |at: usize| u32::from_le_bytes(boot[at..at + 4].try_into().unwrap());
        this.fat = u64::from(number(80)) * 512;
        this.heap = u64::from(number(88)) * 512;
        this.per_cluster = 512 << boot[109];
        this.root = number(96);
        // mkfs makes the bitmap, the table of letters and the root directory: all behind them is free.
        this.free = this.root + 1;
        loop {
            let entry: [u8; 32] = this.get(this.cluster(this.root) + this.entry * 32);
            match entry[0] {
                0 => break,
                0x81 => this.bitmap = u32::from_le_bytes(entry[20..24].try_into().unwrap()),
                _ => {}
            }
            this.entry += 1;
        }
        this
    }

    fn get<const N: usize>(&mut self, at: u64) -> [u8; N] {
        let mut bytes = [0; N];
        self.file.seek(SeekFrom::Start(at)).unwrap();
        self.file.read_exact(&mut bytes).unwrap();
        bytes
    }

    fn put(&mut self, at: u64, bytes: &[u8]) {
        self.file.seek(SeekFrom::Start(at)).unwrap();
        self.file.write_all(bytes).unwrap();
    }

    fn cluster(&self, number: u32) -> u64 {
        self.heap + u64::from(number - 2) * self.per_cluster
    }

    /// How many entries the root directory has.
    pub fn entries(&self) -> u64 {
        self.entry
    }

    pub fn add(&mut self, file: &ExFile<'_>) {
        let count = file.data.len().div_ceil(self.per_cluster as usize) as u32;
        let mut clusters = Vec::new();
        for number in 0..count {
            if file.piece > 0 && number > 0 && number % file.piece == 0 {
                self.free += 1;
            }
            clusters.push(self.free);
            self.free += 1;
        }
        for (at, cluster) in clusters.iter().enumerate() {
            let data = &file.data[at * self.per_cluster as usize..];
            let data = &data[..data.len().min(self.per_cluster as usize)];
            self.put(self.cluster(*cluster), data);
            let bit = self.cluster(self.bitmap) + u64::from(cluster - 2) / 8;
            let [byte] = self.get(bit);
            self.put(bit, &[byte | 1 << ((cluster - 2) % 8)]);
            if file.piece > 0 {
                let next = clusters.get(at + 1).copied().unwrap_or(u32::MAX);
                self.put(self.fat + u64::from(*cluster) * 4, &next.to_le_bytes());
            }
        }
        let first = clusters.first().copied().unwrap_or(0);
        let len = file.data.len() as u64;
        let mut entries = iesp_simulator::image::file_entries(file.name, first, len).expect("a name");
        entries[1][1] = if file.piece > 0 || count == 0 { 0x01 } else { 0x03 };
        entries[1][8..16].copy_from_slice(&file.valid.to_le_bytes());
        iesp_simulator::image::seal(&mut entries);
        let at = self.cluster(self.root) + self.entry * 32;
        self.put(at, &entries.concat());
        self.entry += entries.len() as u64;
    }

    /// ValidDataLength of the file whose first entry is this one of the root directory.
    pub fn valid(&mut self, entry: u64) -> u64 {
        let stream: [u8; 32] = self.get(self.cluster(self.root) + (entry + 1) * 32);
        assert_eq!(stream[0], 0xc0);
        u64::from_le_bytes(stream[8..16].try_into().unwrap())
    }
}

/// A card with this image's contents.
pub fn load(path: &Path, erased: u8) -> Memory {
    let mut memory = Memory::default();
    let bytes = std::fs::read(path).expect("an image");
    for (number, block) in bytes.as_chunks::<BLOCK>().0.iter().enumerate() {
        if *block != [erased; BLOCK] {
            memory.write(number as u32, block, erased);
        }
    }
    memory
}

/// Writes blocks of a card to an image.
pub fn save(slot: &Slot, first: u64, blocks: u64, path: &Path) {
    let bytes = slot.with_card(|card| {
        (first..first + blocks)
            .flat_map(|at| card.block(at as u32).expect("a block that can be read"))
            .collect::<Vec<u8>>()
    });
    std::fs::write(path, bytes).expect("an image");
}
