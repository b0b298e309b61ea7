//! Logical units that come and go while a session uses others.

use std::sync::Arc;

use tokio::sync::mpsc::Sender;

use super::{Driver, End};
use crate::luns::Luns;

/// A table of logical units of which some are gone, and have commands left.
#[derive(Debug)]
pub struct Leaving {
    luns: Arc<Luns>,
    /// Dropped when there are none left.
    _quiet: Sender<()>,
}

impl Driver<'_> {
    /// The table that has the logical unit of a task. Its count of references is this connection's alone, so that a clone
    /// costs no more than an addition in its own cache.
    #[inline]
    pub(super) fn luns_of(&self, number: u16) -> Arc<Luns> {
        if self.leaving.is_empty() { Arc::clone(&self.luns) } else { self.luns_that_leave(number) }
    }

    #[cold]
    fn luns_that_leave(&self, number: u16) -> Arc<Luns> {
        let old = self.leaving.iter().map(|leaving| &leaving.luns);
        let mut all = std::iter::once(&self.luns).chain(old);
        // A number is given to another logical unit only when that of the last one is quiet.
        Arc::clone(all.find(|luns| luns.get(number).is_some()).unwrap_or(&self.luns))
    }

    /// The target has other logical units from now on. Commands for those that are gone go on; no more are taken.
    pub(super) fn change_luns(&mut self, luns: &Luns, quiet: Sender<()>) {
        let old = std::mem::replace(&mut self.luns, Arc::new(luns.clone()));
        self.entry.renew(&self.luns, self.protocol.statistics());
        self.leaving.push(Leaving { luns: old, _quiet: quiet });
        self.check_leaving();
    }

    /// Lets go of what has no command left.
    #[cold]
    pub(super) fn check_leaving(&mut self) {
        let (now, slots) = (&self.luns, &self.slots);
        self.leaving
            .retain(|leaving| slots.any_of(|number| now.get(number).is_none() && leaving.luns.get(number).is_some()));
    }

    /// Others have waited long enough for the commands of what is gone.
    pub(super) fn hurry(&mut self) {
        if !self.leaving.is_empty() {
            self.ending = Some(End::Closed("a logical unit that it used is served no longer"));
        }
    }

    /// Tasks of a logical unit may wait for one that ended.
    pub(super) fn wake(&self, lun: u16) {
        let Some(guest) = &self.guest else { return };
        guest.target().wake(lun);
        if let Some(lun) = self.luns_of(lun).get(lun) {
            self.node.wake_other_paths(&guest.target().name, lun);
        }
    }
}
