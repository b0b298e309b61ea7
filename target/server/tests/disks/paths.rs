//! Several paths to one disk: one backend, one range lock, one identity, whatever the disk is called.

use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use crate::servers::Server;
use crate::support::initiator::Answer;
use crate::support::process::{folder, image};
use crate::support::{Client, Iesp, cdb};
use crate::{attentions, configuration, on, refused, reload, serial, serve, session};

/// Each round two initiators want to be the one that finds what was there: exactly one of them is.
fn one_wins(one: &mut (Client, u8), two: &mut (Client, u8), rounds: u8) {
    for round in 0..rounds {
        let start = Barrier::new(2);
        let attempt = |client: &mut Client, lun: u8, name: u8| {
            let data = [[round; 512], [if name == 0 { round + 1 } else { round | 0x80 }; 512]].concat();
            start.wait();
            on(client, lun, &cdb::compare_and_write(0, 1), &data, 0).status
        };
        let wins = thread::scope(|scope| {
            let first = scope.spawn(|| attempt(&mut one.0, one.1, 0));
            let second = attempt(&mut two.0, two.1, 1);
            [first.join().expect("an answer"), second]
        });
        assert_eq!(wins.iter().filter(|status| **status == 0).count(), 1, "round {round}: {wins:?}");
        on(&mut one.0, one.1, &cdb::write(0, 1), &[round + 1; 512], 0).good();
    }
}

