//! `iesp check FILE`.

use std::process::Output;

use crate::support::process::{command, folder};
use crate::{LOG, PORTAL, Served, target, write};

fn check(text: &str) -> (Output, String) {
    let folder = folder();
    let file = write(folder.path(), text);
    let output = command(&["check", &file]).output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr).replace(&file, "FILE");
    (output, said)
}

#[test]
fn a_right_file() {
    let (output, said) = check(&format!("{PORTAL}{}", target("disk", "1M 2M")));
    assert_eq!((output.status.code(), said.as_str()), (Some(0), ""));
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(told.contains("1 target, 2 disks, 1 address"), "{told}");
}

/// RFC 7143 9.2.1: 96 bits at least. Whoever has such secrets in use goes on, and is told.
#[test]
fn a_secret_that_is_too_short() {
    let chap = |secret: &str| format!("[[target.chap]]\nuser = \"anna\"\nsecret = \"{secret}\"\n");
    let text = |secret: &str| format!("{PORTAL}{LOG}{}{}", target("disk", "1M"), chap(secret));
    let weak = "warning: the CHAP secret of \"anna\" has 11 bytes";
    for (secret, is_weak) in [("eleven-byte", true), ("twelve-bytes", false)] {
        let (output, said) = check(&text(secret));
        assert_eq!((output.status.code(), said.as_str()), (Some(0), ""));
        let told = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(told.contains("1 target") && told.contains(weak) == is_weak, "{told}");
    }
    let served = Served::by(&text("eleven-byte"));
    assert!(served.iesp.screen.contains("Warning: the CHAP secret of \"anna\" has 11 bytes"), "{}", served.iesp.screen);
    served.reload(&text("twelve-bytes"));
    assert_eq!(served.iesp.errors().matches("CHAP secret").count(), 1, "{}", served.iesp.errors());
    served.reload(&text("another"));
    assert!(served.iesp.errors().contains("the CHAP secret of \"anna\" has 7 bytes"), "{}", served.iesp.errors());
}

/// It may be made or mounted later, so that the file is right; but by it nothing would be served now.
#[test]
fn disks_that_cannot_be_served() {
    let folder = folder();
    std::fs::write(folder.path().join("odd.img"), [0; 1000]).expect("a file");
    for (disk, word) in [
        ("file = \"none.img\"", "none.img: there is no such file: add `create = "),
        ("file = \".\"", "directory"),
        ("file = \"odd.img\"", "`truncate -s 1024`"),
        ("file = \"none.img\"\ncreate = \"1M\"", ""),
    ] {
        let text = format!("{PORTAL}[[target]]\nname = \"disk\"\n[[target.lun]]\n{disk}\n");
        let line = text.lines().position(|line| line.starts_with("file")).expect("it is there") + 1;
        let file = write(folder.path(), &text);
        let output = command(&["check", &file]).output().expect("it runs");
        let told = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(output.status.code(), Some(0), "{told}");
        let place = format!("{file}:{line}:1: ");
        assert_eq!(told.contains(&format!("warning: {place}")), !word.is_empty(), "{told}");
        assert!(told.contains(word), "{told}");
        if !word.is_empty() {
            let output = command(&["--config", &file]).output().expect("it runs");
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(said.starts_with(&format!("iesp: {place}")) && said.contains(word), "{said}");
        }
    }
}

#[test]
fn all_that_is_wrong_in_one_go() {
    let (output, said) =
        check(&format!("threds = 2\n{}[limits]\nwindow = 500\nsessions = \"ten\"\n", target("disk", "1M")));
    assert_eq!(output.status.code(), Some(1));
    for line in [
        "FILE:1:1: 'threds' is not known: did you mean 'threads'?",
        "FILE:7:10: window = 500: ",
        "FILE:8:12: sessions: ",
    ] {
        assert!(said.contains(line), "{line} in {said}");
    }
}

#[test]
fn a_file_that_is_not_there() {
    let output = command(&["check", "/nowhere/iesp.toml"]).output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!((output.status.code(), said.lines().count()), (Some(1), 1), "{said}");
    assert!(said.contains("/nowhere/iesp.toml"), "{said}");
}

/// Serving by it is refused with the same words, and another code: nothing was begun.
#[test]
fn a_wrong_file_is_not_served() {
    let folder = folder();
    let file = write(
        folder.path(),
        "[[target]]\nname = \"disk\"\n[[target.lun]]\nfile = \"disk.img\"\ncreate = \"1M\"\ncolor = 1\n",
    );
    let output = command(&["--config", &file]).output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2));
    assert!(said.contains("iesp.toml:6:1: 'color' is not known in [target.lun]"), "{said}");
    assert!(!folder.path().join("disk.img").exists());
}

/// What iesp writes must not be one of its disks.
#[test]
fn a_log_file_that_is_a_disk() {
    let text = "[[target]]\nname = \"d\"\n[[target.lun]]\nfile = \"x\"\n[log.file]\npath = \"x\"\n";
    let (output, said) = check(text);
    assert_eq!(output.status.code(), Some(1));
    assert!(said.contains("this is a disk that is to be served"), "{said}");
}
