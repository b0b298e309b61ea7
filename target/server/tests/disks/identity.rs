//! Two disks never have one identity, however that would come about.

use std::fs;

use crate::support::Iesp;
use crate::support::process::{folder, image};
use crate::{attentions, configuration, refused, reload, serial, serve, session};

const UUID: &str = "5f0e0d0c-0b0a-4908-8706-05040302010a";

/// An image and its copy, with the copy of its identity: `cp disk.img* elsewhere`.
fn original_and_copy(folder: &std::path::Path) -> (String, String) {
    let disk = image(folder, "disk.img", 1 << 20);
    drop(Iesp::start(&["-d", &disk]));
    let copy = folder.join("copy.img").display().to_string();
    fs::copy(&disk, &copy).and_then(|_| fs::copy(format!("{disk}.uuid"), format!("{copy}.uuid"))).expect("a copy");
    (disk, copy)
}

#[test]
fn a_copy_with_the_identity_of_the_original_is_not_served_beside_it() {
    let folder = folder();
    let (disk, copy) = original_and_copy(folder.path());
    let words = ["copy.img", "UUID", "disk.img", "remove", "copy.img.uuid"];
    refused(&["-d", &disk, "-d", &copy], &words);
    for targets in [
        &[("a", &["file = \"disk.img\"", "file = \"copy.img\""][..])][..],
        &[("a", &["file = \"disk.img\""]), ("b", &["file = \"copy.img\""])],
    ] {
        refused(&["--config", &configuration(folder.path(), targets)], &words);
    }
    // Before it is served, too.
    let file = configuration(folder.path(), &[("a", &["file = \"disk.img\"", "file = \"copy.img\""])]);
    let output = crate::support::process::command(&["check", &file]).output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(words.iter().all(|word| said.contains(word)), "{said}");
    // Either alone is no fault, and the remedy is one.
    drop(Iesp::start(&["-d", &copy]));
    fs::remove_file(format!("{copy}.uuid")).expect("removed");
    let both = Iesp::start(&["-d", &disk, "-d", &copy]);
    let mut client = session(&both, "test", 1);
    attentions(&mut client, 0);
    attentions(&mut client, 1);
    assert_ne!(serial(&mut client, 0), serial(&mut client, 1));
}

#[test]
fn a_copy_that_comes_with_a_reload_changes_nothing() {
    let folder = folder();
    let (_, _) = original_and_copy(folder.path());
    configuration(folder.path(), &[("a", &["file = \"disk.img\""])]);
    let iesp = serve(folder.path(), &[]);
    let (mut client, mut other) = (session(&iesp, "a", 1), session(&iesp, "a", 2));
    attentions(&mut client, 0);
    attentions(&mut other, 0);
    for targets in [
        &[("a", &["file = \"disk.img\"", "file = \"copy.img\""][..])][..],
        &[("a", &["file = \"disk.img\""]), ("b", &["file = \"copy.img\""])],
    ] {
        configuration(folder.path(), targets);
        let line = reload(&iesp);
        assert!(line.contains("nothing was changed") && line.contains("copy.img.uuid"), "{line}");
    }
    // Nor by a uuid that is given.
    let uuid = fs::read_to_string(folder.path().join("disk.img.uuid")).expect("an identity");
    let third = image(folder.path(), "third.img", 1 << 20);
    let lun = format!("file = \"{third}\"\nuuid = \"{}\"", uuid.trim());
    configuration(folder.path(), &[("a", &["file = \"disk.img\"", &lun])]);
    let line = reload(&iesp);
    assert!(line.contains("nothing was changed") && line.contains("uuid"), "{line}");
    for client in [&mut client, &mut other] {
        assert_eq!(attentions(client, 0), [], "nobody notices");
    }
}

/// The identity of one disk, given to another one.
#[test]
fn a_uuid_that_is_given_is_none_of_another_disk() {
    let folder = folder();
    let (one, two) = (image(folder.path(), "one", 1 << 20), image(folder.path(), "two", 1 << 20));
    fs::write(format!("{two}.uuid"), UUID).expect("written");
    let given = format!("file = \"one\"\nuuid = \"{UUID}\"");
    let file = configuration(folder.path(), &[("a", &[&given]), ("b", &["file = \"two\""])]);
    refused(&["--config", &file], &["UUID", UUID, "one", "two"]);
    drop(Iesp::start(&["-d", &one, "--uuid", UUID]));
}

/// An export that is served by another name of its server is the same disk as before.
#[test]
fn an_export_keeps_its_identity_by_another_name() {
    let folder = folder();
    let port = crate::servers::free_port();
    let arguments = ["-f", "-i", "127.0.0.1", "-p", &port.to_string(), "memory", "1M"].map(str::to_owned).into();
    let started = crate::servers::Server::start("nbdkit", arguments, None, format!("nbd://127.0.0.1:{port}/"));
    let Some(_server) = started else { return };
    let serials = ["127.0.0.1", "localhost"].map(|host| {
        configuration(folder.path(), &[("a", &[&format!("nbd = \"nbd://{host}:{port}/\"")])]);
        let iesp = serve(folder.path(), &[]);
        let mut client = session(&iesp, "a", 1);
        attentions(&mut client, 0);
        serial(&mut client, 0)
    });
    assert_eq!(serials[0], serials[1]);
}

/// A disk that gets another identity by a reload is another disk.
#[test]
fn another_uuid_comes_with_a_reload() {
    let folder = folder();
    image(folder.path(), "disk", 1 << 20);
    configuration(folder.path(), &[("a", &["file = \"disk\""])]);
    let iesp = serve(folder.path(), &[]);
    let mut client = session(&iesp, "a", 1);
    attentions(&mut client, 0);
    let before = serial(&mut client, 0);
    configuration(folder.path(), &[("a", &[&format!("file = \"disk\"\nuuid = \"{UUID}\"")])]);
    assert!(reload(&iesp).contains("LUN 0 of a replaced"));
    assert_eq!(attentions(&mut client, 0), [(0x29, 0), (0x3f, 3)]);
    assert_ne!(serial(&mut client, 0), before);
}

/// A link is a name: the disk is the same by it, and has no second identity.
#[test]
fn a_link_leads_to_the_identity_of_the_file() {
    let folder = folder();
    let disk = image(folder.path(), "disk.img", 1 << 20);
    let link = folder.path().join("link").display().to_string();
    std::os::unix::fs::symlink(&disk, &link).expect("a link");
    let serial_by = |name: &str| {
        let iesp = Iesp::start(&["-d", name]);
        let mut client = session(&iesp, "test", 1);
        attentions(&mut client, 0);
        serial(&mut client, 0)
    };
    assert_eq!(serial_by(&link), serial_by(&disk));
    assert!(!folder.path().join("link.uuid").exists());
}
