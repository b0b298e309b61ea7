//! Cards that fail.

use std::collections::BTreeMap;

use iesp_firmware::card::Card as _;
use iesp_firmware::sd::Error;
use iesp_simulator::card::{Faults, Model};
use iesp_simulator::run;

use crate::load::Load;
use crate::model::{each_seed, planted};
use crate::rig::{LONGEST_US, board, quick_slot};

const SEEDS: u64 = 1_000;
const REQUESTS: usize = 45;

/// No fault makes the driver panic, hang, give wrong data or claim that lost data are safe.
#[test]
fn every_fault_is_survived_or_told_in_1000_seeds() {
    let mut faults: BTreeMap<String, u32> = BTreeMap::new();
    let mut errors: BTreeMap<String, u32> = BTreeMap::new();
    let whole = each_seed(SEEDS, ("card", "faults::every_fault_is_survived_or_told_in_1000_seeds"), |seed| {
        // From a fault in some hundred requests to several in each.
        let rate = [200, 1_000, 3_000, 8_000][seed as usize % 4];
        let slot = quick_slot(Model::of(64), Faults::new(seed, rate));
        slot.with_card(|card| card.plant(planted()));
        let mut board = board(&slot);
        let mut load = Load::new(seed);
        slot.expect_end_in(LONGEST_US);
        // A card that fails from the start may need more than one start.
        for _ in 0..20 {
            if run(board.start()).is_ok() {
                break;
            }
            slot.wait(500_000);
            slot.expect_end_in(LONGEST_US);
        }
        for _ in 0..REQUESTS {
            let exact = slot.with_card(|card| card.faults().log().is_empty());
            let failed = load.errors.len();
            load.step(&slot, &mut board, exact);
            if load.errors[failed..].contains(&Error::Absent) {
                // Nobody asks a card that is out of its slot again at once.
                slot.wait(300_000);
            }
        }
        slot.with_card(|card| card.faults().stop());
        slot.wait(3_000_000);
        slot.expect_end_in(LONGEST_US);
        // What comes back must be the card as it is now; loss of what was not flushed was told or is told now.
        let flushed = run(board.flush());
        assert!(matches!(flushed, Ok(()) | Err(Error::Lost)), "seed {seed}: {flushed:?}");
        run(board.start()).unwrap_or_else(|error| panic!("seed {seed}: the card works and does not start: {error}"));
        load.verify(&mut board);
        slot.with_card(|card| {
            for (_, fault) in card.faults().log() {
                *faults.entry(format!("{fault:?}")).or_default() += 1;
            }
            assert_eq!(card.violations(), [], "seed {seed}");
        });
        for error in &load.errors {
            *errors.entry(format!("{error:?}")).or_default() += 1;
        }
    });
    println!("faults {faults:?}\nerrors {errors:?}");
    if whole {
        assert_eq!(faults.len(), 11, "every kind of fault came: {faults:?}");
        assert!(errors.contains_key("Lost") && errors.contains_key("Absent"), "{errors:?}");
    }
}
