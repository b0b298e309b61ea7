//! Messages of versions 1 (RFC 1157) and 2c (RFC 1901), which differ in their number alone. What may not ask gets no answer.

use alloc::vec::Vec;

use rasn::types::{Integer, OctetString};
use rasn_snmp::v2::{Pdus, Response};
use rasn_snmp::v2c;

use crate::pdu::{self, Dialect, Limits};
use crate::value::Values;

/// Bytes of an answer that are neither its community nor its variables, at most: five headers with three bytes of length,
/// and four integers.
const ENVELOPE: usize = 5 * 4 + 4 * 6;

/// What both versions wrap their PDUs in.
pub(crate) type Message = v2c::Message<Pdus>;

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Silence {
    /// It cannot be read.
    Unreadable,
    /// Another community.
    Community,
    /// It asks for nothing.
    NoRequest,
}

/// The datagram that answers another one, where that one may ask.
pub(crate) fn answer(
    dialect: Dialect,
    datagram: &[u8],
    community: &[u8],
    values: &dyn Values,
) -> Result<Vec<u8>, Silence> {
    let message: Message = rasn::ber::decode(datagram).map_err(|_| Silence::Unreadable)?;
    if *message.community != *community {
        return Err(Silence::Community);
    }
    let limits = Limits { message: pdu::MESSAGE_MAX, envelope: ENVELOPE + community.len() };
    let answer = pdu::answer(dialect, message.data, limits, values).ok_or(Silence::NoRequest)?;
    let data = Pdus::Response(Response(answer));
    let version = Integer::from(if dialect == Dialect::V1 { 0 } else { 1 });
    let community = OctetString::from(community.to_vec());
    rasn::ber::encode(&Message { version, community, data }).map_err(|_| Silence::NoRequest)
}
