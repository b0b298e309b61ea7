//! TLS: nbdkit with certificates that are made here, good ones and others.

use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd};

use crate::servers::{Server, free_port, pattern, session, uuid};
use crate::support::process::{command, folder, image};
use crate::support::{Iesp, cdb};

type Ca = CertifiedIssuer<'static, KeyPair>;

const FLUSH: [u8; 10] = [0x35, 0, 0, 0, 0, 0, 0, 0, 0, 0];

fn ca(name: &str) -> Ca {
    let mut params = CertificateParams::new(Vec::new()).expect("a CA");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, name);
    CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("a CA")
}

/// A certificate with its key, for these names, valid until the end of a year.
fn signed(ca: &Ca, names: &[&str], until: i32) -> (String, String) {
    let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).expect("names");
    (params.not_before, params.not_after) = (date_time_ymd(2001, 1, 1), date_time_ymd(until, 12, 31));
    let key = KeyPair::generate().expect("a key");
    (params.signed_by(&key, ca).expect("a certificate").pem(), key.serialize_pem())
}

fn write(folder: &Path, name: &str, text: &str) -> String {
    let path = folder.join(name);
    std::fs::write(&path, text).expect("a file");
    path.display().to_string()
}

/// nbdkit's folder, as nbdkit-tls(1) wants it: whom it trusts and what it shows.
fn certificates(folder: &Path, trusted: &Ca, (certificate, key): &(String, String)) -> PathBuf {
    write(folder, "ca-cert.pem", &trusted.pem());
    write(folder, "server-cert.pem", certificate);
    write(folder, "server-key.pem", key);
    folder.to_owned()
}

fn nbdkit(folder: &Path, certificates: &Path, more: &[&str]) -> Option<Server> {
    let option = format!("--tls-certificates={}", certificates.display());
    let mut server = Server::nbdkit(folder, &[&["--tls=require", &option], more].concat())?;
    server.url = server.url.replacen("nbd+", "nbds+", 1);
    Some(server)
}

/// Why it does not serve: one line.
fn refused(url: &str, more: &[&str]) -> String {
    let mut command = command(&["-d", url, "--uuid", &uuid(), "-i", "127.0.0.1", "-p", "0"]);
    let output = command.args(more).output().expect("it runs");
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!((output.status.code(), errors.lines().count()), (Some(1), 1), "{errors}");
    errors
}

/// Both sides prove who they are; the disk works as without TLS, with many requests in flight and over a killed server.
#[test]
fn both_sides_with_certificates() {
    let folder = folder();
    let ca = ca("the CA");
    let (certificate, key) = signed(&ca, &["iesp"], 2999);
    let (certificate, key) = (write(folder.path(), "cert", &certificate), write(folder.path(), "key", &key));
    let files = certificates(folder.path(), &ca, &signed(&ca, &["localhost"], 2999));
    let path = image(folder.path(), "disk", 32 << 20);
    let arguments = ["--tls-verify-peer", "--filter=delay", "file", &path, "delay-read=5ms"];
    let Some(mut server) = nbdkit(folder.path(), &files, &arguments) else { return };
    let trusted = files.join("ca-cert.pem").display().to_string();
    let iesp = server.iesp(&["--nbd-ca", &trusted, "--nbd-cert", &certificate, "--nbd-key", &key]);
    let mut client = session(&iesp);
    for round in 0..2u64 {
        let megabyte = pattern(round, 1 << 20);
        client.put(&cdb::write(4096, 2048), &megabyte).good();
        assert_eq!(client.get(&cdb::read(4096, 2048), 1 << 20).good(), megabyte);
        for number in 0..64u64 {
            client.put(&cdb::write_fua(number * 8, 8), &pattern(round << 8 | number, 4096)).good();
        }
        let commands: Vec<_> = (0..64u64)
            .map(|number| {
                let command = client.initiator.read(&cdb::read(number * 8, 8), 4096);
                client.begin(&command);
                command.itt
            })
            .collect();
        for (number, itt) in (0..).zip(commands) {
            assert_eq!(client.finish(itt, &[]).good(), pattern(round << 8 | number, 4096), "{number}");
        }
        client.run(&FLUSH).good();
        server.kill();
        server.start_again();
    }
    assert_eq!(client.get(&cdb::read(4096, 2048), 1 << 20).good(), pattern(1, 1 << 20));

    let without = refused(&server.url, &["--nbd-ca", &trusted]);
    assert!(without.contains("--nbd-cert"), "{without}");
    let (certificate, key) = signed(&self::ca("another CA"), &["iesp"], 2999);
    let (certificate, key) = (write(folder.path(), "cert", &certificate), write(folder.path(), "key", &key));
    let unknown = refused(&server.url, &["--nbd-ca", &trusted, "--nbd-cert", &certificate, "--nbd-key", &key]);
    assert!(unknown.contains("--nbd-cert"), "{unknown}");
}

