//! Loop devices: block devices that fail for real.

use std::fs::File;
use std::path::Path;
use std::process::Command;

use crate::place::{disk_folder, full_image, is_root};
use crate::support::{Client, Iesp, cdb};

/// A block device on an image. Detached when dropped.
pub struct Loop(pub String);

impl Loop {
    pub fn on(image: &str) -> Self {
        Self::by(Command::new("losetup").args(["--find", "--show", image]))
    }

    /// A device of 64 MiB whose writes fail once `room` bytes of it are in use. The tmpfs that holds it goes with it.
    pub fn with_room_for(room: u64, folder: &Path) -> Self {
        let script =
            "mount -t tmpfs -o size=$1 none \"$2\"\ntruncate -s 64M \"$2/disk\"\nlosetup --find --show \"$2/disk\"";
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-ec", script, "sh", &room.to_string()]).arg(folder);
        Self::by(&mut command)
    }

    /// A device of 4 MiB that cannot discard, on a file of a ramfs.
    pub fn without_holes(folder: &Path) -> Self {
        let script = "mount -t ramfs none \"$1\"\ntruncate -s 4M \"$1/disk\"\nlosetup --find --show \"$1/disk\"";
        let mut command = Command::new("unshare");
        Self::by(command.args(["--mount", "sh", "-ec", script, "sh"]).arg(folder))
    }

    pub fn by(command: &mut Command) -> Self {
        let output = command.output().expect("losetup runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Self(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    /// Has the device find out how large its image is.
    fn resize(&self) {
        assert!(Command::new("losetup").args(["--set-capacity", &self.0]).status().expect("losetup runs").success());
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let _ = Command::new("losetup").args(["--detach", &self.0]).status();
    }
}

/// Whether there are loop devices, and the privileges for them.
pub fn has_loops() -> bool {
    let there = Path::new("/dev/loop-control").exists();
    if !there {
        eprintln!("skipped: there are no loop devices");
    }
    there && is_root()
}

/// The device's own folder for its identity's file is the test's.
pub fn serve(device: &Loop, way: &[&str]) -> Iesp {
    let uuid = "8a3c8e9e-6f0c-4a55-9df1-0c3b6a6f6c11";
    Iesp::start(&[&["-d", &device.0, "--uuid", uuid][..], way].concat())
}

pub const WAYS: [&[&str]; 4] =
    [&["--io-engine", "threads"], &["--io-engine", "threads", "--direct"], &[], &["--direct"]];

/// The image under the device loses its end: the device is as large as before and answers EIO.
#[test]
fn a_device_that_fails_is_a_medium_error_where_it_fails() {
    if !has_loops() {
        return;
    }
    let folder = disk_folder();
    for way in WAYS {
        let (image, bytes) = full_image(folder.path(), 4 << 20);
        let device = Loop::on(&image);
        let mut server = serve(&device, way);
        let mut client = Client::login(server.address());
        File::options().write(true).open(&image).and_then(|file| file.set_len(1 << 20)).expect("cut");
        assert!(client.get(&cdb::read(0, 128), 65536).good() == bytes[..65536], "{way:?}");
        // UNRECOVERED READ ERROR.
        assert_eq!(client.get(&cdb::read(4096, 8), 4096).code(), (3, 0x11, 0), "{way:?}");
        assert_eq!(client.get(&cdb::read(4096, 2048), 1 << 20).code(), (3, 0x11, 0), "{way:?}");
        assert!(client.get(&cdb::read(0, 128), 65536).good() == bytes[..65536], "{way:?}");
        client.put(&cdb::write(0, 8), &[1; 4096]).good();
        client.run(&cdb::ten(0x35, 0, 0, 0)).good();
        assert_eq!(server.stop().0.code(), Some(0));
    }
}

/// A device that loses its capacity is what one is that was pulled out.
#[test]
fn a_device_that_is_gone_is_not_ready() {
    if !has_loops() {
        return;
    }
    let folder = disk_folder();
    for way in WAYS {
        let (image, bytes) = full_image(folder.path(), 4 << 20);
        let device = Loop::on(&image);
        let mut server = serve(&device, way);
        let mut client = Client::login(server.address());
        assert!(client.get(&cdb::read(0, 128), 65536).good() == bytes[..65536], "{way:?}");
        File::options().write(true).open(&image).and_then(|file| file.set_len(0)).expect("cut");
        device.resize();
        for _ in 0..2 {
            let read = client.get(&cdb::read(4096, 8), 4096);
            assert_eq!(read.code().0, 2, "{way:?}: {read:?}");
            let write = client.put(&cdb::write(4096, 8), &[1; 4096]);
            assert_eq!(write.code().0, 2, "{way:?}: {write:?}");
            let flush = client.run(&cdb::ten(0x35, 0, 0, 0));
            assert_eq!(flush.code().0, 2, "{way:?}: {flush:?}");
        }
        assert_ne!(server.stop().0.code(), Some(0));
    }
}

/// SBC-3 4.7: UNMAP on a device makes zeros of blocks.
#[test]
fn what_is_unmapped_on_a_device_reads_as_zeros() {
    if !has_loops() {
        return;
    }
    let folder = disk_folder();
    for way in WAYS {
        let (image, bytes) = full_image(folder.path(), 4 << 20);
        let device = Loop::on(&image);
        let mut server = serve(&device, way);
        let mut client = Client::login(server.address());
        let (unmap, list) = cdb::unmap(8, 2048);
        client.put(&unmap, &list).good();
        assert!(client.get(&cdb::read(8, 2048), 1 << 20).good().iter().all(|byte| *byte == 0), "{way:?}");
        assert!(client.get(&cdb::read(0, 8), 4096).good() == bytes[..4096], "{way:?}");
        assert_eq!(server.stop().0.code(), Some(0));
    }
}
