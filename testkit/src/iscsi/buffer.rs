//! Memory that a command owns while it is in flight.

/// A buffer that can be given to a session for the duration of a command.
///
/// # Safety
/// [`IoBuffer::stable_ptr`] returns the first of [`IoBuffer::byte_len`] initialised bytes that belong to this value
/// alone. They stay where they are, and the pointer stays valid for reads and writes, while the value is moved, until it
/// is dropped or otherwise touched.
pub unsafe trait IoBuffer: Send + 'static {
    /// The first byte.
    fn stable_ptr(&mut self) -> *mut u8;
    /// Length in bytes: the expected data transfer length of the command.
    fn byte_len(&self) -> usize;
}

// SAFETY: the bytes of a vector are on the heap and do not move with it; `len` of them are initialised.
unsafe impl IoBuffer for Vec<u8> {
    fn stable_ptr(&mut self) -> *mut u8 {
        self.as_mut_ptr()
    }

    fn byte_len(&self) -> usize {
        self.len()
    }
}
