//! A PDU of a replay beside the one that was recorded.

use std::collections::HashMap;

use iesp_iscsi::chap::Algorithm;
use iesp_iscsi::pdu::{BHS_LEN, Bhs, Opcode, RESERVED_TAG};

use crate::chap::Challenge;
use crate::client::Sent;
use crate::field::{self, Field};
use crate::pdu::Pdu;

/// What differs: a field or a part of the data, what was recorded, what was found.
pub(super) type Found = (String, String, String);

/// What stands in a replay for values that a target chooses.
#[derive(Debug, Default)]
pub(super) struct Values {
    /// TSIH, by the one that was recorded.
    tsih: HashMap<u64, u64>,
}

/// The same for one connection.
#[derive(Debug, Default)]
pub(super) struct ConnectionValues {
    /// Target Transfer Tags, by those that were recorded.
    ttt: HashMap<u64, u64>,
    /// The first StatSN: recorded and found.
    origin: Option<(u32, u32)>,
    /// The last challenge: recorded and found.
    challenge: Option<(Challenge, Challenge)>,
    /// The algorithm that the initiator has to answer with.
    algorithm: Option<Algorithm>,
}

/// Fields of a sequence number that count from where the target chose.
fn from_origin(recorded: u64, origin: Option<(u32, u32)>) -> u64 {
    let Some((then, now)) = origin else { return recorded };
    u64::from((recorded as u32).wrapping_sub(then).wrapping_add(now))
}

/// What an initiator sends in a replay for what it sent then.
pub(super) fn request(sent: &Sent, secrets: &[String], values: &Values, connection: &ConnectionValues) -> Sent {
    let mut sent = sent.clone();
    translate(&mut sent.pdu.bhs, values, connection);
    if sent.pdu.is(Opcode::LoginRequest)
        && let (Some((then, now)), Some(response)) = (&connection.challenge, sent.pdu.key("CHAP_R"))
        // A response that was wrong then is sent again.
        && let Some(secret) = secrets.iter().find(|secret| then.is_response(secret.as_bytes(), response))
    {
        let response = now.response(secret.as_bytes());
        sent.pdu.set_key("CHAP_R", &response);
    }
    sent
}

/// Gives a request's header the values of this replay.
fn translate(bhs: &mut Bhs, values: &Values, connection: &ConnectionValues) {
    let header = &mut bhs.0;
    let opcode = Opcode::from_byte(header[0]);
    let fields = field::of(opcode);
    let has = |field: Field| fields.contains(&field);
    if has(field::EXP_STAT_SN) {
        let now = from_origin(field::EXP_STAT_SN.get(header), connection.origin);
        field::EXP_STAT_SN.set(header, now);
    }
    if has(field::TSIH)
        && let Some(&now) = values.tsih.get(&field::TSIH.get(header))
    {
        field::TSIH.set(header, now);
    }
    if has(field::TARGET_TRANSFER_TAG)
        && let Some(&now) = connection.ttt.get(&field::TARGET_TRANSFER_TAG.get(header))
    {
        field::TARGET_TRANSFER_TAG.set(header, now);
    }
}

/// How the PDU that a replay got differs from the one that was recorded.
pub(super) fn answer(
    recorded: &Pdu,
    found: &Pdu,
    values: &mut Values,
    connection: &mut ConnectionValues,
) -> Vec<Found> {
    let opcode = recorded.opcode();
    if recorded.code() != found.code() {
        return vec![told("opcode", field::name(opcode), field::name(found.opcode()))];
    }
    let mut differences = Vec::new();
    for &field in field::of(opcode) {
        let (then, now) = (recorded.get(field), found.get(field));
        let same = match field {
            field::STAT_SN if has_stat_sn(recorded) => {
                let origin = *connection.origin.get_or_insert((then as u32, now as u32));
                now == from_origin(then, Some(origin))
            }
            field::TSIH => then == now || (then != 0 && now != 0 && *values.tsih.entry(then).or_insert(now) == now),
            field::TARGET_TRANSFER_TAG => {
                let reserved = u64::from(RESERVED_TAG);
                if then != reserved && now != reserved {
                    connection.ttt.insert(then, now);
                }
                (then == reserved) == (now == reserved)
            }
            _ => then == now,
        };
        if !same {
            differences.push(told(field.name, &then.to_string(), &now.to_string()));
        }
    }
    for at in 1..BHS_LEN {
        let reserved = !used(opcode, at);
        let (then, now) = (recorded.bhs.0[at] & reserved, found.bhs.0[at] & reserved);
        if then != now {
            differences.push(told(&format!("reserved bits of byte {at}"), &then.to_string(), &now.to_string()));
        }
    }
    if recorded.ahs != found.ahs {
        differences.push(told("additional headers", &format!("{:?}", recorded.ahs), &format!("{:?}", found.ahs)));
    }
    match opcode {
        Some(Opcode::LoginResponse | Opcode::TextResponse) => pairs(recorded, found, connection, &mut differences),
        Some(Opcode::CommandResponse) => sense(&recorded.data, &found.data, &mut differences),
        Some(Opcode::Reject) => {
            let mut then = recorded.data.clone();
            if let Ok(header) = <[u8; BHS_LEN]>::try_from(&then[..]) {
                let mut bhs = Bhs(header);
                translate(&mut bhs, values, connection);
                then = bhs.0.to_vec();
            }
            bytes("rejected header", &then, &found.data, &mut differences);
        }
        _ => bytes("data", &recorded.data, &found.data, &mut differences),
    }
    differences
}

