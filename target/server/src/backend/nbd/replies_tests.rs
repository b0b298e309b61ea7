use std::cell::RefCell;
use std::io::IoSlice;
use std::rc::Rc;

use iesp_scsi::IoError;
use tokio::sync::oneshot;

use super::*;
use crate::backend::nbd::call::{Answer, Call};
use crate::backend::nbd::handshake;
use crate::backend::nbd::lane::BATCH;
use crate::backend::nbd::protocol::Request;
use crate::buffers::Buffer;

const CONTEXT: u32 = 7;

struct Wire {
    lane: Lane,
    replies: Replies,
    /// Of the calls, in order.
    cookies: Vec<u64>,
}

impl Wire {
    fn new(structured: bool) -> Self {
        Self::with(structured, false)
    }

    fn with(structured: bool, extended: bool) -> Self {
        let mut export = handshake::tests::export(1 << 20);
        (export.structured, export.extended) = (structured, extended);
        export.context = Some(CONTEXT);
        Self {
            lane: Lane::new(Rc::new(RefCell::default()), extended),
            replies: Replies::new(&export),
            cookies: Vec::new(),
        }
    }

    /// A call that was sent.
    fn call(&mut self, command: Command, offset: u64, len: u32) -> oneshot::Receiver<Answer> {
        let request = Request { command, flags: 0, offset, len };
        let (call, answer) = Call::new(request, Buffer::of(&vec![0xee; len as usize]), 0, false);
        self.lane.push(call);
        self.lane.admit();
        let mut sent = Vec::new();
        let mut slices = [IoSlice::new(&[]); 2 * BATCH];
        let count = self.lane.gather(&mut slices);
        slices[..count].iter().for_each(|slice| sent.extend_from_slice(slice));
        self.lane.advance(sent.len());
        self.cookies.push(u64::from_be_bytes(sent[8..16].try_into().expect("eight bytes")));
        answer
    }

    /// These bytes come, so many at a time.
    fn receive(&mut self, bytes: &[u8], step: usize) -> Result<(), Violation> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let room = self.replies.room(&mut self.lane);
            let count = room.len().min(step).min(rest.len());
            room[..count].copy_from_slice(&rest[..count]);
            self.replies.received(count, &mut self.lane)?;
            rest = &rest[count..];
        }
        Ok(())
    }
}

fn simple(error: u32, cookie: u64) -> Vec<u8> {
    [&SIMPLE_MAGIC.to_be_bytes()[..], &error.to_be_bytes(), &cookie.to_be_bytes()].concat()
}

fn chunk(done: bool, kind: u16, cookie: u64, body: &[u8]) -> Vec<u8> {
    let len = (body.len() as u32).to_be_bytes();
    let flags = u16::from(done).to_be_bytes();
    [&CHUNK_MAGIC.to_be_bytes()[..], &flags, &kind.to_be_bytes(), &cookie.to_be_bytes(), &len, body].concat()
}

fn data(offset: u64, bytes: &[u8]) -> Vec<u8> {
    [&offset.to_be_bytes()[..], bytes].concat()
}

fn hole(offset: u64, len: u32) -> Vec<u8> {
    [&offset.to_be_bytes()[..], &len.to_be_bytes()].concat()
}

fn error(number: u32, message: &str) -> Vec<u8> {
    [&number.to_be_bytes()[..], &(message.len() as u16).to_be_bytes(), message.as_bytes()].concat()
}

fn status(context: u32, extents: &[(u32, u32)]) -> Vec<u8> {
    let mut body = context.to_be_bytes().to_vec();
    extents.iter().for_each(|(len, flags)| body.extend([len.to_be_bytes(), flags.to_be_bytes()].concat()));
    body
}

