//! Kinds of cards, single requests, single failures.

use std::pin::pin;
use std::task::{Context, Waker};

use iesp_firmware::card::Card as _;
use iesp_firmware::sd::{BLOCK, Erased, Error, Unsupported};
use iesp_simulator::card::{Card, Fault, Faults, Memory, Model, SparseFile, Timing};
use iesp_simulator::run;
use iesp_simulator::slot::Slot;

use crate::model::block;
use crate::rig::{Board, assert_kept_the_rules, board, slot};

fn started(model: Model) -> (Slot, Board) {
    let slot = slot(model, Faults::none(7));
    let mut board = board(&slot);
    run(board.start()).unwrap();
    (slot, board)
}

fn read(board: &mut Board, address: u32) -> Result<[u8; BLOCK], Error> {
    let mut data = [0; BLOCK];
    run(board.read(address, &mut data)).map(|()| data)
}

#[test]
fn cards_of_4_gb_to_1_tb_start_at_50_mhz() {
    for (gigabytes, blocks) in [(4, 7_812_096), (32, 62_499_840), (1_000, 1_953_124_352)] {
        let (slot, mut board) = started(Model::of(gigabytes));
        let info = *board.info().unwrap();
        assert_eq!((info.csd.blocks(), info.clock_hz), (blocks, 50_000_000));
        assert_eq!(
            &info.cid.serial_number(),
            b"1e6945".iter().chain(b"53494d534410").chain(b"1e5b000101ab").copied().collect::<Vec<_>>().as_slice()
        );
        let last = blocks as u32 - 1;
        run(board.write(last, &block(9))).unwrap();
        run(board.flush()).unwrap();
        assert_eq!(read(&mut board, last), Ok(block(9)));
        assert_eq!(read(&mut board, last + 1), Err(Error::OutOfRange));
        let mut two = [0; 2 * BLOCK];
        assert_eq!(run(board.read(last, &mut two)), Err(Error::OutOfRange));
        run(board.read(last - 1, &mut two)).unwrap();
        assert_kept_the_rules(&slot);
    }
}

#[test]
fn cards_that_are_not_served_are_named() {
    let cases = [
        (Model { version_2: false, ..Model::of(4) }, Unsupported::Version1),
        (Model { high_capacity: false, ..Model::of(4) }, Unsupported::StandardCapacity),
    ];
    for (model, expected) in cases {
        let slot = slot(model, Faults::none(1));
        assert_eq!(run(board(&slot).start()), Err(Error::Unsupported(expected)));
        assert_kept_the_rules(&slot);
    }
}

#[test]
fn the_clock_is_what_card_and_wires_allow() {
    let slow_wires = Model { reliable_hz: 20_000_000, ..Model::of(8) };
    let (_, board) = started(slow_wires);
    assert_eq!(board.info().unwrap().clock_hz, 20_000_000);
    let (slot, board) = started(Model { high_speed: false, ..Model::of(8) });
    assert_eq!(board.info().unwrap().clock_hz, 25_000_000);
    assert_kept_the_rules(&slot);
}

#[test]
fn a_write_protected_card_is_read_only() {
    let (slot, mut board) = started(Model { write_protected: true, ..Model::of(8) });
    assert_eq!(run(board.write(0, &block(1))), Err(Error::WriteProtected));
    assert_eq!(run(board.erase(0, 1)), Err(Error::WriteProtected));
    assert_eq!(read(&mut board, 0), Ok(block(0)));
    assert_kept_the_rules(&slot);
}

#[test]
fn requests_of_no_whole_blocks_are_refused() {
    let (_, mut board) = started(Model::of(8));
    assert_eq!(run(board.write(0, &[0; 511])), Err(Error::Length));
    assert_eq!(run(board.write(0, &[])), Err(Error::Length));
    assert_eq!(run(board.read(0, &mut [0; 513])), Err(Error::Length));
    assert_eq!(run(board.erase(0, 0)), Err(Error::Length));
    assert_eq!(run(board.erase(u32::MAX, u32::MAX)), Err(Error::OutOfRange));
}

