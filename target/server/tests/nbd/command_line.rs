//! Addresses, refusals and identities.

use crate::servers::{Server, uuid};
use crate::support::process::{command, folder};
use crate::support::{Client, Iesp, cdb};

fn refused(arguments: &[&str]) -> (Option<i32>, String) {
    let output = command(arguments).args(["-i", "127.0.0.1", "-p", "0"]).output().expect("it runs");
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(errors.lines().count(), 1, "{errors}");
    (output.status.code(), errors)
}

#[test]
fn refusals() {
    let folder = folder();
    for (arguments, code, word) in [
        (&["-b", "nbd"][..], 2, "-d HOST:PORT"),
        (&["-b", "nbd", "-d", "box:notaport"], 2, "HOST:PORT"),
        (&["-b", "nbd", "-d", "/dev/sda"], 2, "HOST:PORT"),
        (&["-d", "nbds+unix:///disk"], 2, "nbds+unix:///EXPORT?socket=PATH"),
        (&["-d", "nbd://box/disk", "--nbd-ca", "ca.pem"], 2, "nbds://"),
        (&["-d", "nbd+unix:///disk"], 2, "socket=PATH"),
        (&["-d", "nbd://127.0.0.1/disk", "--create", "1G"], 2, "--create"),
        (&["-b", "nbd", "-d", "127.0.0.1:1"], 1, "cannot be reached"),
    ] {
        let (status, errors) = refused(arguments);
        assert!(status == Some(code) && errors.contains(word), "{arguments:?}: {status:?} {errors}");
    }
    let Some(server) = Server::nbdkit(folder.path(), &["memory", "1000"]) else { return };
    let (status, errors) = refused(&["-d", &server.url, "--uuid", &uuid()]);
    assert!(status == Some(1) && errors.contains("1000 bytes") && errors.contains("512"), "{errors}");
    drop(server);
    let Some(server) = Server::qemu(folder.path(), "raw", 1 << 20) else { return };
    let (status, errors) = refused(&["-d", &server.url.replace("disk?", "another?"), "--uuid", &uuid()]);
    assert!(status == Some(1) && errors.contains("no such export"), "{errors}");
}

/// The identity belongs to the export: it lasts, and another export has another one.
#[test]
fn identities() {
    let folder = folder();
    let Some(server) = Server::nbdkit(folder.path(), &["memory", "1M"]) else { return };
    let serial = |url: &str| {
        let mut command = command(&["-d", url, "-i", "127.0.0.1", "-p", "0"]);
        command.env("STATE_DIRECTORY", folder.path());
        let iesp = Iesp::spawn(command);
        Client::login(iesp.address()).get(&cdb::inquiry(Some(0x80), 255), 255).good()
    };
    let first = serial(&server.url);
    assert_eq!(serial(&server.url), first);
    assert_ne!(serial(&server.url.replace("?socket", "other?socket")), first);
    let kept = std::fs::read_dir(folder.path().join("exports")).expect("a folder").count();
    assert_eq!(kept, 2);
}
