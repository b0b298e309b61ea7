//! Text in a place of fixed size.

use core::fmt;

/// Writes text up to the end of its place; what is longer is cut, between two characters.
pub(crate) struct Cut<'b> {
    bytes: &'b mut [u8],
    /// Bytes that were written.
    pub(crate) len: usize,
}

impl<'b> Cut<'b> {
    pub(crate) const fn new(bytes: &'b mut [u8]) -> Self {
        Self { bytes, len: 0 }
    }
}

impl fmt::Write for Cut<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let end = text.floor_char_boundary(self.bytes.len() - self.len);
        let part = text.get(..end).unwrap_or_default().as_bytes();
        self.bytes.get_mut(self.len..self.len + end).ok_or(fmt::Error)?.copy_from_slice(part);
        self.len += end;
        if end < text.len() { Err(fmt::Error) } else { Ok(()) }
    }
}
