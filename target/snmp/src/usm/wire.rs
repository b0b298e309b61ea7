//! Just enough of BER to find bytes where they lie: a digest covers a message as it was sent, so a decoder that gives copies
//! is no help.

use core::ops::Range;

/// An element whose tag was expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Element<'b> {
    /// Its content.
    pub(crate) content: &'b [u8],
    /// What follows it.
    pub(crate) rest: &'b [u8],
}

/// The element at the front, of definite length (X.690 8.1.3); `None` where there is none of this tag, or it is cut.
pub(crate) fn element(bytes: &[u8], tag: u8) -> Option<Element<'_>> {
    let (found, bytes) = bytes.split_first()?;
    let (first, bytes) = bytes.split_first()?;
    let (len, bytes) = match *first {
        short @ 0..=0x7f => (usize::from(short), bytes),
        long @ 0x81..=0x84 => {
            let (len, bytes) = bytes.split_at_checked(usize::from(long & 0x7f))?;
            (len.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)), bytes)
        }
        _ => return None,
    };
    let (content, rest) = bytes.split_at_checked(len)?;
    (*found == tag).then_some(Element { content, rest })
}

/// Where the msgAuthenticationParameters of a message of version 3 lie (RFC 3414 2.4).
pub(crate) fn authentication_parameters(message: &[u8]) -> Option<Range<usize>> {
    let inside = element(message, 0x30)?.content;
    let header = element(inside, 0x02)?.rest;
    let security = element(header, 0x30)?.rest;
    let parameters = element(element(security, 0x04)?.content, 0x30)?.content;
    let boots = element(parameters, 0x04)?.rest;
    let time = element(boots, 0x02)?.rest;
    let user = element(time, 0x02)?.rest;
    let authentication = element(element(user, 0x04)?.rest, 0x04)?.content;
    let start = authentication.as_ptr().addr() - message.as_ptr().addr();
    Some(start..start + authentication.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements() {
        let rest: &[u8] = &[9];
        for (bytes, content) in [
            (&[4, 2, 7, 8, 9][..], &[7, 8][..]),
            (&[4, 0x81, 2, 7, 8, 9], &[7, 8]),
            (&[4, 0x84, 0, 0, 0, 2, 7, 8, 9], &[7, 8]),
            (&[4, 0, 9], &[]),
        ] {
            assert_eq!(element(bytes, 4), Some(Element { content, rest }));
            assert_eq!(element(bytes, 5), None);
        }
        for cut in
            [&[][..], &[4], &[4, 1], &[4, 0x82, 0], &[4, 0x82, 1, 0, 3], &[4, 0x80, 0, 0], &[4, 0x85, 0, 0, 0, 0, 0]]
        {
            assert_eq!(element(cut, 4), None, "{cut:?}");
        }
        assert_eq!(element(&[4, 0x84, 0xff, 0xff, 0xff, 0xff], 4), None);
    }
}
