//! Ranges of blocks that one initiator holds, and how long others wait for them.

mod support;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use support::client::KEYS;
use support::initiator::Answer;
use support::process::{folder, image};
use support::{Client, Iesp, cdb};

fn login(server: &Iesp, number: u8) -> Client {
    Client::login_as(server.address(), Client::isid(number), KEYS)
}

/// The reads of an initiator that takes nothing of its data hold no blocks that others want to write.
#[test]
fn a_peer_that_stops_reading_keeps_no_writer_waiting() {
    let server = Iesp::ram("64M");
    let [mut deaf, mut swapper, mut writer] = [1, 2, 3].map(|number| login(&server, number));
    // More than sockets take, from the same blocks.
    for _ in 0..40 {
        let read = deaf.initiator.read(&cdb::read(0, 2048), 1 << 20);
        deaf.begin(&read);
    }
    thread::sleep(Duration::from_millis(500));
    let began = Instant::now();
    swapper.put_immediate(&cdb::compare_and_write(0, 1), &[[0; 512], [1; 512]].concat()).good();
    writer.put_immediate(&cdb::write(1, 1), &[2; 512]).good();
    let took = began.elapsed();
    assert!(took < Duration::from_secs(3), "they took {took:?}");
    assert_eq!(writer.get(&cdb::read(0, 2), 1024).good(), [[1; 512], [2; 512]].concat());
    drop(deaf);
}

/// COMPARE AND WRITE with FUA.
fn swap() -> [u8; 16] {
    let mut cdb = cdb::compare_and_write(0, 1);
    cdb[1] = 0x08;
    cdb
}

/// One initiator with a deep queue and others with a command at a time want the same block. They are on several threads.
#[test]
fn a_deep_queue_overtakes_a_single_command_a_bounded_number_of_times() {
    const DEPTH: u64 = 64;
    let folder = folder();
    let image = image(folder.path(), "disk", 1 << 20);
    let server = Iesp::start(&["-d", &image]);
    let [mut deep, mut first, mut second, mut third] = [1, 2, 3, 4].map(|number| login(&server, number));
    let (ended, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        let (ended, stop) = (&ended, &stop);
        scope.spawn(move || {
            let begin = |client: &mut Client| {
                let command = client.initiator.write(&swap(), 1024);
                let unit = client.initiator.unit(&command.emit(), &[0; 1024]);
                client.send(&unit);
            };
            (0..DEPTH).for_each(|_| begin(&mut deep));
            let mut left = DEPTH;
            while left > 0 {
                let Answer::Status(response, _) = deep.answer() else { panic!("no status") };
                assert_eq!(response.status, 0);
                ended.fetch_add(1, Ordering::SeqCst);
                if stop.load(Ordering::SeqCst) {
                    left -= 1;
                } else {
                    begin(&mut deep);
                }
            }
        });
        while ended.load(Ordering::SeqCst) < DEPTH {
            thread::yield_now();
        }
        let mut most = 0;
        for single in [&mut first, &mut second, &mut third] {
            for _ in 0..20 {
                let before = ended.load(Ordering::SeqCst);
                single.put_immediate(&swap(), &[0; 1024]).good();
                most = most.max(ended.load(Ordering::SeqCst) - before);
            }
        }
        stop.store(true, Ordering::SeqCst);
        // Those that stood before it, those that came at the same time, and some that were answered on either's way.
        assert!(most <= 4 * DEPTH, "{most} came first");
        println!("at most {most} came first");
    });
}
