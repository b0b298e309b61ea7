//! Power cuts of a board under load.

use iesp_simulator::board::Size;
use iesp_simulator::card::{Faults, Timing};
use iesp_simulator::host;
use iesp_simulator::image::{FileSpec, Table};
use iesp_simulator::time::{Pace, Tasks, now_us};

use crate::client::Client;
use crate::load::Load;
use crate::model::{each_seed, planted};
use crate::rig::{DISK, Rig};

/// Cuts of each seed.
const CUTS: u64 = 4;
/// A board that is slower than this to come back has not come back.
const MINUTE_US: u64 = 60_000_000;

/// Cuts the power of a board under load, again and again: what was flushed is there, nothing that is torn is served as good,
/// the board always comes back. How many cuts came while the load ran, and commands that were done.
fn cut(seed: u64) -> (u64, u64) {
    let size = if seed.is_multiple_of(2) { Size::Small } else { Size::Large };
    let table = [Table::Mbr, Table::Gpt, Table::None][seed as usize % 3];
    let rig = Rig::new(size, seed, Faults::none(seed), Timing::quick(), &[FileSpec::disk("test.dat", DISK)], table);
    rig.slot.with_card(|card| card.plant(planted()));
    let load = Load::new(seed);
    let mut cuts = 0;
    for round in 0..CUTS {
        {
            let mut tasks = Tasks::new();
            rig.start(&mut tasks);
            // Some cuts come while the board still starts.
            let cut_at = now_us() + 15_000 + u64::from(load.below(400_000));
            rig.slot.cut_power_in(cut_at - now_us());
            let work = host::run(rig.port(), seed, async |stack| {
                let (mut received, mut sending) = ([0; 16384], [0; 16384]);
                let mut client = Client::connect(stack, (&mut received, &mut sending), load.pairs()).await?;
                loop {
                    load.round(&mut client, true).await?;
                }
            });
            let ended: Option<Result<(), crate::client::Broken>> = tasks.finish(Pace::Virtual, cut_at, work);
            assert_eq!(ended, None, "seed {seed}: the connection broke before the power did");
            cuts += 1;
        }
        rig.slot.cut_power_now();
        rig.slot.restore_power();
        let mut tasks = Tasks::new();
        rig.start(&mut tasks);
        let work = host::run(rig.port(), seed ^ round << 32, async |stack| {
            let (mut received, mut sending) = ([0; 16384], [0; 16384]);
            let mut client =
                Client::connect(stack, (&mut received, &mut sending), load.pairs()).await.expect("a session");
            load.verify(&mut client).await.expect("a connection that holds");
        });
        let done = tasks.finish(Pace::Virtual, now_us() + MINUTE_US, work);
        assert!(done.is_some(), "seed {seed}: the board does not come back:\n{}", rig.console());
    }
    rig.slot.with_card(|card| assert_eq!(card.violations(), [], "seed {seed}"));
    (cuts, load.done().0)
}

#[test]
fn nothing_that_was_flushed_is_lost() {
    let (mut cuts, mut commands) = (0, 0);
    each_seed(12, ("board", "power::nothing_that_was_flushed_is_lost"), |seed| {
        let (some, done) = cut(seed);
        cuts += some;
        commands += done;
    });
    println!("{cuts} cuts, {commands} commands before them");
    assert!(commands > 5 * cuts, "the power is cut under load: {commands} commands before {cuts} cuts");
}
