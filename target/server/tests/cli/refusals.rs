//! What makes no sense or cannot be done: one clear line with what to do, exit code 1 or 2, nothing changed on disk.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use crate::support::process::{command, folder, image};
use crate::support::{Client, Iesp};

/// Everything in a folder: length and time of change.
fn contents(folder: &Path) -> BTreeMap<PathBuf, (u64, SystemTime)> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry")) {
        let metadata = entry.metadata().expect("it is there");
        if metadata.is_dir() {
            all.extend(contents(&entry.path()));
        }
        all.insert(entry.path(), (metadata.len(), metadata.modified().expect("a time")));
    }
    all
}

/// How the program ends, which it must do soon.
fn ends(mut command: Command) -> (Option<i32>, String) {
    command.env("XDG_DATA_HOME", "/nowhere");
    let mut command = assert_cmd::Command::from_std(command);
    let output = command.timeout(Duration::from_secs(20)).output().expect("it runs");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "", "nothing is served");
    (output.status.code(), String::from_utf8(output.stderr).expect("text"))
}

/// The same on a port that no other test has, unless it says which: the sockets are had before the disks are opened.
fn with_own_port<'a>(args: &[&'a str]) -> Vec<&'a str> {
    let missing = [("-i", "127.0.0.1"), ("-p", "0")].into_iter().filter(|(flag, _)| !args.contains(flag));
    args.iter().copied().chain(missing.flat_map(|(flag, value)| [flag, value])).collect()
}

/// Refused with this code and one line that has all these words; nothing in the folder changes.
#[track_caller]
fn refused(folder: &Path, args: &[&str], code: i32, words: &[&str]) {
    let before = contents(folder);
    let (got, errors) = ends(command(&with_own_port(args)));
    assert_eq!(got, Some(code), "{errors}");
    assert!(errors.starts_with("iesp: ") && errors.lines().count() == 1, "one line: {errors}");
    for word in words {
        assert!(errors.contains(word), "no '{word}' in: {errors}");
    }
    assert_eq!(contents(folder), before, "changed on disk");
}

/// Refused by the parser of the command line, which says more than one line.
#[track_caller]
fn misspelt(args: &[&str], word: &str) {
    let (code, errors) = ends(command(args));
    assert_eq!(code, Some(2), "{errors}");
    assert!(errors.lines().next().is_some_and(|line| line.contains(word)), "no '{word}' in the first line: {errors}");
}

#[test]
fn disks_that_cannot_be_served() {
    let folder = folder();
    let path = folder.path();
    let missing = path.join("missing").display().to_string();
    let plain = image(path, "plain", 1 << 20);
    refused(path, &["-d", &missing], 1, &["missing", "no such file", "--create"]);
    refused(path, &["-d", path.to_str().expect("a plain path")], 1, &["directory"]);
    refused(path, &["-d", &image(path, "odd", 1000)], 1, &["odd", "1000", "512", "truncate -s 1024"]);
    let half = image(path, "half", 4096 * 2 + 512);
    refused(path, &["--block-size", "4096", "-d", &half], 1, &["half", "4096", "12288"]);
    refused(path, &["-d", &image(path, "empty", 0)], 1, &["empty", "size"]);
    refused(path, &["-d", "/dev/null"], 1, &["/dev/null", "neither"]);
    #[cfg(target_os = "linux")]
    refused(path, &["-d", "/proc/version", "--read-only"], 1, &["/proc/version", "neither"]);
    refused(path, &["-d", &plain, "-d", &missing, "--strict"], 1, &["missing", "no such file"]);
    // A path that goes through a file.
    refused(path, &["-d", &format!("{plain}/disk")], 1, &["plain/disk"]);
}

#[test]
fn a_second_instance_on_the_same_image() {
    let folder = folder();
    let image = image(folder.path(), "disk", 1 << 20);
    let mut server = Iesp::start(&["-d", &image]);
    refused(folder.path(), &["-p", "0", "-i", "127.0.0.1", "-d", &image], 1, &["disk", "in use", "another iesp"]);
    refused(folder.path(), &["-p", "0", "-i", "127.0.0.1", "--read-only", "-d", &image], 1, &["in use"]);
    server.assert_well();
}

#[test]
fn a_port_in_use() {
    let folder = folder();
    let image = image(folder.path(), "disk", 1 << 20);
    let other = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = other.local_addr().expect("an address").port().to_string();
    refused(folder.path(), &["-d", &image, "-i", "127.0.0.1", "-p", &port], 1, &[&port, "-p"]);
    let image = folder.path().join("new").display().to_string();
    refused(folder.path(), &["-d", &image, "--create", "1M", "-i", "127.0.0.1", "-p", &port], 1, &[&port, "-p"]);
}