#[test]
fn replies_in_any_order_cut_anywhere() {
    let pattern: Vec<u8> = (0..100_000u32).map(|number| number as u8).collect();
    for step in [1, 7, 20, 4096, usize::MAX] {
        let mut wire = Wire::new(true);
        let mut small = wire.call(Command::Read, 4096, 12);
        let mut write = wire.call(Command::Write, 0, 512);
        let mut large = wire.call(Command::Read, 0, 100_000);
        let mut extents = wire.call(Command::BlockStatus, 0, 4096);
        let mut bad = wire.call(Command::Read, 0, 512);
        let cookies = wire.cookies.clone();
        let bytes = [
            chunk(false, chunks::OFFSET_DATA, cookies[2], &data(50_000, &pattern[50_000..])),
            chunk(true, chunks::BLOCK_STATUS, cookies[3], &status(CONTEXT, &[(4096, 3), (512, 0)])),
            chunk(false, chunks::OFFSET_HOLE, cookies[0], &hole(4100, 8)),
            simple(0, cookies[1]),
            chunk(false, chunks::ERROR | 2, cookies[4], &[error(5, "no luck"), 9u64.to_be_bytes().to_vec()].concat()),
            chunk(true, chunks::OFFSET_DATA, cookies[0], &data(4096, &[1, 2, 3, 4])),
            chunk(true, chunks::NONE, cookies[4], &[]),
            chunk(false, chunks::OFFSET_DATA, cookies[2], &data(0, &pattern[..50_000])),
            chunk(true, chunks::NONE, cookies[2], &[]),
        ];
        wire.receive(&bytes.concat(), step).expect("all as it should be");
        assert_eq!(small.try_recv().expect("answered").buffer[..], [1, 2, 3, 4, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(write.try_recv().expect("answered").result, Ok(None));
        assert_eq!(large.try_recv().expect("answered").buffer[..], pattern);
        assert_eq!(extents.try_recv().expect("answered").result, Ok(Some((4096, 3))));
        assert_eq!(bad.try_recv().expect("answered").result, Err(IoError::Medium));
    }
}

#[test]
fn a_plain_server_sends_simple_replies() {
    let mut wire = Wire::new(false);
    let (mut one, mut two) = (wire.call(Command::Read, 0, 20_000), wire.call(Command::Read, 0, 512));
    let bytes = [simple(0, wire.cookies[0]), vec![5; 20_000], simple(28, wire.cookies[1])].concat();
    wire.receive(&bytes, usize::MAX).expect("all as it should be");
    assert_eq!(one.try_recv().expect("answered").buffer[..], vec![5; 20_000]);
    assert_eq!(two.try_recv().expect("answered").result, Err(IoError::NoSpace));
    let bytes = chunk(true, chunks::NONE, wire.cookies[0], &[]);
    assert_eq!(wire.receive(&bytes, usize::MAX), Err(Violation::Magic), "not negotiated");
}

#[test]
fn what_is_no_reply_ends_the_connection() {
    type Make = fn(u64, u64) -> Vec<u8>;
    let cases: [(Violation, Make); 19] = [
        (Violation::Magic, |_, _| vec![0; 4]),
        (Violation::Cookie, |read, _| simple(0, read + 1)),
        (Violation::Cookie, |read, _| simple(0, read ^ 1 << 40)),
        (Violation::Cookie, |read, _| chunk(true, chunks::NONE, read ^ 1 << 16, &[])),
        (Violation::Cookie, |_, write| [simple(0, write), simple(0, write)].concat()),
        (Violation::Chunk, |read, _| simple(0, read)),
        (Violation::Incomplete, |read, _| chunk(true, chunks::NONE, read, &[])),
        (Violation::Incomplete, |read, _| chunk(true, chunks::OFFSET_DATA, read, &data(4096, &[0; 511]))),
        (Violation::Chunk, |read, _| chunk(false, chunks::NONE, read, &[])),
        (Violation::Chunk, |read, _| chunk(true, chunks::OFFSET_DATA, read, &data(4096, &[0; 513]))),
        (Violation::Chunk, |read, _| chunk(true, chunks::OFFSET_DATA, read, &data(4095, &[0; 512]))),
        (Violation::Chunk, |read, _| chunk(true, chunks::OFFSET_DATA, read, &data(u64::MAX, &[0; 512]))),
        (Violation::Chunk, |read, _| chunk(true, chunks::OFFSET_DATA, read, &data(4096, &[]))),
        (Violation::Chunk, |read, _| {
            let half = chunk(false, chunks::OFFSET_DATA, read, &data(4096, &[0; 256]));
            [half.clone(), half].concat()
        }),
        (Violation::Chunk, |read, _| chunk(true, chunks::OFFSET_HOLE, read, &hole(4096, u32::MAX))),
        (Violation::Chunk, |_, write| chunk(true, chunks::OFFSET_DATA, write, &data(0, &[0; 512]))),
        (Violation::Chunk, |read, _| chunk(true, chunks::BLOCK_STATUS, read, &status(CONTEXT, &[(1, 1)]))),
        (Violation::Chunk, |read, _| chunk(true, chunks::ERROR | 1, read, &[0, 0, 0, 5, 0, 9, 1])),
        (Violation::Chunk, |read, _| chunk(true, 77, read, &[])),
    ];
    for (number, (violation, make)) in cases.into_iter().enumerate() {
        let mut wire = Wire::new(true);
        let (_read, _write) = (wire.call(Command::Read, 4096, 512), wire.call(Command::Write, 0, 512));
        let bytes = make(wire.cookies[0], wire.cookies[1]);
        assert_eq!(wire.receive(&bytes, usize::MAX), Err(violation), "case {number}");
        assert!(!wire.lane.drain().is_empty(), "the calls are sent again");
    }
}

#[test]
fn extents_of_another_context_or_without_length() {
    for body in [status(CONTEXT + 1, &[(4096, 0)]), status(CONTEXT, &[(0, 0)]), status(CONTEXT, &[]), vec![0; 13]] {
        let mut wire = Wire::new(true);
        let _extents = wire.call(Command::BlockStatus, 0, 4096);
        let bytes = chunk(true, chunks::BLOCK_STATUS, wire.cookies[0], &body);
        assert_eq!(wire.receive(&bytes, usize::MAX), Err(Violation::Chunk), "{body:?}");
    }
}

/// ESHUTDOWN: the call is made again, over another connection, when the others of this one were answered; nothing more is sent.
#[test]
fn a_server_that_is_being_shut_down() {
    let mut wire = Wire::new(true);
    let (mut refused, mut other) = (wire.call(Command::Flush, 0, 0), wire.call(Command::Flush, 0, 0));
    let cookies = wire.cookies.clone();
    wire.receive(&simple(108, cookies[0]), usize::MAX).expect("it may say so");
    assert!(!wire.lane.is_retired() && wire.lane.answered() == 0);
    let request = Request { command: Command::Flush, flags: 0, offset: 0, len: 0 };
    wire.lane.push(Call::new(request, Buffer::default(), 0, false).0);
    wire.lane.admit();
    assert_eq!(wire.lane.gather(&mut [IoSlice::new(&[]); 2 * BATCH]), 0);
    wire.receive(&simple(0, cookies[1]), usize::MAX).expect("all as it should be");
    assert!(wire.lane.is_retired() && other.try_recv().is_ok() && refused.try_recv().is_err());
    assert_eq!(wire.lane.drain().len(), 2);
}

#[test]
fn a_request_that_was_not_sent_has_no_reply() {
    let mut wire = Wire::new(true);
    let _sent = wire.call(Command::Flush, 0, 0);
    let request = Request { command: Command::Flush, flags: 0, offset: 0, len: 0 };
    wire.lane.push(Call::new(request, Buffer::default(), 0, false).0);
    wire.lane.admit();
    wire.lane.advance(27);
    let next = wire.cookies[0] - (1 << 16) + (2 << 16) + 1;
    assert_eq!(wire.receive(&simple(0, next), usize::MAX), Err(Violation::Cookie));
    wire.lane.advance(1);
    wire.receive(&simple(0, next), usize::MAX).expect("now it was");
}

proptest::proptest! {
    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..256), start in 0..8usize, step in 1..64usize) {
        let mut wire = Wire::new(true);
        let _calls = (wire.call(Command::Read, 0, 64), wire.call(Command::BlockStatus, 0, 64));
        // Often enough a beginning that goes further.
        let kinds = [chunks::OFFSET_DATA, chunks::OFFSET_HOLE, chunks::BLOCK_STATUS, chunks::ERROR | 1, chunks::ERROR | 2, chunks::NONE];
        let mut reply = match kinds.get(start) {
            Some(kind) => chunk(false, *kind, wire.cookies[usize::from(*kind == chunks::BLOCK_STATUS)], &bytes),
            None => simple(0, wire.cookies[0]),
        };
        reply.extend(bytes);
        let _ = wire.receive(&reply, step);
    }
}