/// Whether StatSN is one: not in a Data-In without status (RFC 7143 11.7.4).
fn has_stat_sn(pdu: &Pdu) -> bool {
    !pdu.is(Opcode::DataIn) || pdu.get(field::STATUS_PRESENT) == 1
}

/// The bits of a header's byte that a field has, those of both lengths included: the data and additional headers are
/// compared by themselves.
fn used(opcode: Option<Opcode>, at: usize) -> u8 {
    if (4..8).contains(&at) {
        return 0xff;
    }
    let fields = field::of(opcode).iter().filter(|field| field.range().contains(&at));
    fields.fold(0, |bits, field| bits | (field.mask() >> (8 * (field.range().end - 1 - at))) as u8)
}

fn told(what: &str, recorded: &str, found: &str) -> Found {
    (what.to_owned(), recorded.to_owned(), found.to_owned())
}

/// Text keys, in their order.
fn pairs(recorded: &Pdu, found: &Pdu, connection: &mut ConnectionValues, differences: &mut Vec<Found>) {
    let challenge = |pdu: &Pdu| Challenge::find(|key| pdu.key(key));
    if let (Some(then), Some(now)) = (challenge(recorded), challenge(found)) {
        connection.algorithm = Some(now.algorithm);
        connection.challenge = Some((then, now));
    }
    let (then, now) = (lines(&recorded.data), lines(&found.data));
    for (key, value) in &then {
        match now.iter().find(|(other, _)| other == key) {
            None => differences.push(told(key, value, "no such key")),
            Some(_) if key == "TargetAddress" || key == "TargetName" => {}
            Some((_, other)) if comparable(key, value) != comparable(key, other) => {
                differences.push(told(key, value, other));
            }
            Some(_) => {}
        }
    }
    for (key, value) in &now {
        if !then.iter().any(|(other, _)| other == key) {
            differences.push(told(key, "no such key", value));
        }
    }
    // Keys that stand more than once, and the order of all.
    let order = |pairs: &[(String, String)]| {
        let pairs = pairs.iter().map(|(key, value)| match key.as_str() {
            "TargetAddress" | "TargetName" => format!("{key}={}", comparable(key, value)),
            _ => key.clone(),
        });
        pairs.collect::<Vec<_>>().join(" ")
    };
    if differences.is_empty() && order(&then) != order(&now) {
        differences.push(told("keys", &order(&then), &order(&now)));
    }
}

/// The pairs of a text.
fn lines(data: &[u8]) -> Vec<(String, String)> {
    let text = String::from_utf8_lossy(data);
    let pairs = text.split('\0').filter(|pair| !pair.is_empty());
    pairs.map(|pair| pair.split_once('=').unwrap_or((pair, ""))).map(|(a, b)| (a.to_owned(), b.to_owned())).collect()
}

/// A key's value without what differs from run to run.
fn comparable(key: &str, value: &str) -> String {
    match key {
        // Chosen at random: their lengths stay.
        "CHAP_C" => format!("{} characters", value.len()),
        "CHAP_I" => "an identifier".to_owned(),
        // `ADDRESS:PORT,TAG` (RFC 7143 13.8).
        "TargetAddress" => match (value.rsplit_once(','), value.rsplit_once(':')) {
            (Some((_, tag)), Some((address, _))) => format!("{address},{tag}"),
            _ => value.to_owned(),
        },
        _ => value.to_owned(),
    }
}

