//! A board with a card and a wire.

use std::rc::Rc;

use iesp_simulator::board::{self, Setup, SimPanel, Size};
use iesp_simulator::card::{Card, Faults, Medium, Memory, Model, Timing};
use iesp_simulator::host;
use iesp_simulator::image::{FileSpec, Table, format};
use iesp_simulator::network::{Port, SharedWire, Weather, Wire};
use iesp_simulator::slot::Slot;
use iesp_simulator::time::{Pace, Tasks, now_us};

use crate::client::Client;

/// The board's configuration: a fixed address.
pub const CONFIG: &[u8] = br#"{"ip-address": "10.0.0.5/24", "target-name": "test"}"#;

/// Bytes of the disk.
pub const DISK: u64 = 8 << 20;

/// Longer than any session of a test.
const SESSION_US: u64 = 600_000_000;

pub struct Rig {
    pub slot: Slot,
    pub wire: SharedWire,
    pub panel: SimPanel,
    pub setup: Setup,
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
        Self {
            slot,
            wire,
            panel: SimPanel::default(),
            setup: Setup { size, config: Some(CONFIG), seed, ..Setup::default() },
        }
    }

    /// A board with this card, which does not fail.
    pub fn with_card(size: Size, erased: u8, medium: Memory, blocks: u64, config: &str) -> Self {
        let model = Model { blocks, erased, ..Model::of(4) };
        let mut rig = Self::with_medium(size, 1, Faults::none(1), Timing::quick(), model, Box::new(medium));
        rig.setup.config = Some(Box::leak(config.as_bytes().to_vec().into_boxed_slice()));
        rig
    }

    /// Starts the board, lets an initiator work, and switches the board off.
    pub fn session<T>(&self, work: impl AsyncFnOnce(&mut Client<'_>) -> T) -> T {
        self.session_of("", work)
    }

    /// The same, with more pairs at the login.
    pub fn session_of<T>(&self, pairs: &str, work: impl AsyncFnOnce(&mut Client<'_>) -> T) -> T {
        let mut tasks = Tasks::new();
        self.start(&mut tasks);
        let work = host::run(self.port(), 1, async |stack| {
            let (mut received, mut sending) = (vec![0; 16384], vec![0; 16384]);
            let mut client = Client::connect(stack, (&mut received, &mut sending), pairs).await.expect("a session");
            work(&mut client).await
        });
        let done = tasks.finish(Pace::Virtual, now_us() + SESSION_US, work);
        drop(tasks);
        self.slot.with_card(|card| assert_eq!(card.violations(), []));
        done.unwrap_or_else(|| panic!("the initiator does not come to its end:\n{}", self.console()))
    }

    /// Lets the board run without an initiator for a while: what its console says.
    pub fn alone(&self, us: u64) -> String {
        let mut tasks = Tasks::new();
        self.start(&mut tasks);
        tasks.run(Pace::Virtual, now_us() + us, || false);
        self.console()
    }

    /// A board with a disk on exFAT and nothing that fails.
    pub fn plain(size: Size) -> Self {
        let files = [FileSpec::disk("test.dat", DISK)];
        Self::new(size, 1, Faults::none(1), Timing::quick(), &files, Table::Mbr)
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
