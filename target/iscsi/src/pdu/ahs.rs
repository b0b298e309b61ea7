//! Additional header segments (RFC 7143 11.2.2), between the basic header segment and its digest.

use super::Malformed;

/// One additional header segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ahs<'a> {
    /// The bytes of a CDB behind its first sixteen.
    ExtendedCdb(&'a [u8]),
    /// Expected Bidirectional Read Data Length, in bytes.
    BidirectionalReadLen(u32),
    /// Another type: its code and all its bytes.
    Unknown(u8, &'a [u8]),
}

/// The segments in `bytes`, which is as long as TotalAHSLength says. Ends behind the first malformed one.
pub fn segments(bytes: &[u8]) -> impl Iterator<Item = Result<Ahs<'_>, Malformed>> {
    let mut rest = bytes;
    core::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let parsed = split(rest);
        rest = parsed.map_or(&[], |(_, behind)| behind);
        Some(parsed.map(|(segment, _)| segment).ok_or(Malformed { at: 4 }))
    })
}

fn split(bytes: &[u8]) -> Option<(Ahs<'_>, &[u8])> {
    let (&[high, low, kind], behind) = bytes.split_first_chunk()?;
    // AHSLength counts neither itself nor the type, so that a length of 0 still takes a word: no endless loop.
    let len = usize::from(u16::from_be_bytes([high, low]));
    let value = behind.get(..len)?;
    let rest = bytes.get(super::padded(3 + len)..)?;
    let segment = match (kind, value) {
        // 11.2.2.3: a reserved byte, then the CDB.
        (1, [_, cdb @ ..]) if !cdb.is_empty() => Ahs::ExtendedCdb(cdb),
        // 11.2.2.4: a reserved byte, then the length.
        (2, &[_, a, b, c, d]) => Ahs::BidirectionalReadLen(u32::from_be_bytes([a, b, c, d])),
        (1 | 2, _) => return None,
        (other, value) => Ahs::Unknown(other, value),
    };
    Some((segment, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_types() {
        let bytes = [0, 5, 2, 0, 0, 0, 0x10, 0, 0, 17, 1, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16];
        let mut found = segments(&bytes);
        assert_eq!(found.next(), Some(Ok(Ahs::BidirectionalReadLen(4096))));
        let cdb = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16];
        assert_eq!(found.next(), Some(Ok(Ahs::ExtendedCdb(&cdb))));
        assert_eq!(found.next(), None);
    }

    #[test]
    fn fault_01_a_segment_of_length_0_ends() {
        assert_eq!(segments(&[0; 1020]).count(), 255);
        assert_eq!(segments(&[0, 0, 1, 0]).next(), Some(Err(Malformed { at: 4 })));
    }

    #[test]
    fn a_segment_longer_than_its_room() {
        let mut found = segments(&[0xff, 0xff, 1, 0]);
        assert_eq!(found.next(), Some(Err(Malformed { at: 4 })));
        assert_eq!(found.next(), None);
    }
}
