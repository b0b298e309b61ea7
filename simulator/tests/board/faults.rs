//! Boards whose cards fail.

use std::collections::BTreeMap;

use iesp_simulator::board::Size;
use iesp_simulator::card::{Faults, Timing};
use iesp_simulator::host;
use iesp_simulator::image::{FileSpec, Table};
use iesp_simulator::time::{Pace, Tasks, now_us};

use crate::client::{Broken, Client};
use crate::load::Load;
use crate::model::{each_seed, planted};
use crate::rig::{DISK, Rig};

const ROUNDS: usize = 12;
/// Longer than a board may be silent: three tries, each with all that a card may take.
const LONGEST_US: u64 = 1_800_000_000;

/// A board with a card that fails: no panic, no hang, an error always reaches the initiator, and says what it is.
fn fail(seed: u64, faults: &mut BTreeMap<String, u32>, errors: &mut BTreeMap<(u8, u8, u8), u32>) {
    let rate = [100, 400, 1_500, 4_000][seed as usize % 4];
    let size = if seed.is_multiple_of(2) { Size::Small } else { Size::Large };
    let files = [FileSpec::disk("test.dat", DISK)];
    let rig = Rig::new(size, seed, Faults::new(seed, rate), Timing::quick(), &files, Table::Mbr);
    rig.slot.with_card(|card| card.plant(planted()));
    let load = Load::new(seed);
    let mut tasks = Tasks::new();
    rig.start(&mut tasks);
    let work = host::run(rig.port(), seed, async |stack| {
        let (mut received, mut sending) = ([0; 16384], [0; 16384]);
        let mut left = ROUNDS;
        while left > 0 {
            let session: Result<(), Broken> = async {
                let mut client = Client::connect(stack, (&mut received, &mut sending), load.pairs()).await?;
                while left > 0 {
                    left -= 1;
                    let exact = rig.slot.with_card(|card| card.faults().log().is_empty());
                    load.round(&mut client, exact).await?;
                }
                Ok(())
            }
            .await;
            // The card's troubles are no reason for a connection to break.
            assert_eq!(session, Ok(()), "seed {seed}:\n{}", rig.console());
        }
        rig.slot.with_card(|card| card.faults().stop());
        embassy_time::Timer::after_secs(3).await;
        let (mut received, mut sending) = ([0; 16384], [0; 16384]);
        let mut client = Client::connect(stack, (&mut received, &mut sending), load.pairs()).await.expect("a session");
        // A loss that nobody was told of yet is told now; then all is well.
        let _ = load.flush(&mut client).await;
        load.verify(&mut client).await.expect("a connection that holds");
    });
    let done = tasks.finish(Pace::Virtual, now_us() + LONGEST_US, work);
    assert!(done.is_some(), "seed {seed}: the board hangs:\n{}", rig.console());
    rig.slot.with_card(|card| {
        for (_, fault) in card.faults().log() {
            *faults.entry(format!("{fault:?}")).or_default() += 1;
        }
        assert_eq!(card.violations(), [], "seed {seed}");
    });
    for key in load.errors() {
        *errors.entry(key).or_default() += 1;
    }
}

#[test]
fn every_fault_is_survived_or_told() {
    let (mut faults, mut errors) = (BTreeMap::new(), BTreeMap::new());
    let whole = each_seed(24, ("board", "faults::every_fault_is_survived_or_told"), |seed| {
        fail(seed, &mut faults, &mut errors);
    });
    println!("faults {faults:?}\nsense {errors:x?}");
    assert!(!(whole && faults.is_empty()), "faults came");
}
