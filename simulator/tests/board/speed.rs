//! Speed in the timing model: card, bus and wire take their time, the board's CPU none.

use iesp_simulator::board::Size;
use iesp_simulator::card::{Faults, Timing};
use iesp_simulator::host;
use iesp_simulator::image::{FileSpec, Table};
use iesp_simulator::network::Weather;
use iesp_simulator::time::{Pace, Tasks, now_us};

use crate::client::{Client, cdb};
use crate::rig::{DISK, Rig};

/// Bytes a second of `count` commands of `blocks` each, one behind the other on the disk, `depth` at once.
fn measure(weather: Weather, write: bool, blocks: usize, depth: usize, count: usize) -> f64 {
    let files = [FileSpec::disk("test.dat", DISK)];
    let rig = Rig::new(Size::Large, 1, Faults::none(1), Timing::usual(), &files, Table::Mbr);
    rig.wire.borrow_mut().set_weather(weather);
    let mut tasks = Tasks::new();
    rig.start(&mut tasks);
    let work = host::run(rig.port(), 1, async |stack| {
        let (mut received, mut sending) = (vec![0; 65536], vec![0; 65536]);
        let mut client = Client::connect(stack, (&mut received, &mut sending), "InitialR2T=No").await.unwrap();
        // As Linux does.
        (client.segment, client.first_burst) = (8192, 65536);
        let data = vec![7; blocks * 512];
        let began = now_us();
        let (mut begun, mut ended) = (0, 0);
        while ended < count {
            while begun < count && begun - ended < depth {
                let lba = (begun * blocks) as u32;
                if write {
                    client.begin(&cdb(0x2a, lba, blocks), Some(&data), 0).await.unwrap();
                } else {
                    client.begin(&cdb(0x28, lba, blocks), None, data.len() as u32).await.unwrap();
                }
                begun += 1;
            }
            assert_eq!(client.next().await.unwrap().status, 0);
            ended += 1;
        }
        if write {
            assert_eq!(client.flush().await.unwrap().status, 0);
        }
        (count * data.len()) as f64 * 1e6 / (now_us() - began) as f64
    });
    tasks.finish(Pace::Virtual, 600_000_000, work).expect("an end")
}

/// Bytes a second that the card's bus moves at 25 MHz, the clock of these boards.
const BUS: f64 = 25e6 / 8.0;

#[test]
fn a_sequential_read_has_90_percent_of_what_the_bus_allows() {
    // 24 blocks end within what is read ahead.
    for (blocks, depth) in [(8, 8), (24, 8), (32, 4), (64, 4), (128, 4)] {
        let share = measure(Weather::FAIR, false, blocks, depth, 2048 / blocks) / BUS;
        println!("read, {blocks} blocks, {depth} at once: {:.1} %", share * 100.0);
        assert!(share >= 0.9, "{share}");
    }
}

#[test]
fn a_sequential_write_has_80_percent_of_what_the_bus_allows() {
    for (blocks, depth) in [(8, 8), (32, 4), (64, 4), (128, 4)] {
        let share = measure(Weather::FAIR, true, blocks, depth, 2048 / blocks) / BUS;
        println!("write, {blocks} blocks, {depth} at once: {:.1} %", share * 100.0);
        assert!(share >= 0.8, "{share}");
    }
}

/// Commands of 4 KiB over a network of a radio's delay.
#[test]
fn a_window_of_commands_is_worth_half_as_much_again() {
    let radio = Weather { delay_us: 1_000, ..Weather::FAIR };
    for write in [false, true] {
        let (one, many) = (measure(radio, write, 8, 1, 256), measure(radio, write, 8, 8, 256));
        println!("write {write}: {:.2} MB/s one at a time, {:.2} MB/s eight at once", one / 1e6, many / 1e6);
        assert!(many >= 1.5 * one, "{many} and {one}");
    }
}
