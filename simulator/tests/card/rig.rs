//! A board with a card.

use iesp_firmware::sd::SdCard;
use iesp_simulator::card::{Card, Faults, Memory, Model, Timing};
use iesp_simulator::slot::{Bus, Select, Slot, SlotClock};

pub type Board = SdCard<Bus, Select, SlotClock>;

/// No request may take longer, in microseconds of virtual time: three tries with a card that does nothing in time.
pub const LONGEST_US: u64 = 60_000_000;

pub fn slot(model: Model, faults: Faults) -> Slot {
    Slot::new(Card::new(model, Timing::usual(), Box::new(Memory::default()), faults), 50_000_000)
}

/// A card that programs faster than most: more happens in the same number of bytes.
pub fn quick_slot(model: Model, faults: Faults) -> Slot {
    let timing =
        Timing { initialise: 20_000, program: 150, erase: 300, clean: 2_000, clean_every: 64, ..Timing::usual() };
    Slot::new(Card::new(model, timing, Box::new(Memory::default()), faults), 50_000_000)
}

pub fn board(slot: &Slot) -> Board {
    SdCard::new(slot.bus(), slot.select(), slot.clock())
}

/// Fails with the rules that the driver broke.
pub fn assert_kept_the_rules(slot: &Slot) {
    slot.with_card(|card| assert_eq!(card.violations(), []));
}
