//! Speed in the card's timing model.

use iesp_firmware::card::Card as _;
use iesp_firmware::sd::BLOCK;
use iesp_simulator::card::{Faults, Model};
use iesp_simulator::run;

use crate::rig::{Board, assert_kept_the_rules, board, slot};
use iesp_simulator::slot::Slot;

/// Bytes that are read or written, in requests of `REQUEST`.
const TOTAL: usize = 4 << 20;
const REQUEST: usize = 8 << 10;

fn share_of_clock(slot: &Slot, work: impl FnOnce()) -> f64 {
    let start = slot.now_us();
    work();
    let seconds = (slot.now_us() - start) as f64 / 1e6;
    TOTAL as f64 * 8.0 / seconds / 50e6
}

fn started() -> (Slot, Board) {
    let slot = slot(Model::of(64), Faults::none(1));
    let mut board = board(&slot);
    assert_eq!(run(board.start()).unwrap().clock_hz, 50_000_000);
    (slot, board)
}

#[test]
fn a_sequential_read_has_90_percent_of_what_the_clock_allows() {
    let (slot, mut board) = started();
    let mut data = vec![0; REQUEST];
    let share = share_of_clock(&slot, || {
        for first in (0..TOTAL).step_by(REQUEST) {
            run(board.read((first / BLOCK) as u32, &mut data)).unwrap();
        }
    });
    println!("read: {:.1} % of the clock", share * 100.0);
    assert!(share >= 0.9, "{share}");
    slot.with_card(|card| assert_eq!(card.counters().commands[18], 1, "one CMD18 for adjacent requests"));
    assert_kept_the_rules(&slot);
}

#[test]
fn a_sequential_write_has_80_percent_of_what_the_clock_allows() {
    let (slot, mut board) = started();
    let data = vec![7; REQUEST];
    let share = share_of_clock(&slot, || {
        for first in (0..TOTAL).step_by(REQUEST) {
            run(board.write((first / BLOCK) as u32, &data)).unwrap();
        }
        run(board.flush()).unwrap();
    });
    println!("write: {:.1} % of the clock", share * 100.0);
    assert!(share >= 0.8, "{share}");
    slot.with_card(|card| assert_eq!(card.counters().commands[25], 1, "one CMD25 for adjacent requests"));
    assert_kept_the_rules(&slot);
}
