//! What a server says: simple replies and chunks of structured ones, in any order and cut anywhere.

use super::handshake::Export;
use super::lane::Lane;
use super::protocol::{
    CHUNK, CHUNK_MAGIC, Command, DONE, EXTENDED_CHUNK, EXTENDED_CHUNK_MAGIC, SIMPLE, SIMPLE_MAGIC, chunks, split_u16,
    split_u32, split_u64,
};

/// Bytes that one receive may bring besides payloads.
const INBOX: usize = 128 << 10;

/// Longest chunk that carries no data: an error with its message, or extents.
const SMALL_CHUNK: u32 = 64 << 10;

/// A payload of which at least this much is still to come is received in place.
const IN_PLACE: usize = 16 << 10;

/// What ends a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// No reply begins so.
    #[error("the server sent what is no reply")]
    Magic,
    /// An answer to nothing.
    #[error("the server answered what was not asked")]
    Cookie,
    /// A chunk that cannot belong to this reply.
    #[error("the server sent a reply of the wrong kind, length or place")]
    Chunk,
    /// The end of a reply that is not whole.
    #[error("the server left out a part of a reply")]
    Incomplete,
}

/// Where in the stream of replies a connection is.
#[derive(Debug, Clone, Copy)]
enum State {
    /// Before a header.
    Head,
    /// In the payload of a call: `left` bytes go to `at` of it.
    Payload { index: u16, at: usize, left: usize, done: bool },
    /// In what is of no use.
    Skip { index: u16, left: u32, done: bool },
}

/// The incoming side of a connection.
#[derive(Debug)]
pub struct Replies {
    state: State,
    inbox: Box<[u8]>,
    /// The bytes `start..end` are to be looked at.
    start: usize,
    end: usize,
    structured: bool,
    extended: bool,
    context: Option<u32>,
}

impl Replies {
    /// Before the first one.
    pub fn new(export: &Export) -> Self {
        let inbox = vec![0; INBOX].into_boxed_slice();
        let Export { structured, extended, context, .. } = *export;
        Self { state: State::Head, inbox, start: 0, end: 0, structured, extended, context }
    }

    /// Where the next bytes are to be put. Never empty.
    pub fn room<'a>(&'a mut self, lane: &'a mut Lane) -> &'a mut [u8] {
        match self.state {
            State::Payload { index, at, left, .. } if left >= IN_PLACE => {
                lane.call(index).and_then(|call| call.payload_mut().get_mut(at..at + left)).unwrap_or_default()
            }
            _ => &mut self.inbox[self.end..],
        }
    }

    /// So many bytes were put there.
    ///
    /// # Errors
    /// The connection is of no use any more.
    pub fn received(&mut self, bytes: usize, lane: &mut Lane) -> Result<(), Violation> {
        match &mut self.state {
            // The inbox is empty while a payload goes on.
            State::Payload { at, left, .. } if *left >= IN_PLACE => {
                *at += bytes;
                *left -= bytes;
            }
            _ => self.end += bytes,
        }
        while self.advance(lane)? {}
        self.inbox.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        Ok(())
    }

    /// A step; false where more bytes are needed.
    fn advance(&mut self, lane: &mut Lane) -> Result<bool, Violation> {
        let bytes = &self.inbox[self.start..self.end];
        match self.state {
            State::Head => self.head(lane),
            State::Payload { index, done, left: 0, .. } | State::Skip { index, done, left: 0 } => {
                self.state = State::Head;
                if done {
                    lane.finish(index)?;
                }
                Ok(true)
            }
            State::Payload { index, at, left, done } => {
                let count = left.min(bytes.len());
                let room = lane
                    .call(index)
                    .and_then(|call| call.payload_mut().get_mut(at..at + count))
                    .ok_or(Violation::Chunk)?;
                room.copy_from_slice(&bytes[..count]);
                self.start += count;
                self.state = State::Payload { index, at: at + count, left: left - count, done };
                Ok(count > 0)
            }
            State::Skip { index, left, done } => {
                let count = left.min(bytes.len() as u32);
                self.start += count as usize;
                self.state = State::Skip { index, left: left - count, done };
                Ok(count > 0)
            }
        }
    }

    fn head(&mut self, lane: &mut Lane) -> Result<bool, Violation> {
        let bytes = &self.inbox[self.start..self.end];
        let Some((magic, rest)) = split_u32(bytes) else { return Ok(false) };
        match magic {
            // NBD: extended headers leave no other replies.
            EXTENDED_CHUNK_MAGIC if self.extended => self.chunk(lane),
            _ if self.extended => Err(Violation::Magic),
            SIMPLE_MAGIC if bytes.len() >= SIMPLE => {
                let (error, rest) = split_u32(rest).ok_or(Violation::Magic)?;
                let (cookie, _) = split_u64(rest).ok_or(Violation::Magic)?;
                self.start += SIMPLE;
                self.simple(error, cookie, lane)?;
                Ok(true)
            }
            CHUNK_MAGIC if self.structured => self.chunk(lane),
            SIMPLE_MAGIC => Ok(false),
            _ => Err(Violation::Magic),
        }
    }

