//! Addresses, refusals and identities.

use std::net::TcpListener;

use crate::servers::{Server, pattern, uuid};
use crate::support::process::{command, folder, image};
use crate::support::{Client, Iesp, cdb};

fn refused(arguments: &[&str]) -> (Option<i32>, String) {
    let output = command(arguments).args(["-i", "127.0.0.1", "-p", "0"]).output().expect("it runs");
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(errors.lines().count(), 1, "{errors}");
    (output.status.code(), errors)
}

#[test]
fn refusals() {
    for (arguments, code, word) in [
        (&["-b", "nbd"][..], 2, "-d HOST:PORT"),
        (&["-b", "nbd", "-d", "box:notaport"], 2, "HOST:PORT"),
        (&["-b", "nbd", "-d", "/dev/sda"], 2, "HOST:PORT"),
        (&["-b", "nbd", "-d", "[[[]:10809"], 2, "HOST:PORT"),
        (&["-b", "nbd", "-d", "[box]:10809"], 2, "HOST:PORT"),
        (&["-b", "nbd", "-d", "box:+99"], 2, "HOST:PORT"),
        (&["-d", "nbds+unix:///disk"], 2, "nbds+unix:///EXPORT?socket=PATH"),
        (&["-d", "nbd://box/disk", "--nbd-ca", "ca.pem"], 2, "nbds://"),
        (&["-d", "nbd+unix:///disk"], 2, "socket=PATH"),
        (&["-d", "nbd://127.0.0.1/disk", "--create", "1G"], 2, "--create"),
        (&["-b", "nbd", "-d", "127.0.0.1:1"], 1, "cannot be reached: Connection refused (os error 111): start it"),
    ] {
        let (status, errors) = refused(arguments);
        assert!(status == Some(code) && errors.contains(word), "{arguments:?}: {status:?} {errors}");
    }
}

/// Exports that are no disks, or not there: the line says what to change.
#[test]
fn exports_that_are_refused() {
    let folder = folder();
    let sizes = ["blocksize-minimum=4096", "blocksize-preferred=4096", "blocksize-maximum=1M"];
    let odd = [&["--filter=blocksize-policy", "memory", "4608"][..], &sizes].concat();
    for (arguments, more, words) in [
        (&["memory", "1000"][..], &[][..], &["1000 bytes", "512 bytes", "on the server"][..]),
        (&["memory", "100"], &[], &["100 bytes", "512 bytes"]),
        (&["null", "0"], &[], &["empty", "on the server"]),
        (&["memory", "4608"], &["--block-size", "4096"], &["4608 bytes", "4096 bytes", "--block-size 512"]),
        (&odd, &[], &["4608 bytes", "smallest block of 4096 bytes", "on the server"]),
    ] {
        let Some(server) = Server::nbdkit(folder.path(), arguments) else { return };
        let (status, errors) = refused(&[&["-d", &server.url, "--uuid", &uuid()], more].concat());
        assert!(status == Some(1) && words.iter().all(|word| errors.contains(word)), "{arguments:?}: {errors}");
    }
    let path = image(folder.path(), "disk", 1 << 20);
    let (files, names) = (folder.path().join("files"), folder.path().join("nbd-server"));
    std::fs::create_dir(&files).and_then(|()| std::fs::create_dir(&names)).expect("folders");
    let servers = [
        Server::qemu(folder.path(), "raw", 1 << 20),
        Server::nbdkit(folder.path(), &["file", &format!("dir={}", files.display())]),
        Server::nbd_server(&names, &path, ""),
    ];
    for server in servers.into_iter().flatten() {
        let url = server.url.replace("/disk", "/another").replace("///?", "///another?");
        let (status, errors) = refused(&["-d", &url, "--uuid", &uuid()]);
        assert!(status == Some(1) && errors.contains("no such export") && errors.contains("nbdinfo"), "{errors}");
    }
}

/// By IPv6, as an address and as a URI; an export whose name has to be encoded.
#[test]
fn by_ipv6() {
    let Ok(port) = TcpListener::bind("[::1]:0").and_then(|listener| listener.local_addr()).map(|own| own.port()) else {
        return eprintln!("skipped: this machine has no IPv6");
    };
    let folder = folder();
    image(folder.path(), "my disk", 1 << 20);
    let text = port.to_string();
    let serve = |url: String, plugin: &[&str]| {
        let all = [&["-f", "-i", "::1", "-p", &text], plugin].concat();
        Server::start("nbdkit", all.into_iter().map(str::to_owned).collect(), None, url)
    };
    let directory = format!("dir={}", folder.path().display());
    let Some(server) = serve(format!("nbd://[::1]:{port}/my%20disk"), &["file", &directory]) else { return };
    let iesp = server.iesp(&[]);
    assert!(iesp.screen.contains(&server.url), "{}", iesp.screen);
    Client::login(iesp.address()).put(&cdb::write(0, 8), &pattern(1, 4096)).good();
    drop((iesp, server));
    assert_eq!(std::fs::read(folder.path().join("my disk")).expect("the image")[..4096], pattern(1, 4096));
    let Some(mut server) = serve(format!("nbd://[::1]:{port}"), &["memory", "1M"]) else { return };
    server.url = format!("[::1]:{port}");
    Client::login(server.iesp(&[]).address()).get(&cdb::read(0, 8), 4096).good();
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
