//! The text of login and text exchanges (RFC 7143 6.1): `key=value` pairs, each ended by a NUL.
//!
//! Reading borrows from the peer's bytes, writing goes into the caller's: nothing here grows.

use core::fmt::{self, Write as _};

/// Most bytes of a key (6.1: a standard-label).
pub const KEY_MAX: usize = 63;

/// Most bytes of a value where its key does not say otherwise (6.1).
pub const VALUE_MAX: usize = 255;

/// Bytes of text that a negotiation takes at once: what every target has to take (6.1), and what a unit holds during
/// login, where MaxRecvDataSegmentLength has its default (13.12).
pub const TEXT_MAX: usize = 8192;

/// The answers that are no value of any key (6.2).
pub const REJECT: &str = "Reject";
/// A key that has no meaning beside the others of its negotiation (6.2).
pub const IRRELEVANT: &str = "Irrelevant";
/// A key that is not known here (6.2).
pub const NOT_UNDERSTOOD: &str = "NotUnderstood";

/// Whether a value is one of the constants that only an answer has: it offers nothing, and wants no answer.
pub fn is_reserved(value: &str) -> bool {
    [REJECT, IRRELEVANT, NOT_UNDERSTOOD].contains(&value)
}

/// One key and its value. The key has a key's characters, the value is UTF-8 without NUL of any length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pair<'a> {
    /// 1 to [`KEY_MAX`] bytes, which are case sensitive.
    pub key: &'a str,
    /// What stands after the first `=`.
    pub value: &'a str,
}

/// How a text breaks the form that 6.1 gives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TextError {
    /// A pair without `=`.
    NoValue,
    /// A key of no, of too many or of wrong characters.
    Key,
    /// A value that is not UTF-8.
    Encoding,
}

/// The pairs of a text, in order.
#[derive(Debug, Clone)]
pub struct Pairs<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Pairs<'a> {
    /// The pairs of a whole text.
    pub const fn new(text: &'a [u8]) -> Self {
        Self { text, at: 0 }
    }

    /// The pairs from an offset that [`Pairs::offset`] told.
    pub const fn resume(text: &'a [u8], at: usize) -> Self {
        Self { text, at }
    }

    /// Where the next pair begins.
    pub const fn offset(&self) -> usize {
        self.at
    }

    /// The value of a key, of its first pair where it has several.
    pub fn find(&self, key: &str) -> Option<&'a str> {
        self.clone().flatten().find(|pair| pair.key == key).map(|pair| pair.value)
    }

    /// Looks at the whole text.
    ///
    /// # Errors
    /// The first fault in its form.
    pub fn check(&self) -> Result<(), TextError> {
        self.clone().try_for_each(|pair| pair.map(|_| ()))
    }
}

impl<'a> Iterator for Pairs<'a> {
    type Item = Result<Pair<'a>, TextError>;

    fn next(&mut self) -> Option<Self::Item> {
        // Pad bytes that a peer counted into its segment read as empty pairs, and say nothing.
        while self.text.get(self.at) == Some(&0) {
            self.at += 1;
        }
        let rest = self.text.get(self.at..).filter(|rest| !rest.is_empty())?;
        // 6.1: each pair has a NUL. The last one of a whole text ends where the text does, as LIO takes it, too.
        let end = rest.iter().position(|&byte| byte == 0).unwrap_or(rest.len());
        self.at = self.text.len().min(self.at + end + 1);
        Some(Pair::parse(&rest[..end]))
    }
}

impl<'a> Pair<'a> {
    fn parse(bytes: &'a [u8]) -> Result<Self, TextError> {
        let equals = bytes.iter().position(|&byte| byte == b'=').ok_or(TextError::NoValue)?;
        let (key, value) = (&bytes[..equals], &bytes[equals + 1..]);
        // 6.1: a letter first, then letters, digits and these. "#" begins the name of an X# key (13.22).
        let label = |byte: &u8| byte.is_ascii_alphanumeric() || b".-+@_#".contains(byte);
        if key.len() > KEY_MAX || !key.first().is_some_and(u8::is_ascii_alphabetic) || !key.iter().all(label) {
            return Err(TextError::Key);
        }
        let text = |bytes| str::from_utf8(bytes).map_err(|_| TextError::Encoding);
        Ok(Self { key: text(key)?, value: text(value)? })
    }
}

/// A numerical-value: a decimal constant without leading zeros or a hex constant (6.1), below 2^64.
pub fn number(value: &str) -> Option<u64> {
    if let Some(digits) = hex_digits(value) {
        let digits = digits.as_bytes();
        return if digits.is_empty() || !digits.iter().all(u8::is_ascii_hexdigit) {
            None
        } else {
            u64::from_str_radix(str::from_utf8(digits).ok()?, 16).ok()
        };
    }
    let digits = value.as_bytes();
    let canonical = digits.iter().all(u8::is_ascii_digit) && (digits.len() == 1 || digits.first() != Some(&b'0'));
    if canonical { value.parse().ok() } else { None }
}