    fn simple(&mut self, error: u32, cookie: u64, lane: &mut Lane) -> Result<(), Violation> {
        let index = lane.find(cookie)?;
        let call = lane.call(index).ok_or(Violation::Cookie)?;
        if error != 0 {
            call.progress.error.get_or_insert(error);
        } else if call.request.command == Command::Read {
            // NBD: with structured replies a READ's is structured; otherwise its data follow.
            if self.structured || !call.progress.cover(0, call.request.len) {
                return Err(Violation::Chunk);
            }
            self.state = State::Payload { index, at: 0, left: call.request.len as usize, done: true };
            return Ok(());
        }
        lane.finish(index)
    }

    fn chunk(&mut self, lane: &mut Lane) -> Result<bool, Violation> {
        let bytes = &self.inbox[self.start..self.end];
        let header = || {
            let (flags, rest) = split_u16(bytes.get(4..)?)?;
            let (kind, rest) = split_u16(rest)?;
            let (cookie, rest) = split_u64(rest)?;
            if !self.extended {
                let (len, body) = split_u32(rest)?;
                return Some((flags & DONE != 0, kind, cookie, u64::from(len), body));
            }
            // The request's offset comes back: of no use.
            let (len, body) = split_u64(split_u64(rest)?.1)?;
            Some((flags & DONE != 0, kind, cookie, len, body))
        };
        let Some((done, kind, cookie, len, body)) = header() else { return Ok(false) };
        // Nothing that is asked for is longer.
        let len = u32::try_from(len).map_err(|_| Violation::Chunk)?;
        let head = if self.extended { EXTENDED_CHUNK } else { CHUNK };
        let index = lane.find(cookie)?;
        let call = lane.call(index).ok_or(Violation::Cookie)?;
        // The part of the body that is looked at here.
        let part = match (kind, call.request.command) {
            (chunks::NONE, _) if len == 0 && done => 0,
            (chunks::OFFSET_DATA, Command::Read) if len > 8 => 8,
            (chunks::OFFSET_HOLE, Command::Read) if len == 12 => 12,
            (chunks::BLOCK_STATUS, Command::BlockStatus) if len >= 12 && len % 8 == 4 && len <= SMALL_CHUNK => 12,
            (chunks::BLOCK_STATUS_EXT, Command::BlockStatus)
                if self.extended && len >= 24 && len % 16 == 8 && len <= SMALL_CHUNK =>
            {
                24
            }
            (error, _) if error & chunks::ERROR != 0 && (6..=SMALL_CHUNK).contains(&len) => 6,
            _ => return Err(Violation::Chunk),
        };
        let Some(part_bytes) = body.get(..part) else { return Ok(false) };
        let left = len - part as u32;
        self.state = State::Skip { index, left, done };
        match kind {
            chunks::NONE => {}
            chunks::OFFSET_DATA | chunks::OFFSET_HOLE => {
                let (offset, rest) = split_u64(part_bytes).ok_or(Violation::Chunk)?;
                let size = split_u32(rest).map_or(left, |(size, _)| size);
                let from = offset
                    .checked_sub(call.request.offset)
                    .and_then(|from| u32::try_from(from).ok())
                    .ok_or(Violation::Chunk)?;
                let to =
                    from.checked_add(size).filter(|to| size > 0 && *to <= call.request.len).ok_or(Violation::Chunk)?;
                if !call.progress.cover(from, to) {
                    return Err(Violation::Chunk);
                }
                if kind == chunks::OFFSET_DATA {
                    self.state = State::Payload { index, at: from as usize, left: size as usize, done };
                } else {
                    call.payload_mut().get_mut(from as usize..to as usize).ok_or(Violation::Chunk)?.fill(0);
                }
            }
            chunks::BLOCK_STATUS => {
                let (context, rest) = split_u32(part_bytes).ok_or(Violation::Chunk)?;
                let (size, rest) = split_u32(rest).ok_or(Violation::Chunk)?;
                let (flags, _) = split_u32(rest).ok_or(Violation::Chunk)?;
                if Some(context) != self.context || size == 0 {
                    return Err(Violation::Chunk);
                }
                call.progress.extent.get_or_insert((u64::from(size), flags));
            }
            chunks::BLOCK_STATUS_EXT => {
                let (context, rest) = split_u32(part_bytes).ok_or(Violation::Chunk)?;
                let (count, rest) = split_u32(rest).ok_or(Violation::Chunk)?;
                let (size, rest) = split_u64(rest).ok_or(Violation::Chunk)?;
                let (flags, _) = split_u64(rest).ok_or(Violation::Chunk)?;
                if Some(context) != self.context || size == 0 || u64::from(count) * 16 + 8 != u64::from(len) {
                    return Err(Violation::Chunk);
                }
                call.progress.extent.get_or_insert((size, flags as u32));
            }
            _ => {
                let (error, rest) = split_u32(part_bytes).ok_or(Violation::Chunk)?;
                let (message, _) = split_u16(rest).ok_or(Violation::Chunk)?;
                // NBD: an error's number is never 0.
                if error == 0 || u32::from(message) > left {
                    return Err(Violation::Chunk);
                }
                call.progress.error.get_or_insert(error);
            }
        }
        self.start += head + part;
        Ok(true)
    }
}

#[cfg(test)]
#[path = "replies_tests.rs"]
mod tests;
