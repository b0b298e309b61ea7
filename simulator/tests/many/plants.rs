//! What these runs are worth: they find the fault that is planted into the disk, and a seed finds it again.

use crate::model::assert_found;

const RUN: &str = "many_initiators_see_one_disk";

#[test]
fn a_disk_that_forgets_is_found() {
    assert_found("forget", RUN);
}

#[test]
fn a_lost_write_is_found() {
    assert_found("lose", RUN);
}

#[test]
fn an_old_block_is_found() {
    assert_found("stale", RUN);
}