/// By an address and by a name, over TCP.
#[test]
fn by_tcp() {
    let folder = folder();
    let ca = ca("the CA");
    let files = certificates(folder.path(), &ca, &signed(&ca, &["localhost", "127.0.0.1"], 2999));
    let trusted = files.join("ca-cert.pem").display().to_string();
    let port = free_port();
    let arguments = ["-f", "-i", "127.0.0.1", "-p", &port.to_string(), "--tls=require"].map(str::to_owned);
    let rest = [format!("--tls-certificates={}", files.display()), "memory".to_owned(), "32M".to_owned()];
    let url = format!("nbds://127.0.0.1:{port}");
    let Some(server) = Server::start("nbdkit", [&arguments[..], &rest].concat(), None, url) else { return };
    let iesp = server.iesp(&["--nbd-ca", &trusted]);
    let mut client = session(&iesp);
    client.put(&cdb::write(0, 8), &pattern(1, 4096)).good();
    drop((client, iesp));
    let arguments = ["-d", &format!("nbds://localhost:{port}/"), "--uuid", &uuid(), "--nbd-ca", &trusted];
    let iesp = Iesp::start(&arguments);
    assert_eq!(session(&iesp).get(&cdb::read(0, 8), 4096).good(), pattern(1, 4096));
    let plain = refused(&format!("nbd://127.0.0.1:{port}"), &[]);
    assert!(plain.contains("nbds://"), "{plain}");
}

/// A certificate that is no good: the line says what is wrong with it.
#[test]
fn certificates_that_are_refused() {
    let (ours, other) = (ca("the CA"), ca("another CA"));
    let good = signed(&ours, &["localhost"], 2999);
    let cases = [
        ("signed by no CA of", signed(&other, &["localhost"], 2999), &[][..]),
        ("has expired", signed(&ours, &["localhost"], 2020), &[]),
        ("not for localhost but for elsewhere.example", signed(&ours, &["elsewhere.example"], 2999), &[]),
        ("not for box but for localhost", good, &["--nbd-server-name", "box"]),
    ];
    for (word, certificate, more) in cases {
        let folder = folder();
        let files = certificates(folder.path(), &ours, &certificate);
        let Some(server) = nbdkit(folder.path(), &files, &["memory", "1M"]) else { return };
        let trusted = files.join("ca-cert.pem").display().to_string();
        let errors = refused(&server.url, &[&["--nbd-ca", &trusted], more].concat());
        assert!(errors.contains(word) && errors.contains(&server.url), "{word}: {errors}");
        if word.contains("elsewhere") {
            server.iesp(&["--nbd-ca", &trusted, "--nbd-server-name", "elsewhere.example"]);
        }
        // Nobody whom the system trusts has signed it.
        let errors = refused(&server.url, more);
        assert!(errors.contains("--nbd-ca") || word == "has expired", "{errors}");
    }
}

/// The server is met again with another certificate: no command is sent to it, and it is told why.
#[test]
fn a_certificate_that_turns_bad() {
    let folder = folder();
    let ca = ca("the CA");
    let files = certificates(folder.path(), &ca, &signed(&ca, &["localhost"], 2999));
    let Some(mut server) = nbdkit(folder.path(), &files, &["memory", "32M"]) else { return };
    let trusted = files.join("ca-cert.pem").display().to_string();
    let iesp = server.iesp(&["--nbd-ca", &trusted, "--nbd-reconnect", "1"]);
    let mut client = session(&iesp);
    client.get(&cdb::read(0, 8), 4096).good();
    server.kill();
    certificates(folder.path(), &ca, &signed(&ca, &["localhost"], 2020));
    server.start_again();
    assert_eq!(client.get(&cdb::read(0, 8), 4096).code().0, 2, "NOT READY");
    assert!(iesp.errors().contains("has expired"), "{}", iesp.errors());
}

#[test]
fn a_server_without_tls() {
    let folder = folder();
    let trusted = write(folder.path(), "ca.pem", &ca("the CA").pem());
    let Some(server) = Server::nbdkit(folder.path(), &["memory", "1M"]) else { return };
    let errors = refused(&server.url.replacen("nbd+", "nbds+", 1), &["--nbd-ca", &trusted]);
    assert!(errors.contains("without TLS"), "{errors}");
}

/// Files that are not what they should be, before any server is asked.
#[test]
fn files_that_are_refused() {
    let folder = folder();
    let ca = ca("the CA");
    let (certificate, _) = signed(&ca, &["iesp"], 2999);
    let (_, key) = signed(&ca, &["iesp"], 2999);
    let (certificate, key) = (write(folder.path(), "cert", &certificate), write(folder.path(), "key", &key));
    let empty = write(folder.path(), "empty", "");
    let broken = write(folder.path(), "broken", "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n");
    let trusted = write(folder.path(), "ca.pem", &ca.pem());
    let url = format!("nbds+unix:///?socket={}", folder.path().join("none").display());
    for (more, word) in [
        (&["--nbd-ca", "/nowhere/ca.pem"][..], "/nowhere/ca.pem: it cannot be read"),
        (&["--nbd-ca", &empty], "no certificate"),
        (&["--nbd-ca", &broken], "PEM"),
        (&["--nbd-ca", &trusted, "--nbd-cert", &certificate, "--nbd-key", &empty], "no private key"),
        (&["--nbd-ca", &trusted, "--nbd-cert", &certificate, "--nbd-key", &key], "not of the certificate"),
        (&["--nbd-ca", &trusted, "--nbd-server-name", "a b"], "--nbd-server-name"),
        (&["--nbd-ca", &trusted], "cannot be reached"),
    ] {
        let errors = refused(&url, more);
        assert!(errors.contains(word), "{more:?}: {errors}");
    }
}