/// The same as without: longer headers, lengths of 64 bits, and no other kind of reply.
#[test]
fn extended_headers() {
    let chunk = |done: bool, kind: u16, cookie: u64, body: &[u8]| {
        let head =
            [&EXTENDED_CHUNK_MAGIC.to_be_bytes()[..], &u16::from(done).to_be_bytes(), &kind.to_be_bytes()].concat();
        let numbers = [cookie, 4096, body.len() as u64].map(u64::to_be_bytes).concat();
        [&head[..], &numbers, body].concat()
    };
    let extents = |context: u32, count: u32, size: u64| {
        let head = [context, count].map(u32::to_be_bytes).concat();
        [&head[..], &size.to_be_bytes(), &3u64.to_be_bytes(), &512u64.to_be_bytes(), &0u64.to_be_bytes()].concat()
    };
    for step in [1, 7, usize::MAX] {
        let mut wire = Wire::with(true, true);
        let (mut read, mut write) = (wire.call(Command::Read, 4096, 20_000), wire.call(Command::Write, 0, 512));
        let (mut status, mut bad) = (wire.call(Command::BlockStatus, 0, 0), wire.call(Command::Flush, 0, 0));
        let cookies = wire.cookies.clone();
        let bytes = [
            chunk(true, chunks::NONE, cookies[1], &[]),
            chunk(false, chunks::OFFSET_DATA, cookies[0], &data(4096, &[5; 19_000])),
            chunk(true, chunks::BLOCK_STATUS_EXT, cookies[2], &extents(CONTEXT, 2, 1 << 40)),
            chunk(true, chunks::OFFSET_HOLE, cookies[0], &hole(4096 + 19_000, 1000)),
            chunk(true, chunks::ERROR | 1, cookies[3], &error(28, "full")),
        ];
        wire.receive(&bytes.concat(), step).expect("all as it should be");
        let buffer = read.try_recv().expect("answered").buffer;
        assert!(buffer[..19_000] == [5; 19_000] && buffer[19_000..] == [0; 1000]);
        assert_eq!(write.try_recv().expect("answered").result, Ok(None));
        assert_eq!(status.try_recv().expect("answered").result, Ok(Some((1 << 40, 3))));
        assert_eq!(bad.try_recv().expect("answered").result, Err(IoError::NoSpace));
    }
    for bytes in [extents(CONTEXT + 1, 2, 512), extents(CONTEXT, 3, 512), extents(CONTEXT, 2, 0)] {
        let mut wire = Wire::with(true, true);
        let _status = wire.call(Command::BlockStatus, 0, 0);
        let bytes = chunk(true, chunks::BLOCK_STATUS_EXT, wire.cookies[0], &bytes);
        assert_eq!(wire.receive(&bytes, usize::MAX), Err(Violation::Chunk));
    }
    let mut wire = Wire::with(true, true);
    let _flush = wire.call(Command::Flush, 0, 0);
    assert_eq!(wire.receive(&simple(0, wire.cookies[0]), usize::MAX), Err(Violation::Magic));
    let mut long = chunk(true, chunks::NONE, wire.cookies[0], &[]);
    long[24] = 1;
    let mut wire = Wire::with(true, true);
    let _flush = wire.call(Command::Flush, 0, 0);
    assert_eq!(wire.receive(&long, usize::MAX), Err(Violation::Chunk));
}
