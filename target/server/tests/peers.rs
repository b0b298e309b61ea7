//! Peers that break rules, go away, or come in numbers: the target serves the others, and gives back what it held.

mod support;

use std::io::Write;
use std::time::{Duration, Instant};

use iesp_iscsi::pdu::{LoginStatus, LogoutReason, TaskAttribute, TaskFunction};
use support::client::KEYS;
use support::initiator::Answer;
use support::process::{folder, image};
use support::{Client, Iesp, cdb};

/// 4.2.2.1: commands are delivered in the order of CmdSN, however they came.
#[test]
fn commands_that_come_in_reverse_are_all_answered() {
    let server = Iesp::ram("1M");
    let mut client = Client::login(server.address());
    let commands: Vec<_> = (0..6).map(|_| client.initiator.bare(&[0])).collect();
    for command in commands.iter().rev() {
        client.begin(command);
    }
    let tags = commands.iter().map(|_| match client.answer() {
        Answer::Status(status, _) => status.itt,
        other => panic!("{other:?}"),
    });
    assert_eq!(tags.collect::<Vec<_>>(), commands.iter().map(|command| command.itt).collect::<Vec<_>>());
}

/// 11.14: "the target MUST terminate all pending commands".
#[test]
fn a_logout_does_not_wait_for_data_that_nobody_sends() {
    let server = Iesp::ram("1M");
    let mut client = Client::login(server.address());
    let write = client.initiator.write(&cdb::write(0, 8), 4096);
    client.begin(&write);
    assert!(matches!(client.answer(), Answer::R2t(_)));
    let logout = client.initiator.logout(LogoutReason::CloseSession);
    let unit = client.initiator.unit(&logout.emit(), &[]);
    client.send(&unit);
    let start = Instant::now();
    let Answer::Logout(response) = client.answer() else { panic!("no Logout Response") };
    assert_eq!((response.response, response.itt), (0, logout.itt));
    assert!(start.elapsed() < Duration::from_secs(5));
    assert_eq!(client.answer_or_end(), None);
}

/// SAM-5 8.9: an ordered task waits for the older ones, the younger ones for it; and none of them for ever.
#[test]
fn an_ordered_task_behind_one_that_waits_for_its_data() {
    let server = Iesp::ram("1M");
    let mut client = Client::login(server.address());
    let write = client.initiator.write(&cdb::write(0, 8), 4096);
    client.begin(&write);
    let mut ordered = client.initiator.read(&cdb::read(0, 8), 4096);
    ordered.attribute = TaskAttribute::Ordered;
    client.begin(&ordered);
    client.finish(write.itt, &[7; 4096]).good();
    assert_eq!(client.finish(ordered.itt, &[]).good(), [7; 4096]);
}

/// What a connection held is given back when it is cut in the middle of a unit.
#[test]
fn connections_that_are_cut_in_the_middle_of_a_write_leave_nothing_behind() {
    let server = Iesp::ram("64M");
    for _ in 0..80 {
        let mut client = Client::login(server.address());
        let write = client.initiator.write(&cdb::write(0, 32768), 16 << 20);
        client.begin(&write);
        let Answer::R2t(r2t) = client.answer() else { panic!("no R2T") };
        let units = client.initiator.answer_r2t(&r2t, &vec![1; 1 << 20], 1 << 18);
        client.send(&units[..100_000]);
    }
    let mut client = Client::login(server.address());
    client.put(&cdb::write(0, 32768), &vec![2; 16 << 20]).good();
}

/// 6.3.5: the session that is reinstated makes its own room.
#[test]
fn a_full_target_takes_back_an_initiator_that_it_knows() {
    let folder = folder();
    let file = folder.path().join("iesp.toml");
    let text = "[[portal]]\nlisten = \"127.0.0.1\"\nport = 0\n[limits]\nsessions = 8\n\
        [[target]]\nname = \"test\"\n[[target.lun]]\nram = \"1M\"\n";
    std::fs::write(&file, text).expect("a file");
    let mut program = support::process::command(&["--config", file.to_str().expect("a plain path")]);
    program.env("RUNTIME_DIRECTORY", folder.path()).env("STATE_DIRECTORY", folder.path());
    let server = Iesp::spawn(program);
    let clients: Vec<_> = (0..8).map(|number| Client::login_as(server.address(), Client::isid(number), KEYS)).collect();
    let mut late = Client::connect(server.address());
    late.initiator.isid = Client::isid(64);
    assert_eq!(late.log_in("test", "").status, LoginStatus::OutOfResources);
    let mut again = Client::login_as(server.address(), Client::isid(5), KEYS);
    again.run(&[0]).good();
    drop(clients);
}

/// A host that lost its power amid a read comes back and finds its disk.
#[test]
fn a_session_whose_peer_reads_nothing_is_reinstated_at_once() {
    let server = Iesp::ram("64M");
    let mut stuck = Client::login(server.address());
    for _ in 0..64 {
        let read = stuck.initiator.read(&cdb::read(0, 2048), 1 << 20);
        stuck.begin(&read);
    }
    std::thread::sleep(Duration::from_millis(300));
    let start = Instant::now();
    let mut again = Client::login(server.address());
    again.run(&[0]).good();
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
}