/// A boolean-value: `Yes` or `No` (6.1).
pub fn boolean(value: &str) -> Option<bool> {
    match value {
        "Yes" => Some(true),
        "No" => Some(false),
        _ => None,
    }
}

/// The values of a list-of-values (6.1), where each keeps to [`VALUE_MAX`] and none is empty.
pub fn list(value: &str) -> Option<impl Iterator<Item = &str>> {
    let fits = |item: &str| (1..=VALUE_MAX).contains(&item.len());
    value.split(',').all(fits).then(|| value.split(','))
}

/// A binary-value in hex (`0x…`, two digits a byte) or base64 (`0b…`), into the front of `out` (6.1).
///
/// `None` where it is neither, or needs more room than `out` has.
pub fn binary<'out>(value: &str, out: &'out mut [u8]) -> Option<&'out [u8]> {
    if let Some(digits) = hex_digits(value) {
        return base16ct::mixed::decode(digits, out).ok();
    }
    let digits = value.strip_prefix("0b").or_else(|| value.strip_prefix("0B"))?;
    <base64ct::Base64 as base64ct::Encoding>::decode(digits, out).ok()
}

fn hex_digits(value: &str) -> Option<&str> {
    value.strip_prefix("0x").or_else(|| value.strip_prefix("0X"))
}

/// Bytes as a binary-value in hex.
#[derive(Debug, Clone, Copy)]
pub struct Hex<'a>(pub &'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("0x")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// The pair did not fit; nothing of it was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoRoom;

/// Writes pairs into the caller's buffer.
#[derive(Debug)]
pub struct Writer<'a> {
    out: &'a mut [u8],
    len: usize,
}

impl<'a> Writer<'a> {
    /// Writes from the front of `out`.
    pub const fn new(out: &'a mut [u8]) -> Self {
        Self { out, len: 0 }
    }

    /// Bytes written.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing was written.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// One pair with its NUL.
    ///
    /// # Errors
    /// Where it does not fit in what is left: then the rest belongs into the next unit.
    pub fn pair(&mut self, key: &str, value: impl fmt::Display) -> Result<(), NoRoom> {
        let before = self.len;
        write!(self, "{key}={value}\0").map_err(|_| {
            self.len = before;
            NoRoom
        })
    }

    /// Takes back what was written after the first `len` bytes.
    pub(crate) fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }
}

impl fmt::Write for Writer<'_> {
    fn write_str(&mut self, part: &str) -> fmt::Result {
        let end = self.len + part.len();
        let room = self.out.get_mut(self.len..end).ok_or(fmt::Error)?;
        room.copy_from_slice(part.as_bytes());
        self.len = end;
        Ok(())
    }
}

/// A text that came in several units (the C bit), gathered up to [`TEXT_MAX`] bytes.
pub(crate) struct Assembly<const N: usize> {
    bytes: [u8; N],
    len: usize,
}

impl<const N: usize> Assembly<N> {
    pub(crate) const fn new() -> Self {
        Self { bytes: [0; N], len: 0 }
    }

    pub(crate) fn append(&mut self, part: &[u8]) -> Result<(), NoRoom> {
        let end = self.len + part.len();
        self.bytes.get_mut(self.len..end).ok_or(NoRoom)?.copy_from_slice(part);
        self.len = end;
        Ok(())
    }

