//! Keys and what is done with them: from passwords to an engine's keys (RFC 3414 A.2), digests (RFC 3414 6, RFC 7860),
//! encryption (RFC 3826).

use alloc::vec::Vec;
use core::fmt;

use aes::{Aes128, Aes192, Aes256};
use cfb_mode::cipher::KeyIvInit;
use hmac::{Hmac, Mac};
use sha1::Sha1;
use sha2::digest::Digest;
use sha2::{Sha224, Sha256, Sha384, Sha512};

/// How a message shows who sent it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Authentication {
    /// usmHMACSHAAuthProtocol (RFC 3414).
    Sha1,
    /// usmHMAC128SHA224AuthProtocol (RFC 7860).
    Sha224,
    /// usmHMAC192SHA256AuthProtocol.
    Sha256,
    /// usmHMAC256SHA384AuthProtocol.
    Sha384,
    /// usmHMAC384SHA512AuthProtocol.
    Sha512,
}

/// How a message is hidden.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Privacy {
    /// usmAesCfb128Protocol (RFC 3826).
    Aes128,
    /// AES with a longer key, as net-snmp and others have it: where the digest is shorter than the key, that is extended
    /// as draft-blumenthal-aes-usm-04 says (3.1.2.1).
    Aes192,
    /// As above.
    Aes256,
}

/// A secret of an engine. No log shows it.
#[derive(Clone, PartialEq, Eq)]
pub struct Key(Vec<u8>);

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key")
    }
}

/// Bytes of the text that a password is repeated to (RFC 3414 A.2).
const EXPANDED: usize = 1 << 20;

/// Calls a function that is generic over the hash.
macro_rules! by_hash {
    ($protocol:expr, $function:ident($($argument:expr),*)) => {
        match $protocol {
            Authentication::Sha1 => $function::<Sha1>($($argument),*),
            Authentication::Sha224 => $function::<Sha224>($($argument),*),
            Authentication::Sha256 => $function::<Sha256>($($argument),*),
            Authentication::Sha384 => $function::<Sha384>($($argument),*),
            Authentication::Sha512 => $function::<Sha512>($($argument),*),
        }
    };
}

impl Authentication {
    /// By its name, as net-snmp and others write it: SHA-1 (or SHA), SHA-224, SHA-256, SHA-384, SHA-512, in any case.
    pub fn from_name(name: &str) -> Option<Self> {
        let names = [
            (Self::Sha1, &["SHA-1", "SHA", "SHA1"][..]),
            (Self::Sha224, &["SHA-224", "SHA224"]),
            (Self::Sha256, &["SHA-256", "SHA256"]),
            (Self::Sha384, &["SHA-384", "SHA384"]),
            (Self::Sha512, &["SHA-512", "SHA512"]),
        ];
        by_name(&names, name)
    }

    /// Bytes of a digest in a message.
    pub(crate) const fn digest_len(self) -> usize {
        match self {
            Self::Sha1 => 12,
            Self::Sha224 => 16,
            Self::Sha256 => 24,
            Self::Sha384 => 32,
            Self::Sha512 => 48,
        }
    }

    /// The key of the engine `engine` that belongs to a password, which is not empty. It costs a hash over 1 MiB.
    pub fn key(self, password: &[u8], engine: &[u8]) -> Key {
        Key(by_hash!(self, localized(password, engine)))
    }

    /// What a message is to carry.
    pub(crate) fn digest(self, key: &Key, message: &[u8]) -> Vec<u8> {
        let mut digest = match self {
            Self::Sha1 => mac::<Hmac<Sha1>>(key, &[message]),
            Self::Sha224 => mac::<Hmac<Sha224>>(key, &[message]),
            Self::Sha256 => mac::<Hmac<Sha256>>(key, &[message]),
            Self::Sha384 => mac::<Hmac<Sha384>>(key, &[message]),
            Self::Sha512 => mac::<Hmac<Sha512>>(key, &[message]),
        };
        digest.truncate(self.digest_len());
        digest
    }

    /// Whether a message carries what it is to carry: the comparison takes as long whatever it finds.
    pub(crate) fn verify(self, key: &Key, parts: &[&[u8]], digest: &[u8]) -> bool {
        digest.len() == self.digest_len()
            && match self {
                Self::Sha1 => verify::<Hmac<Sha1>>(key, parts, digest),
                Self::Sha224 => verify::<Hmac<Sha224>>(key, parts, digest),
                Self::Sha256 => verify::<Hmac<Sha256>>(key, parts, digest),
                Self::Sha384 => verify::<Hmac<Sha384>>(key, parts, digest),
                Self::Sha512 => verify::<Hmac<Sha512>>(key, parts, digest),
            }
    }

    fn hash(self, bytes: &[u8]) -> Vec<u8> {
        by_hash!(self, hashed(bytes))
    }
}

impl Privacy {
    /// By its name: AES-128 (or AES), AES-192, AES-256, in any case.
    pub fn from_name(name: &str) -> Option<Self> {
        let names = [
            (Self::Aes128, &["AES-128", "AES", "AES128"][..]),
            (Self::Aes192, &["AES-192", "AES192"]),
            (Self::Aes256, &["AES-256", "AES256"]),
        ];
        by_name(&names, name)
    }

    const fn key_len(self) -> usize {
        match self {
            Self::Aes128 => 16,
            Self::Aes192 => 24,
            Self::Aes256 => 32,
        }
    }

    /// The key of the engine `engine` that belongs to a password, of a user with this authentication protocol.
    pub fn key(self, authentication: Authentication, password: &[u8], engine: &[u8]) -> Key {
        let Key(mut key) = authentication.key(password, engine);
        while key.len() < self.key_len() {
            let more = authentication.hash(&key);
            key.extend(more);
        }
        key.truncate(self.key_len());
        Key(key)
    }

