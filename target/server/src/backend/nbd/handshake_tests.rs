use tokio::io::{DuplexStream, duplex};

use super::*;

/// An export that can do everything, with the block sizes of a server that names none.
pub fn export(len: u64) -> Export {
    Export::new(len, !export_flags::READ_ONLY, None).expect("a sane one")
}

/// A server that says these bytes, whatever it is asked, and hears everything.
fn meet(server: &[u8]) -> Result<Export, HandshakeError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let (mut ours, mut theirs): (DuplexStream, DuplexStream) = duplex(1 << 16);
        theirs.write_all(server).await.expect("there is room");
        theirs.shutdown().await.expect("the end");
        let result = match greet(&mut ours).await {
            Ok(greeting) => negotiate(&mut ours, greeting, "disk").await,
            Err(error) => Err(error),
        };
        drop(theirs);
        result
    })
}

fn greeting(flags: u16) -> Vec<u8> {
    [&MAGIC.to_be_bytes()[..], &OPTION_MAGIC.to_be_bytes(), &flags.to_be_bytes()].concat()
}

fn reply(option: u32, kind: u32, data: &[u8]) -> Vec<u8> {
    let head = [option, kind, data.len() as u32].map(u32::to_be_bytes).concat();
    [&OPTION_REPLY_MAGIC.to_be_bytes()[..], &head, data].concat()
}

fn export_info(len: u64, flags: u16) -> Vec<u8> {
    [&info::EXPORT.to_be_bytes()[..], &len.to_be_bytes(), &flags.to_be_bytes()].concat()
}

fn block_info(sizes: [u32; 3]) -> Vec<u8> {
    [&info::BLOCK_SIZE.to_be_bytes()[..], &sizes.map(u32::to_be_bytes).concat()].concat()
}

/// A whole conversation with GO, and these pieces of information.
fn go(structured: bool, infos: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = greeting(3);
    bytes.extend(reply(options::EXTENDED_HEADERS, option_replies::UNSUPPORTED, b"what?"));
    if structured {
        let context = [&9u32.to_be_bytes()[..], CONTEXT.as_bytes()].concat();
        bytes.extend(reply(options::STRUCTURED_REPLY, option_replies::ACK, &[]));
        bytes.extend(reply(options::SET_META_CONTEXT, option_replies::META_CONTEXT, &context));
        bytes.extend(reply(options::SET_META_CONTEXT, option_replies::ACK, &[]));
    } else {
        bytes.extend(reply(options::STRUCTURED_REPLY, option_replies::UNSUPPORTED, b"what?"));
    }
    infos.iter().for_each(|info| bytes.extend(reply(options::GO, option_replies::INFO, info)));
    bytes.extend(reply(options::GO, option_replies::ACK, &[]));
    bytes
}

#[test]
fn what_the_server_says_is_known() {
    let met = meet(&go(true, &[export_info(1 << 20, 0x10d), block_info([512, 4096, 1 << 20])])).expect("an export");
    assert_eq!((met.len, met.structured, met.context), (1 << 20, true, Some(9)));
    assert_eq!((met.minimum, met.preferred, met.payload), (512, 4096, 1 << 20));
    assert!(met.flush() && met.fua() && met.multi_conn() && !met.zeroes() && !met.read_only() && !met.cache());
    let plain = meet(&go(false, &[vec![0, 99, 1, 2, 3], export_info(512, 1)])).expect("an export");
    assert_eq!((plain.structured, plain.context, plain.minimum, plain.payload), (false, None, 1, PAYLOAD));
    let unlimited = meet(&go(false, &[export_info(4096, 1), block_info([1, 4096, u32::MAX])])).expect("an export");
    assert_eq!(unlimited.payload, PAYLOAD);
}

/// Extended headers bring chunks with them: those are not asked for then.
#[test]
fn extended_headers() {
    let context = [&9u32.to_be_bytes()[..], CONTEXT.as_bytes()].concat();
    let bytes = [
        greeting(3),
        reply(options::EXTENDED_HEADERS, option_replies::ACK, &[]),
        reply(options::SET_META_CONTEXT, option_replies::META_CONTEXT, &context),
        reply(options::SET_META_CONTEXT, option_replies::ACK, &[]),
        reply(options::GO, option_replies::INFO, &export_info(1 << 20, 0x10d)),
        reply(options::GO, option_replies::ACK, &[]),
    ];
    let met = meet(&bytes.concat()).expect("an export");
    assert!(met.extended && met.structured && met.context == Some(9));
}

