//! The initiator's side of CHAP (RFC 7143 12.1.3, RFC 1994).

use iesp_iscsi::chap::Algorithm;
use iesp_iscsi::text::{Hex, binary, number};

/// What a target asks for: its login's CHAP_A, CHAP_I and CHAP_C.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Challenge {
    /// CHAP_A.
    pub algorithm: Algorithm,
    /// CHAP_I.
    pub identifier: u8,
    /// CHAP_C.
    pub bytes: Vec<u8>,
}

impl Challenge {
    /// The challenge in a text whose keys `value` finds; `None` if a part of it is missing or has no meaning.
    pub fn find<'a>(value: impl Fn(&str) -> Option<&'a str>) -> Option<Self> {
        let algorithm = Algorithm::from_number(number(value("CHAP_A")?)?)?;
        let identifier = u8::try_from(number(value("CHAP_I")?)?).ok()?;
        let bytes = bytes(value("CHAP_C")?)?;
        Some(Self { algorithm, identifier, bytes })
    }

    /// CHAP_R for a secret.
    #[must_use]
    pub fn response(&self, secret: &[u8]) -> String {
        hex(self.algorithm.response(self.identifier, secret, &self.bytes).bytes())
    }

    /// Whether CHAP_R is the response to this challenge that a secret makes.
    #[must_use]
    pub fn is_response(&self, secret: &[u8], response: &str) -> bool {
        let right = self.algorithm.response(self.identifier, secret, &self.bytes);
        bytes(response).is_some_and(|response| right.matches(&response))
    }
}

/// A binary value as text (6.1).
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    Hex(bytes).to_string()
}

/// The bytes of a binary value (6.1), in either encoding.
fn bytes(value: &str) -> Option<Vec<u8>> {
    let mut room = vec![0; value.len()];
    binary(value, &mut room).map(<[u8]>::to_vec)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_response_fits_its_challenge_and_secret_only() {
        let keys = |key: &str| match key {
            "CHAP_A" => Some("5"),
            "CHAP_I" => Some("39"),
            "CHAP_C" => Some("0x000102030405060708090a0b0c0d0e0f"),
            _ => None,
        };
        let challenge = Challenge::find(keys).unwrap();
        let response = challenge.response(b"a secret of 20 bytes");
        // As computed with Python's hashlib.
        assert_eq!(response, "0xc3e6447f796b17f307e21eb654766665");
        assert!(challenge.is_response(b"a secret of 20 bytes", &response));
        assert!(!challenge.is_response(b"another secret", &response));
        assert_eq!(Challenge::find(|key| keys(key).filter(|_| key != "CHAP_I")), None);
    }
}