#[test]
fn erased_blocks_read_as_the_card_says() {
    for (erased, expected) in [(0, Erased::Zeros), (0xff, Erased::Ones)] {
        let (slot, mut board) = started(Model { erased, ..Model::of(128) });
        assert_eq!(board.info().unwrap().erased, expected);
        for address in [99, 100, 100 + 65_536, 100 + 69_999, 100 + 70_000] {
            run(board.write(address, &block(5))).unwrap();
        }
        run(board.erase(100, 70_000)).unwrap();
        let seen = [99, 100, 65_636, 70_099, 70_100].map(|address| read(&mut board, address).unwrap());
        let gone = [erased; BLOCK];
        assert_eq!(seen, [block(5), gone, gone, gone, block(5)]);
        assert_kept_the_rules(&slot);
    }
}

#[test]
fn a_card_that_comes_back_goes_on_and_another_is_refused() {
    let (slot, mut board) = started(Model::of(16));
    run(board.write(5, &block(1))).unwrap();
    run(board.flush()).unwrap();
    let now = slot.now_us();
    slot.with_card(|card| card.remove(now));
    assert_eq!(read(&mut board, 5), Err(Error::Absent));
    assert_eq!(run(board.write(5, &block(2))), Err(Error::Absent));
    slot.with_card(Card::insert);
    assert_eq!(read(&mut board, 5), Ok(block(1)));
    assert_eq!(run(board.flush()), Ok(()));

    slot.with_card(|card| card.exchange_for(77));
    assert_eq!(read(&mut board, 5), Err(Error::Changed));
    assert_eq!(run(board.write(5, &block(2))), Err(Error::Changed));
    assert_eq!(run(board.start()).unwrap().cid.product_serial(), 77);
    assert_eq!(read(&mut board, 5), Ok(block(1)));
}

#[test]
fn writes_that_a_removal_takes_are_told_at_every_flush() {
    let (slot, mut board) = started(Model::of(16));
    run(board.write(10, &[block(1), block(2)].concat())).unwrap();
    let now = slot.now_us();
    slot.with_card(|card| card.remove(now));
    slot.with_card(Card::insert);
    assert_eq!(run(board.flush()), Err(Error::Lost));
    assert_eq!(run(board.flush()), Err(Error::Lost));
    board.forget_loss();
    run(board.write(10, &[block(3), block(4)].concat())).unwrap();
    assert_eq!(run(board.flush()), Ok(()));
    assert_eq!(read(&mut board, 11), Ok(block(4)));
}

/// The card misses CMD12 and goes on sending zeros, in which a driver can see any response.
#[test]
fn data_of_a_transfer_that_did_not_stop_is_no_answer() {
    let (slot, mut board) = started(Model::of(16));
    run(board.write(1000, &block(8))).unwrap();
    run(board.flush()).unwrap();
    for _ in 0..8 {
        let mut zeros = [0; 2 * BLOCK];
        run(board.read(4000, &mut zeros)).unwrap();
        slot.with_card(|card| card.faults().plan(Fault::LostCommand));
        assert_eq!(read(&mut board, 1000), Ok(block(8)));
    }
}

/// Each single failure is made good by another try, or told by the flush where the request was answered before.
#[test]
fn a_single_fault_is_made_good() {
    use Fault::{CommandCrc, LongBusy, LostCommand, ProgramFailure, ReadCrc, ReadError, ReadTimeout, StuckBusy};
    use Fault::{WriteCrc, WriteError};
    let (slot, mut board) = started(Model::of(16));
    let kinds = [CommandCrc, LostCommand, ReadCrc, ReadError, ReadTimeout, WriteCrc, WriteError, ProgramFailure];
    for (i, kind) in kinds.into_iter().chain([LongBusy, StuckBusy]).enumerate() {
        let first = 100 * i as u32 + 10;
        slot.with_card(|card| card.faults().plan(kind));
        let data = [block(3), block(4), block(5)].concat();
        run(board.write(first, &data)).unwrap_or_else(|error| panic!("{kind:?}: {error}"));
        if let Err(error) = run(board.flush()) {
            // The request was answered before its failure was known.
            assert_eq!((error, kind == ProgramFailure || kind == LongBusy || kind == StuckBusy), (Error::Lost, true));
            board.forget_loss();
            run(board.write(first, &data)).unwrap();
            run(board.flush()).unwrap();
        }
        let mut seen = [0; 3 * BLOCK];
        run(board.read(first, &mut seen)).unwrap_or_else(|error| panic!("{kind:?}: {error}"));
        assert!(seen == *data, "{kind:?}");
        slot.with_card(|card| assert_eq!(card.faults().log().len(), i + 1, "{kind:?} happened"));
    }
    assert_kept_the_rules(&slot);
}

