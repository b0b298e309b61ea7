//! Header and data digests (11.2.3, 7.7, 7.8).

use iesp_iscsi::pdu::{DataOut, RejectReason};
use iesp_iscsi::{Close, Collect, CommandFault};

use crate::data_out::{bytes, gather, r2ts};
use crate::initiator::Answer;
use crate::pair::{KEYS, Pair, Seen, limits};

fn pair() -> Pair {
    Pair::with(limits(), &format!("{KEYS} HeaderDigest=CRC32C DataDigest=CRC32C"))
}

/// Every kind of unit, both ways (the initiator looks at what comes).
#[test]
fn units_with_digests() {
    let mut pair = pair();
    let ping = pair.initiator.ping(false);
    pair.unit(&ping.emit(), b"hello");
    assert!(matches!(pair.answer(), Answer::Nop(_, data) if data == b"hello"));
    let write = pair.initiator.write(&[0x2a], 9000);
    let task = pair.command(&write, &bytes(1001));
    assert_eq!(pair.collect(task, 9000), Collect::Pending);
    let [r2t] = r2ts(&mut pair)[..] else { panic!("not one R2T") };
    let units = pair.initiator.answer_r2t(&r2t, &bytes(9000), 4001);
    let mut buffer = vec![0; 9000];
    assert!(gather(&pair.send(&units), &mut buffer));
    assert_eq!(buffer[1001..], bytes(9000)[1001..]);
    pair.respond(task, 2, &[0x70; 18], 0);
    assert!(matches!(pair.answer(), Answer::Status(_, sense) if sense.len() == 18));
    let read = pair.initiator.read(&[0x28], 9001);
    let task = pair.command(&read, &[]);
    pair.read(task, &bytes(9001), 9001);
    assert_eq!(pair.answers().len(), 3);
}

/// 7.7: "a header digest error … connection failure": where the unit ends is not known. Nothing is answered.
#[test]
fn a_wrong_header_digest_ends_the_connection() {
    for bit in [0, 7 * 8, 20 * 8, 48 * 8, 51 * 8 + 7] {
        let mut pair = pair();
        let ping = pair.initiator.ping(false);
        let mut unit = pair.initiator.unit(&ping.emit(), &[]);
        unit[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(pair.close(&unit), Close::HeaderDigest);
        assert_eq!(pair.answers(), []);
        assert_eq!(pair.target.statistics().digest_errors, 1);
    }
}

/// The length in a header whose digest is wrong is not believed: the target does not wait for so many bytes.
#[test]
fn a_wrong_header_is_seen_before_its_data() {
    let mut pair = pair();
    let ping = pair.initiator.ping(false);
    let mut unit = pair.initiator.unit(&ping.emit(), &[]);
    unit[6] = 0x10;
    assert_eq!(pair.close(&unit[..52]), Close::HeaderDigest);
}

/// Fault 3. 7.8: Reject with reason 2 and the header that it rejects; a command is discarded, and the session goes on.
#[test]
fn fault_03_a_wrong_data_digest_of_a_command() {
    let mut pair = pair();
    let write = pair.initiator.write(&[0x2a], 512);
    let mut unit = pair.initiator.unit(&write.emit(), &bytes(512));
    let last = unit.len() - 1;
    unit[last] ^= 0x80;
    assert_eq!(pair.send(&unit), []);
    assert_eq!(pair.rejected(&write.emit(), 512), RejectReason::DataDigestError);
    assert_eq!(pair.target.tasks().count(), 0);
    // The initiator sends it again: it is still the next one.
    pair.command(&write, &bytes(512));
}

/// Fault 3: of a ping. The padding counts too.
#[test]
fn fault_03_a_wrong_byte_of_padding() {
    let mut pair = pair();
    let ping = pair.initiator.ping(true);
    let mut unit = pair.initiator.unit(&ping.emit(), b"12345");
    unit[52 + 6] = 1;
    assert_eq!(pair.send(&unit), []);
    assert_eq!(pair.rejected(&ping.emit(), 5), RejectReason::DataDigestError);
}

/// Fault 3: of a Data-Out unit, whole or received in place: Reject, and its task fails.
#[test]
fn fault_03_a_wrong_data_digest_of_data_out_fails_the_task() {
    for cut in [0, 60, 3000] {
        let mut pair = pair();
        let write = pair.initiator.write(&[0x2a], 8192);
        let task = pair.command(&write, &[]);
        assert_eq!(pair.collect(task, 8192), Collect::Pending);
        let [r2t] = r2ts(&mut pair)[..] else { panic!("not one R2T") };
        let mut units = pair.initiator.answer_r2t(&r2t, &bytes(8192), 8192);
        units[5000] ^= 1;
        let mut seen = pair.send(&units[..cut]);
        seen.extend(pair.send(&units[cut..]));
        seen.retain(|seen| !matches!(seen, Seen::Place { .. }));
        assert_eq!(seen, [Seen::Fault(task, CommandFault::Digest)], "{cut}");
        let unit = DataOut {
            is_final: true,
            lun: 0,
            itt: write.itt,
            ttt: r2t.ttt,
            exp_stat_sn: pair.initiator.exp_stat_sn,
            data_sn: 0,
            offset: 0,
        };
        assert_eq!(pair.rejected(&unit.emit(), 8192), RejectReason::DataDigestError);
        pair.respond(task, 2, &[0x70; 18], 0);
        assert!(matches!(pair.answer(), Answer::Status(..)));
    }
}

/// 6.3: there are no digests in login, and there are from the first unit behind it.
#[test]
fn digests_begin_with_full_feature_phase() {
    let mut pair = pair();
    let ping = pair.initiator.ping(false);
    let plain = crate::initiator::frame(iesp_iscsi::outbox::Digests::default(), &ping.emit(), &[], b"1234");
    assert_eq!(pair.close(&plain), Close::HeaderDigest);
}

#[test]
fn a_target_without_digests() {
    let limits = iesp_iscsi::Limits { digests: false, ..limits() };
    let pair = Pair::with(limits, &format!("{KEYS} HeaderDigest=CRC32C,None DataDigest=CRC32C,None"));
    assert_eq!(pair.target.digests(), iesp_iscsi::outbox::Digests::default());
}
