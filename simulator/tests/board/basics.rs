//! A board starts, serves and keeps.

use iesp_simulator::board::Size;
use iesp_simulator::host;
use iesp_simulator::time::{Pace, Tasks};

use crate::client::Client;
use crate::rig::{DISK, Rig};

const MINUTE_US: u64 = 60_000_000;

#[test]
fn a_board_starts_and_serves_its_disk() {
    for size in [Size::Small, Size::Large] {
        let rig = Rig::plain(size);
        let mut tasks = Tasks::new();
        rig.start(&mut tasks);
        let work = host::run(rig.port(), 1, async |stack| {
            let (mut received, mut sending) = ([0; 16384], [0; 16384]);
            let mut client = Client::connect(stack, (&mut received, &mut sending), "").await.expect("a session");
            let capacity = client.run(&[0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0], None, 8).await.unwrap();
            assert_eq!(capacity.data[..4], ((DISK / 512) as u32 - 1).to_be_bytes());
            let data: Vec<u8> = (0..8192).map(|i| (i / 7) as u8).collect();
            for lba in [0, 16, 33, (DISK / 512) as u32 - 16] {
                assert_eq!(client.write(lba, &data).await.unwrap().status, 0);
            }
            assert_eq!(client.flush().await.unwrap().status, 0);
            for lba in [0, 16, 33, (DISK / 512) as u32 - 16] {
                let read = client.read(lba, 16).await.unwrap();
                assert_eq!((read.status, read.data == data), (0, true));
            }
            let past = client.read((DISK / 512) as u32 - 15, 16).await.unwrap();
            assert_eq!((past.status, past.key()), (2, (5, 0x21, 0)));
        });
        let done = tasks.finish(Pace::Virtual, MINUTE_US, work);
        println!("{}", rig.console());
        done.expect("the initiator came to its end");
        rig.slot.with_card(|card| assert_eq!(card.violations(), []));
    }
}

/// Without a fixed address the board asks for one.
#[test]
fn a_board_gets_its_address_by_dhcp() {
    let mut rig = Rig::plain(Size::Small);
    rig.setup.config = Some(b"{}");
    rig.session(async |client| assert_eq!(client.read(0, 1).await.unwrap().status, 0));
    assert!(rig.console().contains("iESP-45535001: serving on 10.0.0.5:3260"), "{}", rig.console());
}

/// `spi-speed` holds for a card that could go faster.
#[test]
fn the_bus_has_no_clock_above_the_configured_one() {
    for (mhz, khz) in [(12, 12_000), (20, 20_000), (50, 25_000)] {
        let mut rig = Rig::plain(Size::Small);
        let config = format!(r#"{{"ip-address": "10.0.0.5/24", "spi-speed": {mhz}}}"#);
        rig.setup.config = Some(Box::leak(config.into_bytes().into_boxed_slice()));
        rig.session(async |client| assert_eq!(client.read(0, 1).await.unwrap().status, 0));
        let cards = rig
            .console()
            .lines()
            .filter(|line| line.contains("card: ") && line.contains(" kHz"))
            .map(str::to_owned)
            .collect::<Vec<_>>();
        assert!(cards.last().is_some_and(|line| line.contains(&format!(" {khz} kHz"))), "{cards:?}");
        assert_eq!(cards.len(), if khz < 25_000 { 2 } else { 1 });
    }
}
