//! CHAP (RFC 1994, RFC 7143 12.1.3): its algorithms, and the check of a response.

use sha2::Digest;
use subtle::ConstantTimeEq;

/// Bytes of the challenges that are sent: as many as the longest digest has.
pub const CHALLENGE_LEN: usize = 32;

/// Most bytes of a challenge that an initiator may send (12.1.3).
pub const CHALLENGE_MAX: usize = 1024;

/// Most bytes of a response.
pub const RESPONSE_MAX: usize = 32;

/// How a response is computed; the numbers are IANA's for PPP authentication.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Algorithm {
    /// MD5: what every implementation has.
    Md5 = 5,
    /// SHA-1.
    Sha1 = 6,
    /// SHA-256.
    Sha256 = 7,
    /// SHA3-256.
    Sha3_256 = 8,
}

impl Algorithm {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Md5, Self::Sha1, Self::Sha256, Self::Sha3_256];

    /// The algorithm of a number in CHAP_A.
    pub fn from_number(number: u64) -> Option<Self> {
        Self::ALL.into_iter().find(|&algorithm| algorithm as u64 == number)
    }

    /// RFC 1994 4.1: the digest of identifier, secret and challenge.
    pub fn response(self, identifier: u8, secret: &[u8], challenge: &[u8]) -> Response {
        match self {
            Self::Md5 => hash::<md5::Md5>(identifier, secret, challenge),
            Self::Sha1 => hash::<sha1::Sha1>(identifier, secret, challenge),
            Self::Sha256 => hash::<sha2::Sha256>(identifier, secret, challenge),
            Self::Sha3_256 => hash::<sha3::Sha3_256>(identifier, secret, challenge),
        }
    }
}

fn hash<D: Digest>(identifier: u8, secret: &[u8], challenge: &[u8]) -> Response {
    let output = D::new().chain_update([identifier]).chain_update(secret).chain_update(challenge).finalize();
    let mut response = Response { bytes: [0; RESPONSE_MAX], len: 0 };
    for (to, from) in response.bytes.iter_mut().zip(&output) {
        *to = *from;
        response.len += 1;
    }
    response
}

/// A response: 16, 20 or 32 bytes.
#[derive(Clone, Copy)]
pub struct Response {
    bytes: [u8; RESPONSE_MAX],
    len: usize,
}

impl Response {
    /// The digest.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    /// Whether a peer's response is this one, in a time that does not tell how much of it is.
    pub fn matches(&self, response: &[u8]) -> bool {
        self.bytes().ct_eq(response).into()
    }
}

/// What the target asked: which response it waits for.
#[derive(Clone, Copy)]
pub struct Challenge {
    /// CHAP_A, of both directions.
    pub algorithm: Algorithm,
    /// CHAP_I.
    pub identifier: u8,
    /// CHAP_C.
    pub bytes: [u8; CHALLENGE_LEN],
}

impl Challenge {
    /// The response that a secret makes of this.
    pub fn response(&self, secret: &[u8]) -> Response {
        self.algorithm.response(self.identifier, secret, &self.bytes)
    }

    /// Whether an initiator sends this very challenge back, to be told the response to it (9.2.1).
    pub fn is_reflected(&self, challenge: &[u8]) -> bool {
        self.bytes[..] == *challenge
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::{Hex, binary};
    use std::format;

    /// Responses to identifier 0x27, the secret below and the challenge 00 01 … 0f, computed with Python's hashlib.
    const VECTORS: [(Algorithm, &str, &str); 4] = [
        (Algorithm::Md5, "0xc3e6447f796b17f307e21eb654766665", "0bw+ZEf3lrF/MH4h62VHZmZQ=="),
        (Algorithm::Sha1, "0x09b735697aa88bdf61ca1cda9f8a3386d888d5aa", "0bCbc1aXqoi99hyhzan4ozhtiI1ao="),
        (
            Algorithm::Sha256,
            "0x8dfb5acd941e7b5ddbca02264cb75e77b1a56f4bac34cd3eafa8c0a009065304",
            "0bjftazZQee13bygImTLded7Glb0usNM0+r6jAoAkGUwQ=",
        ),
        (
            Algorithm::Sha3_256,
            "0x20ca47d3877ac2610e0ec0d12637bdb22db8d75a3f3bec656e9454405caaa9b8",
            "0bIMpH04d6wmEODsDRJje9si2411o/O+xlbpRUQFyqqbg=",
        ),
    ];
    const SECRET: &[u8] = b"a secret of 20 bytes";

    fn challenge() -> [u8; 16] {
        core::array::from_fn(|at| at as u8)
    }

    #[test]
    fn responses_in_both_encodings() {
        for (algorithm, hex, base64) in VECTORS {
            let response = algorithm.response(0x27, SECRET, &challenge());
            assert_eq!(format!("{}", Hex(response.bytes())), hex, "{algorithm:?}");
            let mut room = [0; RESPONSE_MAX];
            assert!(response.matches(binary(hex, &mut room).unwrap()));
            assert!(response.matches(binary(base64, &mut room).unwrap()), "{algorithm:?}");
        }
    }

    #[test]
    fn nothing_else_matches() {
        let response = Algorithm::Md5.response(0x27, SECRET, &challenge());
        assert!(!response.matches(b""));
        assert!(!response.matches(&response.bytes()[..15]));
        assert!(!response.matches(&[response.bytes(), &[0]].concat()));
        assert!(!response.matches(Algorithm::Md5.response(0x28, SECRET, &challenge()).bytes()));
        assert!(!response.matches(Algorithm::Md5.response(0x27, b"another", &challenge()).bytes()));
        assert!(!response.matches(Algorithm::Md5.response(0x27, SECRET, b"another").bytes()));
    }

    #[test]
    fn numbers_of_algorithms() {
        let numbers = [(4, None), (5, Some(Algorithm::Md5)), (8, Some(Algorithm::Sha3_256)), (9, None), (56, None)];
        for (number, algorithm) in numbers {
            assert_eq!(Algorithm::from_number(number), algorithm);
        }
    }
}
