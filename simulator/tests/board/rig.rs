//! A board with a card and a wire.

use std::rc::Rc;

use iesp_simulator::board::{self, Setup, SimPanel, Size};
use iesp_simulator::card::{Card, Faults, Medium, Memory, Model, Timing};
use iesp_simulator::host;
use iesp_simulator::image::{FileSpec, Table, format};
use iesp_simulator::network::{Port, SharedWire, Weather, Wire};
use iesp_simulator::slot::Slot;
use iesp_simulator::time::Tasks;

/// The board's configuration: a fixed address.
pub const CONFIG: &[u8] = br#"{"ip-address": "10.0.0.5/24", "target-name": "test"}"#;

/// Bytes of the disk.
pub const DISK: u64 = 8 << 20;

/// The seeds of a test: so many from 0 on, or what `IESP_SEEDS` says: `5` for that one alone, `0..1000` for a range.
pub fn seeds(count: u64) -> std::ops::Range<u64> {
    let Ok(text) = std::env::var("IESP_SEEDS") else { return 0..count };
    let number = |text: &str| text.parse().expect("IESP_SEEDS is a number, or two with .. between them");
    match text.split_once("..") {
        Some((first, end)) => number(first)..number(end),
        None => number(&text)..number(&text) + 1,
    }
}

pub struct Rig {
    pub slot: Slot,
    pub wire: SharedWire,
    pub panel: SimPanel,
    pub setup: Setup,
}

/// A card that programs faster than most: more happens in the same time.
pub fn quick() -> Timing {
    Timing { initialise: 5_000, program: 150, erase: 300, clean: 2_000, clean_every: 64, ..Timing::usual() }
}

impl Rig {
    pub fn new(size: Size, seed: u64, faults: Faults, timing: Timing, files: &[FileSpec], table: Table) -> Self {
        let model = Model::of(4);
        let mut medium = Memory::default();
        format(&mut medium, model.erased, model.blocks, table, files).expect("a card");
        Self::with_medium(size, seed, faults, timing, model, Box::new(medium))
    }

    pub fn with_medium(
        size: Size,
        seed: u64,
        faults: Faults,
        timing: Timing,
        model: Model,
        medium: Box<dyn Medium>,
    ) -> Self {
        let slot = Slot::in_shared_time(Card::new(model, timing, medium, faults), 25_000_000);
        let wire = Wire::new([board::MAC, host::MAC], Weather::FAIR, seed);
        Self { slot, wire, panel: SimPanel::default(), setup: Setup { size, config: Some(CONFIG), seed } }
    }

    /// A board with a disk on exFAT and nothing that fails.
    pub fn plain(size: Size) -> Self {
        let files = [FileSpec::disk("test.dat", DISK)];
        Self::new(size, 1, Faults::none(1), quick(), &files, Table::Mbr)
    }

    /// Power on.
    pub fn start(&self, tasks: &mut Tasks<'_>) {
        let port = Port::new(&self.wire, 0);
        tasks.spawn(board::run(self.setup.clone(), self.slot.clone(), port, self.panel.clone()));
    }

    pub fn port(&self) -> Port {
        Port::new(&self.wire, 1)
    }

    /// The console.
    pub fn console(&self) -> String {
        let state = Rc::clone(&self.panel.0);
        let state = state.borrow();
        let lines = state.lines.iter().map(|(at, line)| format!("{:10} {line}\n", at));
        lines.collect()
    }
}
