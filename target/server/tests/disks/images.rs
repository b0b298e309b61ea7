//! Files that are not what they seem: images of another kind, and images that were there once.

use std::fs;

use crate::support::process::{command, folder, image, program};
use crate::support::{Client, Iesp, cdb};
use crate::{configuration, refused};

#[test]
fn an_image_of_another_kind_is_not_served_raw() {
    let folder = folder();
    let disk = image(folder.path(), "disk", 1 << 20);
    for (offset, bytes, name) in [
        (0, &b"QFI\xfb\0\0\0\x03"[..], "QCOW2"),
        (0, b"KDMV", "VMDK"),
        (0, b"vhdxfile", "VHDX"),
        (0, b"conectix", "VHD"),
        (0x40, b"\x7f\x10\xda\xbe", "VDI"),
        (0, b"QED\0", "QED"),
    ] {
        let mut content = vec![0; 1 << 20];
        content[offset..offset + bytes.len()].copy_from_slice(bytes);
        fs::write(&disk, &content).expect("written");
        refused(&["-d", &disk], &[name, "qemu-img convert", "qemu-nbd", "--raw"]);
        refused(&["-d", &disk, "--read-only", "--direct"], &[name]);
        let file = configuration(folder.path(), &[("a", &["file = \"disk\""])]);
        refused(&["--config", &file], &[name, "`raw = true`"]);
        let iesp = Iesp::start(&["-d", &disk, "--raw"]);
        assert_eq!(Client::login(iesp.address()).get(&cdb::read(0, 1), 512).good(), content[..512]);
    }
}

/// A file system that is not mounted leaves an empty folder: no empty disk is made there under the identity of the one that
/// initiators know.
#[test]
fn an_image_that_was_made_is_not_made_again() {
    let folder = folder();
    let disk = folder.path().join("mount").join("disk");
    fs::create_dir(folder.path().join("mount")).expect("a folder");
    let name = disk.to_str().expect("a plain path");
    let uuid = "5f0e0d0c-0b0a-4908-8706-05040302010b";
    let program = |uuid: &str| {
        let mut program = command(&["-i", "127.0.0.1", "-p", "0", "-d", name, "--create", "1M", "--uuid", uuid]);
        program.env("STATE_DIRECTORY", folder.path());
        program
    };
    let iesp = Iesp::spawn(program(uuid));
    Client::login(iesp.address()).put(&cdb::write(0, 1), &[7; 512]).good();
    drop(iesp);
    drop(Iesp::spawn(program(uuid)));
    // Away, as its file system is.
    let elsewhere = folder.path().join("elsewhere");
    fs::rename(&disk, &elsewhere).expect("moved");
    let output = assert_cmd::Command::from_std(program(uuid)).timeout(crate::PATIENCE).output().expect("it runs");
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{errors}");
    assert!(errors.contains("mount its file system") && errors.contains(uuid) && !disk.exists(), "{errors}");
    // Another disk may be made, and the one that comes back is served.
    drop(Iesp::spawn(program("5f0e0d0c-0b0a-4908-8706-05040302010c")));
    fs::rename(&elsewhere, &disk).expect("moved");
    let again = Iesp::spawn(program(uuid));
    assert_eq!(Client::login(again.address()).get(&cdb::read(0, 1), 512).good(), [7; 512]);
}

/// A link into a file system that is not mounted: nothing is made, and the other disk is served.
#[test]
fn a_link_that_leads_nowhere_is_not_made_a_disk() {
    let folder = folder();
    image(folder.path(), "there", 1 << 20);
    std::os::unix::fs::symlink(folder.path().join("mount/disk"), folder.path().join("link")).expect("a link");
    configuration(folder.path(), &[("a", &["file = \"there\"", "file = \"link\"\ncreate = \"1M\""])]);
    let iesp = crate::serve(folder.path(), &[]);
    assert!(iesp.screen.contains("LUN 1") && iesp.screen.contains("mount its file system"), "{}", iesp.screen);
    assert!(!folder.path().join("mount").exists());
    fs::create_dir(folder.path().join("mount")).expect("a folder");
    fs::rename(folder.path().join("there"), folder.path().join("elsewhere")).expect("moved");
    fs::copy(folder.path().join("elsewhere"), folder.path().join("mount/disk")).expect("a copy");
    crate::wait(&iesp, |log| log.contains("is served now").then_some(()));
}

/// The name of a file is on the disk before what depends on it: its folder is synced.
#[test]
fn names_are_synced_with_their_folders() {
    let strace = std::process::Command::new("strace").arg("-V").output();
    if strace.is_err() {
        assert!(std::env::var_os("CI").is_none(), "strace is missing: cargo xtask setup installs it");
        return eprintln!("skipped: strace is missing: cargo xtask setup installs it");
    }
    let folder = folder();
    let disk = folder.path().join("disk").display().to_string();
    let log = folder.path().join("calls");
    let mut traced = std::process::Command::new("strace");
    traced.args(["-f", "-y", "-e", "trace=fsync,rename,renameat2,openat", "-o"]).arg(&log).arg(program());
    let pid_file = folder.path().join("pid");
    traced.args(["-d", &disk, "--create", "1M", "-i", "127.0.0.1", "-p", "0", "-P"]).arg(&pid_file);
    let mut iesp = Iesp::spawn(traced);
    let id = fs::read_to_string(&pid_file).ok().and_then(|id| rustix::process::Pid::from_raw(id.trim().parse().ok()?));
    rustix::process::kill_process(id.expect("a process id"), rustix::process::Signal::TERM).expect("it runs");
    iesp.wait();
    let calls = fs::read_to_string(&log).expect("the calls");
    let name = format!("<{}>", folder.path().canonicalize().expect("a folder").display());
    let synced = calls.lines().filter(|call| call.contains("fsync(") && call.contains(&name)).count();
    assert!(synced >= 2, "after the image and after its identity: {calls}");
}

/// A user without a home, as in a container: what cannot be remembered is no reason to serve nothing.
#[test]
fn an_image_is_made_where_nothing_can_be_remembered() {
    if !rustix::process::geteuid().is_root() {
        return eprintln!("skipped: it needs root to become another user");
    }
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::process::CommandExt;
    let folder = folder();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).expect("its mode");
    // Where the user may run it.
    let program = folder.path().join("iesp");
    fs::copy(crate::support::process::program(), &program).expect("a copy");
    let disk = folder.path().join("disk.img").display().to_string();
    let mut command = std::process::Command::new(&program);
    command.args(["-d", &disk, "--create", "1M", "--uuid", "5f0e0d0c-0b0a-4908-8706-0504030201f0"]);
    command.args(["-i", "127.0.0.1", "-p", "0", "-L", "info,info"]).stdin(std::process::Stdio::null());
    command.env_clear().uid(65534).gid(65534);
    let iesp = Iesp::spawn(command);
    assert_eq!(fs::metadata(&disk).expect("it was made").len(), 1 << 20);
    assert!(iesp.errors().contains("STATE_DIRECTORY"), "{}", iesp.errors());
}
