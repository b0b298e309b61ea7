//! What these runs are worth: they find the fault that is planted into the card, and a seed finds it again.

use crate::model::assert_found;

#[test]
fn power_cuts_find_a_card_that_forgets() {
    assert_found("forget", "power::nothing_that_was_flushed_is_lost");
}

#[test]
fn wrong_data_are_found() {
    assert_found("corrupt", "faults::every_fault_is_survived_or_told");
}