/// Three tries, and then the request's error is the card's.
#[test]
fn a_fault_that_stays_is_told() {
    let (slot, mut board) = started(Model::of(16));
    for _ in 0..3 {
        slot.with_card(|card| card.faults().plan(Fault::ReadError));
    }
    assert_eq!(read(&mut board, 10), Err(Error::Read(4)));
    assert_eq!(read(&mut board, 10), Ok(block(0)));
    for _ in 0..3 {
        slot.with_card(|card| card.faults().plan(Fault::WriteError));
    }
    assert_eq!(run(board.write(10, &block(1))), Err(Error::Write(0x0d)));
    assert_eq!(run(board.flush()), Ok(()), "nothing was acknowledged");
}

/// A future that is dropped in the middle of a block leaves a card that the next request brings back.
#[test]
fn a_request_that_is_dropped_does_no_harm() {
    fn drop_after(us: u64, slot: &Slot, request: impl Future<Output = Result<(), Error>>) {
        slot.stall_in(us);
        assert!(pin!(request).poll(&mut Context::from_waker(Waker::noop())).is_pending());
        slot.resume();
    }
    // Long gaps between blocks: a drop falls into one, where no checksum shows that the card is elsewhere.
    let timing = Timing { next_block: 1_000, buffer: 1_000, ..Timing::usual() };
    let card = Card::new(Model::of(16), timing, Box::new(Memory::default()), Faults::none(7));
    let slot = Slot::new(card, 50_000_000);
    let mut board = board(&slot);
    run(board.start()).unwrap();
    let written = [block(1), block(2), block(3), block(4)].concat();
    run(board.write(20, &written)).unwrap();
    run(board.flush()).unwrap();
    let mut data = [0; 4 * BLOCK];
    // 250 µs until the first block, 83 µs a block.
    drop_after(600, &slot, board.read(20, &mut data));
    run(board.read(20, &mut data)).unwrap();
    assert!(data == *written);
    assert_eq!(run(board.flush()), Ok(()), "nothing was written");

    run(board.write(40, &[block(5), block(6)].concat())).unwrap();
    // A block from the request before, then the first one of this.
    drop_after(1_500, &slot, board.write(42, &[block(7), block(8)].concat()));
    run(board.write(42, &[block(9), block(10)].concat())).unwrap();
    assert_eq!(run(board.flush()), Err(Error::Lost), "what was acknowledged may be lost with what was dropped");
    board.forget_loss();
    assert_eq!([42, 43, 44].map(|address| read(&mut board, address).unwrap()), [block(9), block(10), block(0)]);
    assert_eq!(run(board.flush()), Ok(()));
}

/// A warm restart: the board was reset in the middle of transfers, the card was not.
#[test]
fn a_card_left_in_a_transfer_starts_again() {
    let slot = slot(Model::of(16), Faults::none(3));
    let mut before = board(&slot);
    run(before.start()).unwrap();
    run(before.write(0, &[block(1), block(2)].concat())).unwrap();
    drop(before);
    let mut again = board(&slot);
    run(again.start()).unwrap();
    let mut data = [0; 3 * BLOCK];
    run(again.read(40, &mut data)).unwrap();
    drop(again);
    run(board(&slot).start()).unwrap();
}

#[test]
fn a_card_in_a_file_keeps_its_blocks() {
    let path = std::env::temp_dir().join(format!("iesp-simulator-card-{}", std::process::id()));
    for round in 0..2 {
        let model = Model::of(1_000);
        let medium = SparseFile::open(&path, model.blocks).unwrap();
        let slot = Slot::new(Card::new(model, Timing::usual(), Box::new(medium), Faults::none(1)), 25_000_000);
        let mut board = board(&slot);
        assert_eq!(run(board.start()).unwrap().clock_hz, 25_000_000);
        if round == 0 {
            run(board.write(1_900_000_000, &block(42))).unwrap();
            run(board.flush()).unwrap();
        }
        assert_eq!(read(&mut board, 1_900_000_000), Ok(block(42)));
    }
    std::fs::remove_file(&path).unwrap();
}
