//! The board's own flash, where it can be written: the configuration is kept there.

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
