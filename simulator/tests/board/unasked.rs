//! Data that come without being asked for (RFC 7143 4.2.5.2: InitialR2T=No).

use iesp_iscsi::pdu::TaskAttribute;
use iesp_simulator::board::Size;

use crate::client::cdb;
use crate::rig::Rig;

/// TASK SET FULL (SAM-5 5.3.1).
const TASK_SET_FULL: u8 = 0x28;

fn pattern(len: usize, seed: usize) -> Vec<u8> {
    (0..len).map(|i| (i * seed / 5) as u8).collect()
}

/// All of it goes where it belongs, and what is more than the first burst is asked for; a small board asks for everything.
#[test]
fn data_of_all_lengths_come_unasked() {
    for size in [Size::Small, Size::Large] {
        Rig::plain(size).session_of("InitialR2T=No", async |client| {
            assert_eq!(client.first_burst > 0, size == Size::Large);
            for blocks in [1, 4, 5, 20, 32, 33, 64, 129] {
                let data = pattern(blocks * 512, blocks);
                assert_eq!(client.write(7, &data).await.unwrap().status, 0, "{blocks} blocks");
                assert_eq!(client.read(7, blocks).await.unwrap().data, data, "{blocks} blocks");
            }
        });
    }
}

/// A command that has to wait for another one has no room for what comes on its own: it is to be sent again later. The rest of
/// its data does no harm.
#[test]
fn a_command_in_line_whose_data_come_unasked() {
    Rig::plain(Size::Large).session_of("InitialR2T=No", async |client| {
        let (first, second, third) = (pattern(24_576, 3), pattern(10_240, 7), pattern(10_240, 11));
        // The last third of it is asked for.
        let long = client.begin(&cdb(0x2a, 0, 48), Some(&first), 0).await.unwrap();
        let ordered = client.begin_as(TaskAttribute::Ordered, &cdb(0x2a, 100, 20), Some(&second), 0).await.unwrap();
        let simple = client.begin(&cdb(0x2a, 200, 20), Some(&third), 0).await.unwrap();
        for _ in 0..3 {
            let ended = client.next().await.unwrap();
            let expected = if ended.itt == ordered { TASK_SET_FULL } else { 0 };
            assert!([long, ordered, simple].contains(&ended.itt));
            assert_eq!(ended.status, expected, "task {}", ended.itt);
        }
        assert_eq!(client.read(0, 48).await.unwrap().data, first);
        assert_eq!(client.read(100, 20).await.unwrap().data, vec![0; 10_240]);
        assert_eq!(client.read(200, 20).await.unwrap().data, third);
        assert_eq!(client.write(100, &second).await.unwrap().status, 0);
        assert_eq!(client.read(100, 20).await.unwrap().data, second);
    });
}