#[test]
fn names_addresses_and_levels() {
    let folder = folder();
    let path = folder.path();
    let image = image(path, "disk", 1 << 20);
    let with = |more: &[&'static str]| [&["-d", &image, "-p", "0"][..], more].concat().to_vec().leak();
    refused(path, with(&["-t", ""]), 2, &["-t", "name"]);
    refused(path, with(&["-t", "two words"]), 2, &["-t", "letters"]);
    refused(path, with(&["-t", "under_score"]), 2, &["-t", "letters"]);
    refused(path, with(&["-t", "café"]), 2, &["-t", "letters"]);
    refused(path, with(&["-t", &*"n".repeat(224).leak()]), 2, &["-t", "223"]);
    refused(path, with(&["-i", "no.such.host.invalid"]), 2, &["-i", "no.such.host.invalid"]);
    refused(path, with(&["-i", "1.2.3.4.5"]), 2, &["-i"]);
    refused(path, with(&["-i", "192.0.2.77"]), 1, &["192.0.2.77", "-i"]);
    refused(path, with(&["-L", "loud"]), 2, &["-L", "loud", "debug"]);
    refused(path, with(&["-L", "error,loud"]), 2, &["-L", "loud"]);
    refused(path, with(&["-l", "/nowhere/log"]), 1, &["/nowhere/log"]);
    refused(path, with(&["-P", "/nowhere/pid"]), 1, &["/nowhere/pid"]);
    misspelt(with(&["-T", "3"]), "3");
    misspelt(with(&["-T", "on"]), "on");
    misspelt(&["-d", &image, "-p", "99999"], "99999");
    misspelt(with(&["-b", "tape"]), "tape");
    misspelt(with(&["--block-size", "1024"]), "1024");
    misspelt(with(&["--threads", "0"]), "0");
    misspelt(with(&["--uuid", "nonsense"]), "nonsense");
    misspelt(with(&["--uuid", "nonsense"]), "uuidgen");
    misspelt(&["-d", ""], "path");
    misspelt(with(&["--create", "much"]), "much");
    misspelt(with(&["--no-such-thing"]), "--no-such-thing");
    misspelt(with(&["--chap-user", "me"]), "required");
}

/// A slip of the pen must not cost a disk: what the program writes to is not what it serves, and a PID file is one.
#[test]
fn its_own_files_are_no_disks() {
    let folder = folder();
    let path = folder.path();
    let disk = image(path, "disk", 1 << 20);
    let link = path.join("link");
    std::os::unix::fs::symlink(&disk, &link).expect("a link");
    let link = link.to_str().expect("a plain path");
    let new = path.join("new").display().to_string();
    for flag in ["-l", "-P"] {
        for name in [&*disk, link] {
            refused(path, &["-d", &disk, "-p", "0", "-i", "127.0.0.1", flag, name], 2, &[flag, name, "disk"]);
        }
        refused(path, &["-d", &new, "--create", "1M", "-p", "0", "-i", "127.0.0.1", flag, &new], 2, &[flag, "disk"]);
    }
    // Somebody's file, served or not.
    let letter = path.join("letter");
    for text in ["Dear friend", "12 dozen eggs", &"1".repeat(1000)] {
        fs::write(&letter, text).expect("written");
        let name = letter.to_str().expect("a plain path");
        refused(path, &["-d", &disk, "-p", "0", "-i", "127.0.0.1", "-P", name], 1, &["letter", "no PID file"]);
    }
    let other = image(path, "other", 1 << 20);
    refused(path, &["-d", &disk, "-p", "0", "-i", "127.0.0.1", "-P", &other], 1, &["other", "no PID file"]);
}

#[test]
fn disks_in_memory() {
    let folder = folder();
    refused(folder.path(), &["-b", "ram"], 2, &["-d", "size"]);
    refused(folder.path(), &["-b", "ram", "-d", "much"], 2, &["-d", "much"]);
    refused(folder.path(), &["-b", "ram", "-d", "1000"], 2, &["-d 1000", "512", "give 1024"]);
    let smaller = ["-b", "ram", "-d", "1M", "--block-size", "4096", "--physical-block-size", "512"];
    refused(folder.path(), &smaller, 2, &["--physical-block-size 512", "4096"]);
}

#[test]
fn what_create_does_not_do() {
    let folder = folder();
    let path = folder.path();
    let new = path.join("new").display().to_string();
    refused(path, &["-d", &new, "--create", "1000"], 2, &["--create", "1000", "512"]);
    refused(path, &["-d", &format!("{new}/deeper"), "--create", "1M"], 1, &["new/deeper"]);
    // The second disk cannot be served: the first one is not made.
    let odd = image(path, "odd", 1000);
    refused(path, &["-d", &new, "-d", &odd, "--create", "1M"], 1, &["odd"]);
    let spoilt = image(path, "spoilt", 1 << 20);
    fs::write(path.join("spoilt.uuid"), "nonsense").expect("written");
    refused(path, &["-d", &new, "-d", &spoilt, "--create", "1M", "-p", "0", "-i", "127.0.0.1"], 1, &["spoilt.uuid"]);
    // Nor with the image that is made where none is named.
    let before = contents(path);
    let mut demo = command(&["--create", "1000", "-p", "0"]);
    demo.env("XDG_DATA_HOME", path);
    let output = demo.output().expect("it runs");
    assert!(!output.status.success());
    assert_eq!(contents(path), before);
}

/// A folder that was there stays as it was, an image too.
#[test]
fn create_keeps_what_is_there() {
    let folder = folder();
    let path = folder.path().join("disk");
    let name = path.to_str().expect("a plain path");
    fs::write(&path, [7; 8192]).expect("written");
    drop(Iesp::start(&["-d", name, "--create", "1G"]));
    assert_eq!(fs::read(&path).expect("it is there"), [7; 8192]);
    fs::remove_file(&path).expect("removed");
    let server = Iesp::start(&["-d", name, "--create", "1G"]);
    assert_eq!(fs::metadata(&path).expect("it is there").len(), 1 << 30);
    Client::login(server.address()).run(&[0]).good();
}

#[test]
fn identities() {
    let folder = folder();
    let path = folder.path();
    let [one, two] = ["one", "two"].map(|name| image(path, name, 1 << 20));
    let uuid = "8ff2e0b4-6f7c-4e4e-9d53-6a0c2a8c7b11";
    refused(path, &["-d", &one, "-d", &two, "--uuid", uuid, "-p", "0"], 2, &["--uuid", "one disk"]);
    fs::write(path.join("one.uuid"), "nonsense\n").expect("written");
    refused(path, &["-d", &one, "-p", "0", "-i", "127.0.0.1"], 1, &["one.uuid", "remove"]);
    // The other disk gets no identity either: nothing is changed.
    refused(path, &["-d", &two, "-d", &one, "-p", "0", "-i", "127.0.0.1"], 1, &["one.uuid", "remove"]);
    // With one from the command line the file is not read.
    drop(Iesp::start(&["-d", &one, "--uuid", uuid]));
    assert_eq!(fs::read_to_string(path.join("one.uuid")).expect("it is there"), "nonsense\n");
}

#[test]
fn secrets() {
    let folder = folder();
    let path = folder.path();
    let disk = image(path, "disk", 1 << 20);
    let file = |name: &str, text: &str| {
        let file = path.join(name);
        fs::write(&file, text).expect("written");
        file.to_str().expect("a plain path").to_owned()
    };
    let (secret, empty) = (file("secret", "a secret of some length\n"), file("empty", "\n"));
    let user = ["-d", &disk, "-p", "0", "-i", "127.0.0.1", "--chap-user", "me", "--chap-secret-file"];
    refused(path, &[&user[..], &["/nowhere/secret"]].concat(), 2, &["/nowhere/secret"]);
    refused(path, &[&user[..], &[&empty]].concat(), 2, &["empty"]);
    let both = [&user[..], &[&secret, "--mutual-user", "it", "--mutual-secret-file", &secret]].concat();
    refused(path, &both, 2, &["differ"]);
}

/// Somebody else than root, who has no permission.
#[test]
fn no_permission() {
    let folder = folder();
    let path = folder.path();
    let open = |path: &Path, mode| fs::set_permissions(path, Permissions::from_mode(mode)).expect("a mode");
    open(path, 0o777);
    let program = path.join("iesp");
    fs::copy(crate::support::process::program(), &program).expect("a copy where everybody may go");
    let disk = image(path, "disk", 1 << 20);
    fs::write(path.join("disk.uuid"), "8ff2e0b4-6f7c-4e4e-9d53-6a0c2a8c7b11").expect("written");
    let run = |more: &[&str]| {
        let mut command = Command::new(&program);
        command.args(["-i", "127.0.0.1", "-p", "0", "-d", &disk]).args(more);
        if rustix::process::geteuid().is_root() {
            command.uid(65534).gid(65534);
        }
        command
    };
    for (mode, words) in [(0o000, ["permission to read", "mode"]), (0o444, ["permission to write", "--read-only"])] {
        open(Path::new(&disk), mode);
        let before = contents(path);
        let (code, errors) = ends(run(&[]));
        assert_eq!(code, Some(1), "{errors}");
        assert!(words.iter().all(|word| errors.contains(word)) && errors.lines().count() == 1, "{errors}");
        assert_eq!(contents(path), before);
    }
    let server = Iesp::spawn(run(&["--read-only"]));
    assert!(server.screen.contains("read-only"), "{}", server.screen);
}