#[test]
fn a_server_without_go() {
    for zeroes in [false, true] {
        let mut bytes = greeting(if zeroes { FIXED_NEWSTYLE } else { FIXED_NEWSTYLE | NO_ZEROES });
        bytes.extend(reply(options::EXTENDED_HEADERS, option_replies::UNSUPPORTED, &[]));
        bytes.extend(reply(options::STRUCTURED_REPLY, option_replies::UNSUPPORTED, &[]));
        bytes.extend(reply(options::GO, option_replies::UNSUPPORTED, &[]));
        bytes.extend(&export_info(1 << 20, 5)[2..]);
        bytes.extend(vec![0; if zeroes { 124 } else { 0 }]);
        let met = meet(&bytes).expect("an export");
        assert!(met.len == 1 << 20 && met.flush() && !met.structured);
        assert!(meet(&bytes[..bytes.len() - 1]).is_err(), "cut short");
    }
}

#[test]
fn refusals_have_their_words() {
    let refuse = |kind| {
        let bytes = [
            greeting(3),
            reply(options::EXTENDED_HEADERS, option_replies::UNSUPPORTED, &[]),
            reply(options::STRUCTURED_REPLY, option_replies::UNSUPPORTED, &[]),
            reply(options::GO, kind, b"no"),
        ];
        meet(&bytes.concat()).expect_err("refused").to_string()
    };
    assert!(refuse(option_replies::UNKNOWN).contains("no such export"));
    assert!(refuse(option_replies::TLS_REQUIRED).contains("TLS"));
    assert!(refuse(option_replies::ERROR | 2).contains("0x80000002"));
}

#[test]
fn what_is_no_nbd_is_refused() {
    let sizes = |sizes| go(false, &[export_info(1 << 20, 1), block_info(sizes)]);
    let old = [&MAGIC.to_be_bytes()[..], &0x0000_4202_8186_1253u64.to_be_bytes(), &[0; 152]].concat();
    let endless =
        [greeting(3), reply(options::EXTENDED_HEADERS, option_replies::INFO, &[]).repeat(REPLIES + 1)].concat();
    let mut long = [greeting(3), reply(options::EXTENDED_HEADERS, option_replies::ACK, &[])].concat();
    let end = long.len();
    long[end - 4..].copy_from_slice(&u32::MAX.to_be_bytes());
    let cases = [
        b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(),
        old,
        greeting(0),
        endless,
        long,
        [greeting(3), reply(options::GO, option_replies::ACK, &[])].concat(),
        go(true, &[]),
        go(false, &[export_info(1 << 20, 0)]),
        go(false, &[export_info(u64::MAX, 1)]),
        go(false, &[export_info(1 << 20, 1)[..11].to_vec()]),
        sizes([0, 4096, 1 << 20]),
        sizes([3, 4096, 1 << 20]),
        sizes([1 << 20, 1 << 20, 1 << 20]),
        sizes([4096, 512, 1 << 20]),
        sizes([512, 4096, 511]),
        go(false, &[export_info(1 << 20, 1), block_info([512, 4096, 1 << 20])[..13].to_vec()]),
    ];
    for (number, bytes) in cases.iter().enumerate() {
        let met = meet(bytes);
        assert!(matches!(met, Err(HandshakeError::Violation(_))), "case {number}: {met:?}");
    }
    let odd = meet(&go(false, &[export_info(1000, 1), block_info([512, 4096, 1 << 20])]));
    assert!(matches!(odd, Err(HandshakeError::NotWholeBlocks { size: 1000, block: 512 })), "{odd:?}");
}

#[test]
fn only_what_keeps_the_promises_stands_in() {
    let first = export(1 << 20);
    let less = |flag: u16| Export { flags: first.flags & !flag, ..first };
    assert!(first.is_served_by(&first));
    assert!(first.is_served_by(&less(export_flags::CAN_MULTI_CONN)));
    assert!(first.is_served_by(&Export { len: 1 << 21, ..first }));
    for other in [
        Export { len: 0, ..first },
        Export { minimum: 512, ..first },
        Export { flags: first.flags | export_flags::READ_ONLY, ..first },
        less(export_flags::SEND_FLUSH),
        less(export_flags::SEND_FUA),
        less(export_flags::SEND_WRITE_ZEROES),
    ] {
        assert!(!first.is_served_by(&other), "{other:?}");
    }
}

proptest::proptest! {
    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200), cut in 0..400usize) {
        let mut talk = go(true, &[export_info(1 << 20, 1), block_info([512, 4096, 1 << 20])]);
        talk.truncate(cut);
        talk.extend(bytes);
        let _ = meet(&talk);
    }
}
