//! Writes parameter data into a buffer, cut at the ALLOCATION LENGTH.

/// Parameter data being built. It may be longer than there is room: what doesn't fit isn't written, but counted, so that
/// length fields tell the whole length (SPC-4 4.2.5.6).
pub(crate) struct Reply<'a> {
    room: &'a mut [u8],
    len: usize,
}

impl<'a> Reply<'a> {
    /// At most `allocation_length` bytes of `buffer`.
    pub(crate) fn new(buffer: &'a mut [u8], allocation_length: usize) -> Self {
        let room = buffer.len().min(allocation_length);
        Self { room: &mut buffer[..room], len: 0 }
    }

    /// Bytes so far, those without room included.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn put(&mut self, bytes: &[u8]) {
        if let Some(room) = self.room.get_mut(self.len..) {
            let n = bytes.len().min(room.len());
            room[..n].copy_from_slice(&bytes[..n]);
        }
        self.len += bytes.len();
    }

    pub(crate) fn u8(&mut self, value: u8) {
        self.put(&[value]);
    }

    pub(crate) fn u16(&mut self, value: u16) {
        self.put(&value.to_be_bytes());
    }

    pub(crate) fn u32(&mut self, value: u32) {
        self.put(&value.to_be_bytes());
    }

    pub(crate) fn u64(&mut self, value: u64) {
        self.put(&value.to_be_bytes());
    }

    pub(crate) fn zeros(&mut self, n: usize) {
        for _ in 0..n {
            self.u8(0);
        }
    }

    /// Overwrites what was put before, as far as it had room.
    pub(crate) fn patch(&mut self, at: usize, bytes: &[u8]) {
        for (room, byte) in self.room.iter_mut().skip(at).zip(bytes) {
            *room = *byte;
        }
    }

    /// Bytes that are really there.
    pub(crate) fn finish(self) -> u32 {
        self.len.min(self.room.len()) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_what_does_not_fit_and_never_writes_it() {
        let mut buffer = [0xee; 8];
        let mut reply = Reply::new(&mut buffer, 5);
        reply.u8(0);
        reply.u32(0x0102_0304);
        reply.u64(u64::MAX);
        let len = reply.len() as u8;
        reply.patch(0, &[len]);
        reply.patch(4, &[9, 9, 9]);
        assert_eq!(reply.finish(), 5);
        assert_eq!(buffer, [13, 1, 2, 3, 9, 0xee, 0xee, 0xee]);
    }
}
