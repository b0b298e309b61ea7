//! Messages: what came in a datagram, whether it may ask, and the datagram that goes back. Versions 1 (RFC 1157) and 2c
//! (RFC 1901) differ in their number alone. What cannot be read, or may not ask, gets no answer.

use rasn::types::{Integer, OctetString};
use rasn_snmp::v2::{Pdus, Response};
use rasn_snmp::{v1, v2c};

use super::pdu::{self, Dialect, Values};

/// Bytes of an answer that are neither its community nor its variables, at most: five headers with three bytes of length,
/// and four integers.
const ENVELOPE: usize = 5 * 4 + 4 * 6;

/// What both versions wrap their PDUs in.
type Message = v2c::Message<Pdus>;

/// The datagram that answers another one, where that one may ask.
pub fn answer(datagram: &[u8], community: &[u8], values: &dyn Values) -> Option<Vec<u8>> {
    let message: Message = rasn::ber::decode(datagram).ok()?;
    let dialect = dialect(&message.version)?;
    if *message.community != *community {
        tracing::debug!("an SNMP request with another community");
        return None;
    }
    let answer = pdu::answer(dialect, message.data, ENVELOPE + community.len(), values)?;
    let data = Pdus::Response(Response(answer));
    let community = OctetString::from(community.to_vec());
    rasn::ber::encode(&Message { version: message.version, community, data }).ok()
}

fn dialect(version: &Integer) -> Option<Dialect> {
    if *version == Integer::from(v1::Message::<()>::VERSION_1) {
        Some(Dialect::V1)
    } else if *version == Integer::from(v2c::Message::<()>::VERSION) {
        Some(Dialect::V2)
    } else {
        None
    }
}