    pub(crate) fn clear(&mut self) {
        // What was here may have been a CHAP response: it is not kept.
        self.bytes[..self.len].fill(0);
        self.len = 0;
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::{format, string::String, vec, vec::Vec};

    fn pairs(text: &str) -> Vec<Result<(&str, &str), TextError>> {
        Pairs::new(text.as_bytes()).map(|pair| pair.map(|pair| (pair.key, pair.value))).collect()
    }

    #[test]
    fn pairs_of_a_text() {
        let cases = [
            ("", vec![]),
            ("A=b\0", vec![Ok(("A", "b"))]),
            ("A=\0", vec![Ok(("A", ""))]),
            ("A=b=c\0D=e\0", vec![Ok(("A", "b=c")), Ok(("D", "e"))]),
            ("A=b\0\0\0", vec![Ok(("A", "b"))]),
            ("X#n.1_@+-=v\0", vec![Ok(("X#n.1_@+-", "v"))]),
            ("iSCSIProtocolLevel=1\0", vec![Ok(("iSCSIProtocolLevel", "1"))]),
            ("A=b", vec![Ok(("A", "b"))]),
            ("A=b\0C=d", vec![Ok(("A", "b")), Ok(("C", "d"))]),
            ("A", vec![Err(TextError::NoValue)]),
            ("A\0B=c\0", vec![Err(TextError::NoValue), Ok(("B", "c"))]),
            ("=b\0", vec![Err(TextError::Key)]),
            ("1A=b\0", vec![Err(TextError::Key)]),
            ("A b=c\0", vec![Err(TextError::Key)]),
            ("é=c\0", vec![Err(TextError::Key)]),
        ];
        for (text, expected) in cases {
            assert_eq!(pairs(text), expected, "{text:?}");
        }
        assert_eq!(Pairs::new(b"A=\xff\0").next(), Some(Err(TextError::Encoding)));
    }

    #[test]
    fn keys_have_at_most_63_bytes() {
        let key = "K".repeat(63);
        assert_eq!(pairs(&format!("{key}=v\0")), vec![Ok((key.as_str(), "v"))]);
        assert_eq!(pairs(&format!("{key}K=v\0")), vec![Err(TextError::Key)]);
    }

    #[test]
    fn numbers() {
        let good = [("0", 0), ("1", 1), ("262144", 262_144), ("0x40000", 262_144), ("0XfF", 255), ("0x0001", 1)];
        for (value, expected) in good {
            assert_eq!(number(value), Some(expected), "{value}");
        }
        assert_eq!(number("18446744073709551615"), Some(u64::MAX));
        for value in ["", "x", "-1", "+1", " 1", "1 ", "01", "00", "0x", "0xg", "0x+1", "18446744073709551616", "1~2"] {
            assert_eq!(number(value), None, "{value}");
        }
        assert_eq!(number("0x10000000000000000"), None);
    }

    #[test]
    fn lists() {
        assert_eq!(list("None,CRC32C").unwrap().collect::<Vec<_>>(), ["None", "CRC32C"]);
        assert!(list("").is_none());
        assert!(list("None,").is_none());
        assert!(list(&"v".repeat(256)).is_none());
    }

    #[test]
    fn binaries() {
        let mut out = [0; 4];
        assert_eq!(binary("0x00fF10", &mut out), Some(&[0, 0xff, 0x10][..]));
        assert_eq!(binary("0bAP8Q", &mut out), Some(&[0, 0xff, 0x10][..]));
        assert_eq!(binary("0BAP8=", &mut out), Some(&[0, 0xff][..]));
        assert_eq!(binary("0x", &mut out), Some(&[][..]));
        for value in ["0x1", "0x0g", "00ff", "0b!", "0bAP8", "", "0x0011223344", "0bAAAAAAAA"] {
            assert_eq!(binary(value, &mut out), None, "{value}");
        }
    }

    #[test]
    fn a_pair_that_does_not_fit_leaves_no_trace() {
        let mut out = [0; 8];
        let mut writer = Writer::new(&mut out);
        assert_eq!(writer.pair("A", 1), Ok(()));
        assert_eq!(writer.pair("B", "long"), Err(NoRoom));
        assert_eq!(writer.pair("C", Hex(&[1])), Err(NoRoom));
        assert_eq!(writer.pair("D", 2), Ok(()));
        assert_eq!(writer.len(), 8);
        assert_eq!(&out, b"A=1\0D=2\0");
    }

    #[test]
    fn assembly_is_bounded() {
        let mut text = Assembly::<TEXT_MAX>::new();
        assert_eq!(text.append(&[1; TEXT_MAX - 1]), Ok(()));
        assert_eq!(text.append(&[2; 2]), Err(NoRoom));
        assert_eq!(text.append(&[2]), Ok(()));
        assert_eq!(text.bytes().len(), TEXT_MAX);
        text.clear();
        assert_eq!(text.bytes(), b"");
        assert!(text.bytes.iter().all(|&byte| byte == 0));
    }

    proptest! {
        #![proptest_config(crate::login::fixture::config())]

        #[test]
        fn any_bytes_are_read(text: Vec<u8>) {
            let mut pairs = Pairs::new(&text);
            let mut last = 0;
            while let Some(pair) = pairs.next() {
                prop_assert!(pairs.offset() > last);
                last = pairs.offset();
                if let Ok(pair) = pair {
                    let mut out = [0; 64];
                    number(pair.value);
                    binary(pair.value, &mut out);
                    let _ = list(pair.value).map(Iterator::count);
                }
            }
        }

        #[test]
        fn any_value_is_read(value: String, out in 0usize..40) {
            number(&value);
            boolean(&value);
            binary(&value, &mut vec![0; out]);
        }

        #[test]
        fn what_is_written_is_read(written in prop::collection::vec(("[A-Za-z][A-Za-z0-9.+@_-]{0,62}", "[^\0]{0,60}"), 0..20)) {
            let mut out = vec![0; TEXT_MAX];
            let mut writer = Writer::new(&mut out);
            for (key, value) in &written {
                writer.pair(key, value).unwrap();
            }
            let len = writer.len();
            let read: Vec<_> = Pairs::new(&out[..len]).map(|p| p.map(|p| (p.key.into(), p.value.into()))).collect();
            prop_assert_eq!(read, written.into_iter().map(Ok).collect::<Vec<Result<(String, String), _>>>());
        }

        #[test]
        fn bytes_come_back_from_hex(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let mut out = [0; 64];
            let value = format!("{}", Hex(&bytes));
            prop_assert_eq!(binary(&value, &mut out), Some(&bytes[..]));
        }

        #[test]
        fn numbers_come_back(value: u64) {
            prop_assert_eq!(number(&format!("{value}")), Some(value));
            prop_assert_eq!(number(&format!("{value:#x}")), Some(value));
        }
    }
}
