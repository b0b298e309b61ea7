//! The stop: every disk is flushed, whatever another one says.

use std::fs::File;

use crate::servers::Server;
use crate::support::initiator::Answer;
use crate::support::process::{folder, image};
use crate::support::{Client, Iesp, cdb};
use crate::{attentions, configuration, serial, serve, session};

/// The flush of LUN 0 fails, as its file was cut; that of LUN 1 still reaches its server.
#[test]
fn a_disk_that_fails_to_flush_keeps_no_other_from_it() {
    let folder = folder();
    let log = folder.path().join("requests");
    let log_argument = format!("logfile={}", log.display());
    let Some(server) = Server::nbdkit(folder.path(), &["--filter=log", "memory", "1M", &log_argument]) else { return };
    let cut = image(folder.path(), "cut.img", 1 << 20);
    let config = folder.path().join("iesp.toml");
    let text = format!(
        "[[portal]]\nlisten = \"127.0.0.1\"\nport = 0\n[[target]]\nname = \"test\"\n[[target.lun]]\nfile = \"cut.img\"\n\
         [[target.lun]]\nnbd = \"{}\"\nuuid = \"0f0e0d0c-0b0a-4908-8706-050403020100\"\n",
        server.url
    );
    std::fs::write(&config, text).expect("written");
    let mut iesp = Iesp::spawn(crate::support::process::command(&["--config", config.to_str().expect("a plain path")]));
    let mut client = Client::login(iesp.address());
    let on_one = |command: iesp_iscsi::pdu::ScsiCommand| iesp_iscsi::pdu::ScsiCommand { lun: 1 << 48, ..command };
    let ready = on_one(client.initiator.bare(&[0]));
    assert_eq!(client.command(ready, &[]).code(), (6, 0x29, 0));
    let write = on_one(client.initiator.write(&cdb::write(0, 8), 4096));
    client.command(write, &[7; 4096]).good();
    let flushes = || std::fs::read_to_string(&log).map_or(0, |text| text.matches(" Flush id=").count());
    assert_eq!(flushes(), 0, "nothing was flushed yet");
    File::options().write(true).open(&cut).and_then(|file| file.set_len(4096)).expect("cut");
    let (status, _) = iesp.stop();
    assert_ne!(status.code(), Some(0), "LUN 0 could not be flushed");
    assert!(iesp.errors().contains("LUN 0 of test could not be flushed"), "{}", iesp.errors());
    assert!(flushes() > 0, "{}", std::fs::read_to_string(&log).unwrap_or_default());
}

/// A stop and a start on the same port, as an upgrade does it: what each of two initiators flushed is there, the disk is the
/// one that it was, and neither sees an error.
#[test]
fn a_restart_beside_two_initiators() {
    let folder = folder();
    image(folder.path(), "disk.img", 1 << 20);
    configuration(folder.path(), &[("a", &["file = \"disk.img\""])]);
    let port = crate::servers::free_port().to_string();
    let mut known = Vec::new();
    for round in 0..3 {
        let mut iesp = serve(folder.path(), &["-p", &port]);
        let mut clients = [session(&iesp, "a", 1), session(&iesp, "a", 2)];
        for (place, client) in (0..).zip(&mut clients) {
            assert_eq!(attentions(client, 0), [(0x29, 0)]);
            known.push(serial(client, 0));
            if round > 0 {
                assert_eq!(client.get(&cdb::read(place, 1), 512).good(), [round - 1; 512]);
            }
            client.put(&cdb::write(place, 1), &[round; 512]).good();
            client.run(&cdb::ten(0x35, 0, 0, 0)).good();
        }
        iesp.signal(rustix::process::Signal::TERM);
        for client in &mut clients {
            assert!(matches!(client.answer(), Answer::Async(_)));
            let logout = client.initiator.logout(iesp_iscsi::pdu::LogoutReason::CloseSession);
            let unit = client.initiator.unit(&logout.emit(), &[]);
            client.send(&unit);
            assert!(matches!(client.answer(), Answer::Logout(_)));
        }
        assert_eq!(iesp.wait().code(), Some(0));
    }
    known.dedup();
    assert_eq!(known.len(), 1);
}

/// Killed with requests in the kernel's hands, and started again at once: the file is free when those have ended.
#[test]
fn a_kill_and_a_start_at_once_past_the_page_cache() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder on a disk");
    let disk = image(folder.path(), "disk.img", 64 << 20);
    for round in 0..12 {
        let mut iesp = Iesp::start(&["-d", &disk, "--direct"]);
        let mut client = Client::login(iesp.address());
        for place in 0..32 {
            let write = client.initiator.write(&cdb::write(place * 512, 512), 256 << 10);
            let unit = client.initiator.unit(&write.emit(), &vec![round; 256 << 10]);
            client.send(&unit);
        }
        iesp.kill();
    }
    Client::login(Iesp::start(&["-d", &disk, "--direct"]).address()).get(&cdb::read(0, 1), 512).good();
}