/// Task management requests are no tasks, so that the window does not bound them: all that wait for one slow write are
/// answered, however many they are.
#[test]
fn a_flood_of_task_management_requests() {
    const FLOOD: usize = 60_000;
    let folder = folder();
    let image = image(folder.path(), "disk", 16 << 20);
    let mut server = Iesp::start(&["-d", &image]);
    let mut client = Client::login(server.address());
    let mut bytes = Vec::new();
    for number in 0..100 {
        let write = client.initiator.write(&cdb::write_fua(number * 128, 1), 512);
        bytes.extend(client.initiator.unit(&write.emit(), &[1; 512]));
    }
    for _ in 0..FLOOD {
        let abort = client.initiator.manage(TaskFunction::AbortTaskSet, u32::MAX, 0);
        bytes.extend(client.initiator.unit(&abort.emit(), &[]));
    }
    let mut writer = client.stream.try_clone().expect("a second handle");
    std::thread::scope(|scope| {
        scope.spawn(move || writer.write_all(&bytes));
        let mut answered = 0;
        while answered < FLOOD {
            if let Answer::Task(_) = client.answer() {
                answered += 1;
            }
        }
    });
    client.run(&[0]).good();
    server.assert_well();
}

/// A peer that asks for much and takes nothing costs the target no more than its buffers.
#[test]
fn a_peer_that_reads_nothing_costs_little_memory() {
    let server = Iesp::ram("64M");
    let mut honest = Client::login_as(server.address(), Client::isid(1), KEYS);
    honest.get(&cdb::read(0, 2048), 1 << 20).good();
    let before = server.status_kb("VmRSS:");
    let deaf: Vec<_> = (2..10)
        .map(|number| {
            let mut client = Client::login_as(server.address(), Client::isid(number), KEYS);
            for _ in 0..100 {
                let read = client.initiator.read(&cdb::read(0, 2048), 1 << 20);
                client.begin(&read);
            }
            client
        })
        .collect();
    // 800 MiB were asked for.
    for _ in 0..50 {
        honest.get(&cdb::read(0, 2048), 1 << 20).good();
    }
    // The disk itself is memory: 64 MiB of holes are read without being made.
    let grown = server.status_kb("VmRSS:").saturating_sub(before);
    assert!(grown < (64 << 10), "{grown} kB for 8 peers");
    drop(deaf);
}

/// The same for one that sends commands before their turn, and writes that it does not finish.
#[test]
fn writes_that_are_not_finished_cost_no_more_than_there_may_be() {
    let mut server = Iesp::ram("64M");
    for number in 1..20 {
        let mut client = Client::login_as(server.address(), Client::isid(number), KEYS);
        for _ in 0..100 {
            let write = client.initiator.write(&cdb::write(0, 32768), 16 << 20);
            client.begin(&write);
        }
        std::mem::forget(client.stream.try_clone());
    }
    server.assert_well();
    let mut client = Client::login_as(server.address(), Client::isid(50), KEYS);
    client.get(&cdb::read(0, 8), 4096).good();
    let rss = server.status_kb("VmRSS:");
    assert!(rss < (200 << 10), "{rss} kB");
}

/// Bytes that mean nothing, of many peers at once, before and after a login.
#[test]
fn garbage() {
    let mut server = Iesp::ram("1M");
    let mut seed = 0x9e37_79b9_7f4a_7c15u64;
    println!("seed {seed:#x}");
    let mut next = move || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed as u8
    };
    for round in 0..60 {
        let mut client = if round % 2 == 0 {
            Client::connect(server.address())
        } else {
            Client::login_as(server.address(), Client::isid(1), KEYS)
        };
        let mut bytes: Vec<u8> = (0..2000).map(|_| next()).collect();
        if round % 4 == 3 {
            // Units that are whole, and look like an initiator's.
            for unit in bytes.chunks_exact_mut(48) {
                unit[0] = 0x40 | (unit[0] % 7);
                unit[4..8].fill(0);
            }
            bytes.truncate(bytes.len() / 48 * 48);
        }
        // It may have closed the connection before all was sent.
        let _ = client.stream.write_all(&bytes);
    }
    let mut client = Client::login_as(server.address(), Client::isid(2), KEYS);
    client.run(&[0]).good();
    server.assert_well();
}

#[test]
fn two_hundred_connections_at_once() {
    let mut server = Iesp::ram("1M");
    let strangers: Vec<_> = (0..140).map(|_| Client::connect(server.address())).collect();
    let mut clients: Vec<_> =
        (0..60).map(|number| Client::login_as(server.address(), Client::isid(number), KEYS)).collect();
    for (number, client) in (0..).zip(&mut clients) {
        client.put(&cdb::write(number, 1), &[number as u8; 512]).good();
    }
    for (number, client) in (0..).zip(&mut clients) {
        assert_eq!(client.get(&cdb::read(number, 1), 512).good(), [number as u8; 512]);
    }
    drop((strangers, clients));
    Client::login_as(server.address(), Client::isid(99), KEYS).run(&[0]).good();
    server.assert_well();
}