    /// Encrypts in place. RFC 3826 3.1.2.1: the vector is the engine's boots and time, then the salt.
    pub(crate) fn encrypt(self, key: &Key, vector: &[u8; 16], bytes: &mut [u8]) {
        match self {
            Self::Aes128 => encrypt::<cfb_mode::Encryptor<Aes128>>(key, vector, bytes, |c, b| c.encrypt(b)),
            Self::Aes192 => encrypt::<cfb_mode::Encryptor<Aes192>>(key, vector, bytes, |c, b| c.encrypt(b)),
            Self::Aes256 => encrypt::<cfb_mode::Encryptor<Aes256>>(key, vector, bytes, |c, b| c.encrypt(b)),
        }
    }

    /// Decrypts in place.
    pub(crate) fn decrypt(self, key: &Key, vector: &[u8; 16], bytes: &mut [u8]) {
        match self {
            Self::Aes128 => encrypt::<cfb_mode::Decryptor<Aes128>>(key, vector, bytes, |c, b| c.decrypt(b)),
            Self::Aes192 => encrypt::<cfb_mode::Decryptor<Aes192>>(key, vector, bytes, |c, b| c.decrypt(b)),
            Self::Aes256 => encrypt::<cfb_mode::Decryptor<Aes256>>(key, vector, bytes, |c, b| c.decrypt(b)),
        }
    }
}

fn by_name<T: Copy>(names: &[(T, &[&str])], name: &str) -> Option<T> {
    names.iter().find(|(_, names)| names.iter().any(|other| other.eq_ignore_ascii_case(name))).map(|(found, _)| *found)
}

fn encrypt<C: KeyIvInit>(Key(key): &Key, vector: &[u8; 16], bytes: &mut [u8], run: fn(C, &mut [u8])) {
    // A key is made as long as its protocol wants it.
    if let Ok(cipher) = C::new_from_slices(key, vector) {
        run(cipher, bytes);
    }
}

fn localized<D: Digest>(password: &[u8], engine: &[u8]) -> Vec<u8> {
    let mut hash = D::new();
    let mut text = [0; 64];
    let mut letters = password.iter().copied().cycle();
    for _ in 0..EXPANDED / text.len() {
        for (place, letter) in text.iter_mut().zip(&mut letters) {
            *place = letter;
        }
        hash.update(text);
    }
    let user = hash.finalize();
    D::new().chain_update(&user).chain_update(engine).chain_update(&user).finalize().to_vec()
}

fn hashed<D: Digest>(bytes: &[u8]) -> Vec<u8> {
    D::digest(bytes).to_vec()
}

fn keyed<M: Mac + hmac::KeyInit>(Key(key): &Key, parts: &[&[u8]]) -> Option<M> {
    let mut mac = <M as hmac::KeyInit>::new_from_slice(key).ok()?;
    for part in parts {
        mac.update(part);
    }
    Some(mac)
}

fn mac<M: Mac + hmac::KeyInit>(key: &Key, parts: &[&[u8]]) -> Vec<u8> {
    // HMAC takes keys of any length.
    keyed::<M>(key, parts).map(|mac| mac.finalize().into_bytes().to_vec()).unwrap_or_default()
}

fn verify<M: Mac + hmac::KeyInit>(key: &Key, parts: &[&[u8]], digest: &[u8]) -> bool {
    keyed::<M>(key, parts).is_some_and(|mac| mac.verify_truncated_left(digest).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(Key(key): &Key) -> std::string::String {
        key.iter().map(|byte| std::format!("{byte:02x}")).collect()
    }

    /// RFC 3414 A.3.2, and RFC 3826's key, which is the front of it.
    #[test]
    fn the_rfcs_own_example() {
        let mut engine = [0; 12];
        engine[11] = 2;
        let key = Authentication::Sha1.key(b"maplesyrup", &engine);
        assert_eq!(hex(&key), "6695febc9288e36282235fc7151f128497b38f3f");
        let key = Privacy::Aes128.key(Authentication::Sha1, b"maplesyrup", &engine);
        assert_eq!(hex(&key), "6695febc9288e36282235fc7151f1284");
        assert_eq!(std::format!("{key:?}"), "Key");
    }

    #[test]
    fn keys_have_the_length_of_their_protocol_and_open_what_they_closed() {
        let hashes = [
            Authentication::Sha1,
            Authentication::Sha224,
            Authentication::Sha256,
            Authentication::Sha384,
            Authentication::Sha512,
        ];
        for authentication in hashes {
            for privacy in [Privacy::Aes128, Privacy::Aes192, Privacy::Aes256] {
                let key = privacy.key(authentication, b"a password", b"an engine");
                assert_eq!(key.0.len(), privacy.key_len());
                let mut bytes = *b"as long as it is, no block";
                privacy.encrypt(&key, &[7; 16], &mut bytes);
                assert_ne!(&bytes, b"as long as it is, no block");
                privacy.decrypt(&key, &[7; 16], &mut bytes);
                assert_eq!(&bytes, b"as long as it is, no block");
            }
            let key = authentication.key(b"a password", b"an engine");
            let digest = authentication.digest(&key, b"a message");
            assert_eq!(digest.len(), authentication.digest_len());
            assert!(authentication.verify(&key, &[b"a ", b"message"], &digest));
            assert!(!authentication.verify(&key, &[b"a massage"], &digest));
            assert!(!authentication.verify(&key, &[b"a message"], &digest[1..]));
            assert!(!authentication.verify(&key, &[b"a message"], &[]));
        }
    }
}
