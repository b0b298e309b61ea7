//! Power cuts.

use iesp_simulator::card::{Faults, Model};
use iesp_simulator::run;

use crate::load::Load;
use crate::model::{each_seed, planted};
use crate::rig::{LONGEST_US, assert_kept_the_rules, board, quick_slot};

const SEEDS: u64 = 550;
const REQUESTS: usize = 150;

/// After each cut everything that was flushed is there, no block is a mixture, and the card starts again.
#[test]
fn nothing_that_was_flushed_is_lost_in_1000_power_cuts() {
    let mut cuts = 0;
    let mut unflushed_losses = 0;
    let whole = each_seed(SEEDS, ("card", "power::nothing_that_was_flushed_is_lost_in_1000_power_cuts"), |seed| {
        let slot = quick_slot(Model::of(32), Faults::none(seed));
        slot.with_card(|card| card.plant(planted()));
        let mut load = Load::new(seed);
        for _ in 0..2 {
            slot.expect_end_in(LONGEST_US);
            let mut before = board(&slot);
            // Some cuts come while the card is still initialised.
            slot.cut_power_in(15_000 + u64::from(load.below(40_000)));
            let started = run(before.start()).is_ok();
            for _ in 0..REQUESTS {
                if !started || !slot.is_powered() {
                    break;
                }
                load.step(&slot, &mut before, true);
            }
            cuts += u32::from(!slot.is_powered());
            unflushed_losses += load.errors.len();
            load.errors.clear();
            slot.restore_power();

            slot.expect_end_in(LONGEST_US);
            let mut after = board(&slot);
            run(after.start()).unwrap_or_else(|error| panic!("seed {seed}: the card does not start again: {error}"));
            load.verify(&mut after);
        }
        assert_kept_the_rules(&slot);
    });
    println!("{cuts} cuts, {unflushed_losses} requests that they hit");
    assert!(!whole || cuts >= 1_000, "{cuts} cuts came before the load's end");
}
