//! Block devices that somebody uses are not written to.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::refused;
use crate::support::process::{folder, image};
use crate::support::{Client, Iesp, cdb};

const UUID: [&str; 2] = ["--uuid", "5f0e0d0c-0b0a-4908-8706-05040302010d"];

/// Runs a program that has to succeed; what it printed.
fn run(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output().unwrap_or_else(|error| panic!("{program}: {error}"));
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// What is to be undone when the test ends, the last first.
struct Undo(Vec<(&'static str, Vec<String>)>);

impl Drop for Undo {
    fn drop(&mut self) {
        for (program, args) in self.0.iter().rev() {
            let _ = Command::new(program).args(args).status();
        }
    }
}

fn may_mount() -> bool {
    let may = rustix::process::geteuid().is_root() && Path::new("/dev/loop-control").exists();
    if !may {
        eprintln!("skipped: it needs root and loop devices");
    }
    may
}

/// A device on an image; it is detached at the end.
fn device(image: &str, undo: &mut Undo) -> String {
    let device = run("losetup", &["--find", "--show", image]);
    undo.0.push(("losetup", vec!["--detach".into(), device.clone()]));
    device
}

#[test]
fn a_mounted_device_is_not_served_for_writing() {
    if !may_mount() {
        return;
    }
    let folder = folder();
    let disk = image(folder.path(), "disk", 16 << 20);
    let mut undo = Undo(Vec::new());
    run("mkfs.ext4", &["-q", "-F", &disk]);
    let device = device(&disk, &mut undo);
    // A file system on it is no fault.
    drop(Iesp::start(&[&["-d", &device][..], &UUID].concat()));
    let place = folder.path().join("mounted").display().to_string();
    fs::create_dir(&place).expect("a folder");
    run("mount", &[&device, &place]);
    undo.0.push(("umount", vec![place.clone()]));
    refused(&[&["-d", &device][..], &UUID].concat(), &["in use", "mounted on", &place, "--read-only", "--yes-in-use"]);
    // Another node of the same device.
    let node = folder.path().join("node").display().to_string();
    let number = fs::metadata(&device).map(|metadata| std::os::unix::fs::MetadataExt::rdev(&metadata)).expect("there");
    let (major, minor) = (rustix::fs::major(number).to_string(), rustix::fs::minor(number).to_string());
    run("mknod", &[&node, "b", &major, &minor]);
    refused(&[&["-d", &node][..], &UUID].concat(), &["in use", "mounted on"]);
    for meant in ["--read-only", "--yes-in-use"] {
        let iesp = Iesp::start(&[&["-d", &device, meant][..], &UUID].concat());
        Client::login(iesp.address()).get(&cdb::read(0, 1), 512).good();
    }
}

#[test]
fn what_a_loop_device_is_on_is_not_served_beside_it() {
    if !may_mount() {
        return;
    }
    let folder = folder();
    let disk = image(folder.path(), "disk", 16 << 20);
    let mut undo = Undo(Vec::new());
    let first = device(&disk, &mut undo);
    refused(&["-d", &disk], &["in use", "loop device"]);
    let _second = device(&first, &mut undo);
    refused(&[&["-d", &first][..], &UUID].concat(), &["in use", "loop device"]);
    drop(Iesp::start(&["-d", &disk, "--yes-in-use"]));
    drop(undo);
    drop(Iesp::start(&["-d", &disk]));
}

/// A loop device that was made on an image while that was served: by the same program, and by another one.
#[test]
fn a_loop_device_is_not_served_beside_its_image() {
    if !may_mount() {
        return;
    }
    let folder = folder();
    let disk = image(folder.path(), "disk", 16 << 20);
    let mut undo = Undo(Vec::new());
    crate::configuration(folder.path(), &[("a", &["file = \"disk\""])]);
    let iesp = crate::serve(folder.path(), &[]);
    let device = device(&disk, &mut undo);
    refused(&[&["-d", &device][..], &UUID].concat(), &["in use", "lies on", &disk]);
    let lun = format!("file = \"{device}\"\nuuid = \"{}\"", UUID[1]);
    crate::configuration(folder.path(), &[("a", &["file = \"disk\"", &lun])]);
    let said = crate::reload(&iesp);
    assert!(said.contains("nothing was changed") && said.contains("lies on"), "{said}");
    drop(iesp);
    drop(Iesp::start(&[&["-d", &device][..], &UUID].concat()));
}

/// A device that is served is nobody else's meanwhile: a mount is refused.
#[test]
fn a_device_that_is_served_cannot_be_mounted() {
    if !may_mount() {
        return;
    }
    let folder = folder();
    let disk = image(folder.path(), "disk", 16 << 20);
    let mut undo = Undo(Vec::new());
    run("mkfs.ext4", &["-q", "-F", &disk]);
    let device = device(&disk, &mut undo);
    let _iesp = Iesp::start(&[&["-d", &device][..], &UUID].concat());
    let place = folder.path().join("mounted").display().to_string();
    fs::create_dir(&place).expect("a folder");
    let mounted = Command::new("mount").args([&device, &place]).output().expect("mount runs");
    if mounted.status.success() {
        undo.0.push(("umount", vec![place]));
    }
    assert!(!mounted.status.success());
}

/// By two nodes of one device: two paths to one disk.
#[test]
fn a_device_by_two_nodes_is_one_disk() {
    if !may_mount() {
        return;
    }
    let folder = folder();
    let disk = image(folder.path(), "disk", 16 << 20);
    let mut undo = Undo(Vec::new());
    let device = device(&disk, &mut undo);
    let node = folder.path().join("node").display().to_string();
    let number = fs::metadata(&device).map(|metadata| std::os::unix::fs::MetadataExt::rdev(&metadata)).expect("there");
    let (major, minor) = (rustix::fs::major(number).to_string(), rustix::fs::minor(number).to_string());
    run("mknod", &[&node, "b", &major, &minor]);
    let uuid = format!("uuid = \"{}\"", UUID[1]);
    let [one, two] = [&device, &node].map(|name| format!("file = \"{name}\"\n{uuid}"));
    crate::configuration(folder.path(), &[("a", &[&one]), ("b", &[&two])]);
    let iesp = crate::serve(folder.path(), &[]);
    let (mut one, mut two) = (crate::session(&iesp, "a", 1), crate::session(&iesp, "b", 1));
    crate::attentions(&mut one, 0);
    crate::attentions(&mut two, 0);
    assert_eq!(crate::serial(&mut one, 0), crate::serial(&mut two, 0));
    one.put(&cdb::write(3, 1), &[3; 512]).good();
    assert_eq!(two.get(&cdb::read(3, 1), 512).good(), [3; 512]);
    one.run(&[0x16, 0, 0, 0, 0, 0]).good();
    assert_eq!(two.put(&cdb::write(3, 1), &[4; 512]).status, 0x18, "RESERVATION CONFLICT");
}

/// Swap space: a file or a device.
#[test]
fn swap_space_is_not_served() {
    if !may_mount() {
        return;
    }
    let folder = folder();
    let disk = image(folder.path(), "disk", 16 << 20);
    let mut undo = Undo(Vec::new());
    run("mkswap", &["-q", &disk]);
    let device = device(&disk, &mut undo);
    if !Command::new("swapon").arg(&device).status().is_ok_and(|status| status.success()) {
        return eprintln!("skipped: this machine takes no swap space");
    }
    undo.0.push(("swapoff", vec![device.clone()]));
    refused(&[&["-d", &device][..], &UUID].concat(), &["in use", "swaps"]);
}
