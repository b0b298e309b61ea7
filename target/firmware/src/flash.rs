//! The board's own flash, where it can be written: the configuration is kept there.

pub mod sectors;

/// It cannot be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlashError;

/// A place for one text of up to [`FILE_MAX`](crate::config::FILE_MAX) bytes, which stays when the power is gone. A write is there as a
/// whole or not at all.
pub trait FlashStore {
    /// What was written last; `None` as long as nothing was.
    fn read<'b>(&mut self, room: &'b mut [u8]) -> Option<&'b [u8]>;

    /// Puts a text in place of the one before it.
    ///
    /// # Errors
    /// When it cannot be written: the one before it stays.
    fn write(&mut self, text: &[u8]) -> Result<(), FlashError>;
}

/// A board that cannot write its flash.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoFlash;

impl FlashStore for NoFlash {
    fn read<'b>(&mut self, _: &'b mut [u8]) -> Option<&'b [u8]> {
        None
    }

    fn write(&mut self, _: &[u8]) -> Result<(), FlashError> {
        Err(FlashError)
    }
}

/// The text at the start of a piece of flash that an owner wrote with a tool: it ends where nothing was written. What does not
/// begin like a configuration is none.
pub fn text(flash: &[u8]) -> Option<&[u8]> {
    let end = flash.iter().position(|byte| matches!(byte, 0 | 0xff)).unwrap_or(flash.len());
    let text = flash.get(..end)?;
    let visible = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text).trim_ascii_start();
    visible.starts_with(b"{").then_some(text)
}

#[cfg(test)]
mod tests {
    use super::text;

    #[test]
    fn what_an_owner_wrote_and_what_else_may_lie_there() {
        assert_eq!(text(b"{}\n\xff\xff"), Some(&b"{}\n"[..]));
        assert_eq!(text(b"\xef\xbb\xbf\r\n {\0}"), Some(&b"\xef\xbb\xbf\r\n {"[..]));
        assert_eq!(text(b"{}"), Some(&b"{}"[..]));
        for none in [&b""[..], b"\xff\xff", b"\0", b"\xfe\xff{", b"text"] {
            assert_eq!(text(none), None);
        }
    }
}
