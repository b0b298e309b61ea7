//! Values: what an object shows, and its encoding.

use alloc::string::String;
use alloc::vec::Vec;

use rasn::types::{Integer, ObjectIdentifier, OctetString};
use rasn_smi::v1::{Counter as Counter32, Gauge as Unsigned32, TimeTicks};
use rasn_smi::v2::{ApplicationSyntax, Counter64, SimpleSyntax};
use rasn_snmp::v2::ObjectSyntax;

use crate::objects::{Index, Kind, Object, Source, Table};

/// Most bytes of a DisplayString, and of an SnmpAdminString (RFC 2579, RFC 3411).
const TEXT_MAX: usize = 255;

/// What an object shows at this moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// A number of any of the types that are numbers.
    Number(u64),
    /// Text, which is cut where it is longer than there may be.
    Text(String),
    /// Bytes.
    Bytes(Vec<u8>),
    /// An object's name.
    Name(Vec<u32>),
}

/// Where the values come from. Those that one request asks for belong to one moment.
pub trait Values {
    /// The rows of a table, in the order of their indices.
    fn rows(&self, table: Table) -> &[Index];

    /// What is shown: of a row, or of the whole. `None` where this program has no such value: then there is no such
    /// instance.
    fn value(&self, source: Source, row: Option<usize>) -> Option<Value>;

    /// Whether walks come by an object; GET does in any case.
    fn is_walked(&self, _object: &Object) -> bool {
        true
    }
}

/// Counters and TimeTicks wrap (RFC 2578 7.1.6, 7.1.8); a number that says how much there is stays at the largest one.
pub(crate) fn encode(kind: Kind, value: Value) -> ObjectSyntax {
    let number = match value {
        Value::Number(number) => number,
        Value::Text(mut text) => {
            text.truncate(text.floor_char_boundary(TEXT_MAX));
            return bytes(text.into_bytes());
        }
        Value::Bytes(value) => return bytes(value),
        // X.690 8.19.4: a name has two numbers at least.
        Value::Name(name) => {
            let name = if name.len() < 2 { Vec::from([0, 0]) } else { name };
            return ObjectSyntax::Simple(SimpleSyntax::ObjectId(ObjectIdentifier::new_unchecked(name.into())));
        }
    };
    let wrapped = number as u32;
    ObjectSyntax::ApplicationWide(match kind {
        Kind::Integer | Kind::Text | Kind::Name => {
            let largest = i32::MAX as u64;
            return ObjectSyntax::Simple(SimpleSyntax::Integer(Integer::from(number.min(largest))));
        }
        Kind::Unsigned => ApplicationSyntax::Unsigned(Unsigned32(u32::try_from(number).unwrap_or(u32::MAX))),
        Kind::TimeTicks => ApplicationSyntax::Ticks(TimeTicks(wrapped)),
        Kind::Counter32 => ApplicationSyntax::Counter(Counter32(wrapped)),
        Kind::Counter64 => ApplicationSyntax::BigCounter(Counter64(number)),
    })
}

fn bytes(value: Vec<u8>) -> ObjectSyntax {
    ObjectSyntax::Simple(SimpleSyntax::String(OctetString::from(value)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_their_types() {
        let application = |kind, number| match encode(kind, Value::Number(number)) {
            ObjectSyntax::ApplicationWide(value) => value,
            ObjectSyntax::Simple(value) => panic!("{value:?}"),
        };
        assert_eq!(application(Kind::Counter32, (1 << 32) + 5), ApplicationSyntax::Counter(Counter32(5)));
        assert_eq!(application(Kind::Counter64, u64::MAX), ApplicationSyntax::BigCounter(Counter64(u64::MAX)));
        assert_eq!(application(Kind::TimeTicks, 1 << 32), ApplicationSyntax::Ticks(TimeTicks(0)));
        assert_eq!(application(Kind::Unsigned, 1 << 32), ApplicationSyntax::Unsigned(Unsigned32(u32::MAX)));
        let largest = SimpleSyntax::Integer(i32::MAX.into());
        assert_eq!(encode(Kind::Integer, Value::Number(u64::MAX)), ObjectSyntax::Simple(largest));
        assert_eq!(encode(Kind::Text, Value::Text("ä".repeat(200))), bytes("ä".repeat(127).into_bytes()));
    }
}