/// What all paths to one logical unit share.
fn is_one_disk(mut one: (Client, u8), mut two: (Client, u8), rounds: u8, wce: bool) {
    attentions(&mut one.0, one.1);
    attentions(&mut two.0, two.1);
    assert_eq!(serial(&mut one.0, one.1), serial(&mut two.0, two.1));
    on(&mut one.0, one.1, &cdb::write(8, 1), &[9; 512], 0).good();
    assert_eq!(on(&mut two.0, two.1, &cdb::read(8, 1), &[], 512).good(), [9; 512]);
    // RESERVE(6) of one nexus bars those of other paths, until it is given back.
    on(&mut one.0, one.1, &[0x16, 0, 0, 0, 0, 0], &[], 0).good();
    assert_eq!(on(&mut two.0, two.1, &cdb::write(8, 1), &[1; 512], 0).status, 0x18, "RESERVATION CONFLICT");
    on(&mut one.0, one.1, &[0x17, 0, 0, 0, 0, 0], &[], 0).good();
    on(&mut two.0, two.1, &cdb::write(0, 1), &[0; 512], 0).good();
    one_wins(&mut one, &mut two, rounds);
    // Mode parameters are the logical unit's: WCE by one path is told to the other.
    let select = [0, 0, 0, 0, 0x08, 0x12, u8::from(wce) << 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    on(&mut one.0, one.1, &[0x15, 0x10, 0, 0, 24, 0], &select, 0).good();
    assert_eq!(attentions(&mut two.0, two.1), [(0x2a, 1)], "MODE PARAMETERS CHANGED");
}

#[test]
fn a_file_by_two_names_is_one_disk() {
    let folder = folder();
    let disk = image(folder.path(), "disk", 1 << 20);
    let link = folder.path().join("link").display().to_string();
    std::os::unix::fs::symlink(&disk, &link).expect("a link");
    let iesp = Iesp::start(&["-d", &disk, "-d", &link]);
    is_one_disk((session(&iesp, "test", 1), 0), (session(&iesp, "test", 2), 1), 40, false);
}

/// In two targets, one of which names the server otherwise.
#[test]
fn an_export_by_two_names_is_one_disk() {
    let folder = folder();
    let port = crate::servers::free_port();
    let arguments = ["-f", "-i", "127.0.0.1", "-p", &port.to_string(), "memory", "1M"].map(str::to_owned).into();
    let Some(_server) = Server::start("nbdkit", arguments, None, format!("nbd://127.0.0.1:{port}/")) else { return };
    let [one, two] = ["127.0.0.1", "localhost"].map(|host| format!("nbd = \"nbd://{host}:{port}/\""));
    configuration(folder.path(), &[("a", &[&one]), ("b", &[&two, &one])]);
    let iesp = serve(folder.path(), &[]);
    is_one_disk((session(&iesp, "a", 1), 0), (session(&iesp, "b", 1), 0), 100, false);
    is_one_disk((session(&iesp, "a", 2), 0), (session(&iesp, "b", 2), 1), 20, true);
}

/// A command that waits for blocks that one of another path works on goes on when that has ended.
#[test]
fn the_end_of_a_command_is_heard_on_the_other_path() {
    let folder = folder();
    let Some(server) = Server::nbdkit(folder.path(), &["--filter=delay", "memory", "1M", "wdelay=300ms"]) else {
        return;
    };
    let export = format!("nbd = \"{}\"", server.url);
    configuration(folder.path(), &[("a", &[&export]), ("b", &[&export])]);
    let iesp = serve(folder.path(), &[]);
    let (mut one, mut two) = (session(&iesp, "a", 1), session(&iesp, "b", 1));
    attentions(&mut one, 0);
    attentions(&mut two, 0);
    for round in 0..3 {
        let write = one.initiator.write(&cdb::write(0, 1), 512);
        one.begin(&write);
        let Answer::R2t(r2t) = one.answer() else { panic!("no R2T") };
        one.answer_r2t(&r2t, &[round + 1; 512]);
        // The server has it, and answers in a while.
        thread::sleep(Duration::from_millis(50));
        let swap = [[round + 1; 512], [0; 512]].concat();
        let ended = thread::scope(|scope| {
            let swapping = scope.spawn(|| on(&mut two, 0, &cdb::compare_and_write(0, 1), &swap, 0));
            one.finish(write.itt, &[]).good();
            swapping.join().expect("an answer")
        });
        assert_eq!(ended.status, 0, "{ended:?}");
    }
}

/// LOGICAL UNIT RESET by one path ends the commands of the other, whose initiator is told.
#[test]
fn a_reset_by_one_path_ends_the_tasks_of_the_other() {
    let folder = folder();
    image(folder.path(), "disk", 1 << 20);
    let lun = "file = \"disk\"";
    configuration(folder.path(), &[("a", &[lun]), ("b", &["ram = \"1M\"", lun])]);
    let iesp = serve(folder.path(), &[]);
    let (mut resets, mut writes) = (session(&iesp, "a", 1), session(&iesp, "b", 1));
    attentions(&mut resets, 0);
    attentions(&mut writes, 0);
    attentions(&mut writes, 1);
    let write = writes.initiator.write(&cdb::write(0, 8), 4096);
    let write = iesp_iscsi::pdu::ScsiCommand { lun: 1 << 48, ..write };
    writes.begin(&write);
    assert!(matches!(writes.answer(), Answer::R2t(_)));
    let reset = resets.initiator.manage(iesp_iscsi::pdu::TaskFunction::LogicalUnitReset, u32::MAX, 0);
    let unit = resets.initiator.unit(&reset.emit(), &[]);
    resets.send(&unit);
    let Answer::Task(done) = resets.answer() else { panic!("no answer") };
    assert_eq!(done.result, iesp_iscsi::pdu::TaskResult::Complete);
    // It was aborted without an answer; the other logical unit of the session is not concerned.
    assert_eq!(attentions(&mut writes, 1), [(0x29, 3)]);
    assert_eq!(attentions(&mut writes, 0), []);
    assert_eq!(on(&mut writes, 1, &cdb::read(0, 8), &[], 4096).good(), [0; 4096]);
}

/// A path comes and goes by reload; whoever uses the other one notices nothing.
#[test]
fn a_path_that_comes_and_goes_beside_another() {
    let folder = folder();
    image(folder.path(), "disk", 1 << 20);
    let lun = "file = \"disk\"";
    configuration(folder.path(), &[("a", &[lun])]);
    let iesp = serve(folder.path(), &[]);
    let mut stays = session(&iesp, "a", 1);
    attentions(&mut stays, 0);
    for round in 0..3 {
        configuration(folder.path(), &[("a", &[lun]), ("b", &[lun])]);
        assert!(reload(&iesp).contains("target b added"));
        let mut comes = session(&iesp, "b", 1);
        attentions(&mut comes, 0);
        assert_eq!(serial(&mut stays, 0), serial(&mut comes, 0));
        on(&mut comes, 0, &cdb::write(0, 1), &[round; 512], 0).good();
        // What it reserved goes with its path.
        on(&mut comes, 0, &[0x16, 0, 0, 0, 0, 0], &[], 0).good();
        configuration(folder.path(), &[("a", &[lun])]);
        assert!(reload(&iesp).contains("target b removed"));
        assert_eq!(on(&mut stays, 0, &cdb::read(0, 1), &[], 512).good(), [round; 512]);
        on(&mut stays, 0, &cdb::write(1, 1), &[round; 512], 0).good();
    }
}

/// One disk is served in one way.
#[test]
fn paths_with_other_settings_are_refused() {
    let folder = folder();
    image(folder.path(), "disk", 1 << 20);
    for (more, key) in [("read-only = true", "read-only"), ("block-size = 4096", "block-size")] {
        let lun = format!("file = \"disk\"\n{more}");
        let file = configuration(folder.path(), &[("a", &["file = \"disk\"", &lun])]);
        refused(&["--config", &file], &["same disk", "LUN 0 of a", key]);
    } // What is to travel by TLS does not travel without it.
    let port = crate::servers::free_port();
    let [plain, tls] = ["nbd", "nbds"].map(|scheme| format!("nbd = \"{scheme}://127.0.0.1:{port}/\""));
    let file = configuration(folder.path(), &[("a", &[&plain, &tls])]);
    refused(&["--config", &file], &["same disk", "TLS"]);
}