/// Sense data behind their length (RFC 7143 11.4.7), by their fields in fixed format (SPC-4 4.5.3).
fn sense(recorded: &[u8], found: &[u8], differences: &mut Vec<Found>) {
    let code = |data: &[u8]| match data {
        [_, _, 0x70 | 0x71 | 0xf0 | 0xf1, _, key, _, _, _, _, _, _, _, _, _, asc, ascq, ..] => {
            Some([key & 0xf, *asc, *ascq])
        }
        _ => None,
    };
    let (Some(then), Some(now)) = (code(recorded), code(found)) else {
        return bytes("sense data", recorded, found, differences);
    };
    for (index, what) in ["sense key", "additional sense code", "additional sense code qualifier"].iter().enumerate() {
        if then[index] != now[index] {
            differences.push(told(what, &format!("{:#04x}", then[index]), &format!("{:#04x}", now[index])));
        }
    }
    if then == now {
        bytes("sense data", recorded, found, differences);
    }
}

fn bytes(what: &str, recorded: &[u8], found: &[u8], differences: &mut Vec<Found>) {
    if recorded.len() != found.len() {
        let count = |bytes: &[u8]| format!("{} bytes", bytes.len());
        differences.push(told(&format!("length of {what}"), &count(recorded), &count(found)));
        return;
    }
    let mut wrong = recorded.iter().zip(found).enumerate().filter(|(_, (then, now))| then != now);
    if let Some((at, (then, now))) = wrong.next() {
        let more = wrong.count();
        let found = if more == 0 { format!("{now:#04x}") } else { format!("{now:#04x} ({more} bytes more differ)") };
        differences.push(told(&format!("byte {at} of {what}"), &format!("{then:#04x}"), &found));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compare(recorded: &Pdu, found: &Pdu) -> Vec<String> {
        let (mut values, mut connection) = (Values::default(), ConnectionValues::default());
        answer(recorded, found, &mut values, &mut connection).into_iter().map(|(field, ..)| field).collect()
    }

    #[test]
    fn every_bit_of_a_header_is_compared() {
        let one = Pdu::new(Opcode::CommandResponse);
        for at in (0..BHS_LEN).filter(|at| !(4..8).contains(at)) {
            for bit in 0..8 {
                let mut other = one.clone();
                other.bhs.0[at] ^= 1 << bit;
                // StatSN of the first PDU of a connection is where it begins.
                let stat_sn = field::STAT_SN.range().contains(&at);
                // The highest bits of byte 0 are no part of a target's PDU.
                let reserved = at == 0 && bit > 5;
                assert_eq!(compare(&one, &other).len(), usize::from(!stat_sn && !reserved), "byte {at}, bit {bit}");
            }
        }
    }

    #[test]
    fn what_a_target_chooses_is_followed() {
        let (mut values, mut connection) = (Values::default(), ConnectionValues::default());
        let r2t = |ttt, stat_sn| {
            Pdu::new(Opcode::ReadyToTransfer).with(field::TARGET_TRANSFER_TAG, ttt).with(field::STAT_SN, stat_sn)
        };
        assert_eq!(answer(&r2t(7, 5), &r2t(9, 105), &mut values, &mut connection), []);
        assert_eq!(answer(&r2t(8, 6), &r2t(7, 106), &mut values, &mut connection), []);
        let late = answer(&r2t(8, 6), &r2t(7, 107), &mut values, &mut connection);
        assert_eq!(late, [told("StatSN", "6", "107")]);
        let pdu = Pdu::new(Opcode::DataOut).with(field::TARGET_TRANSFER_TAG, 7).with(field::EXP_STAT_SN, 6);
        let sent = Sent { pdu, digests: Default::default(), flaws: Default::default() };
        let now = request(&sent, &[], &values, &connection).pdu;
        assert_eq!((now.get(field::TARGET_TRANSFER_TAG), now.get(field::EXP_STAT_SN)), (9, 106));
    }

    #[test]
    fn texts_differ_by_key_and_not_in_ports() {
        let text = |text: &[u8]| Pdu::new(Opcode::TextResponse).with_data(text);
        let one = text(b"TargetName=a\0TargetAddress=127.0.0.1:3260,1\0X=1\0");
        assert_eq!(compare(&one, &text(b"TargetName=a\0TargetAddress=127.0.0.1:99,1\0X=1\0")), [""; 0]);
        assert_eq!(compare(&one, &text(b"TargetName=a\0TargetAddress=127.0.0.1:99,2\0X=1\0")), ["keys"]);
        assert_eq!(compare(&one, &text(b"TargetName=a\0TargetAddress=127.0.0.1:99,1\0X=2\0Y=1\0")), ["X", "Y"]);
    }
}
