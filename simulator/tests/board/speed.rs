//! Speed in the timing model: card, bus and wire take their time, the board's CPU none.

use iesp_simulator::board::Size;
use iesp_simulator::card::{Faults, Timing};
use iesp_simulator::host;
use iesp_simulator::image::{FileSpec, Table};
use iesp_simulator::time::{Pace, Tasks, now_us};

use crate::client::{Client, cdb};
use crate::rig::{DISK, Rig};

/// Bytes a second of `count` commands of `blocks` each, one behind the other on the disk, `depth` at once.
fn measure(write: bool, blocks: usize, depth: usize, count: usize) -> f64 {
    let files = [FileSpec::disk("test.dat", DISK)];
    let rig = Rig::new(Size::Large, 1, Faults::none(1), Timing::usual(), &files, Table::Mbr);
    let mut tasks = Tasks::new();
    rig.start(&mut tasks);
    let work = host::run(rig.port(), 1, async |stack| {
        let (mut received, mut sending) = (vec![0; 65536], vec![0; 65536]);
        let mut client = Client::connect(stack, (&mut received, &mut sending), "").await.unwrap();
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

#[test]
fn sequential_transfers() {
    for write in [false, true] {
        for (blocks, depth) in [(8, 1), (8, 8), (64, 1), (64, 4), (128, 1), (128, 4)] {
            let rate = measure(write, blocks, depth, 2048 / blocks);
            println!("write {write}, {blocks} blocks, {depth} at once: {:.2} MB/s", rate / 1e6);
        }
    }
}
