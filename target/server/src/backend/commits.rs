//! Who waits for which sync of a disk, without lock, thread or I/O: syncs that are asked for at the same time become one.
//!
//! A sync makes durable what was written before it began. So a caller whose writes have ended needs one that *begins* from
//! now on: the next one, never the one that is under way. One caller leads: it has the syncs made, one after the other, for
//! as long as others wait.

/// A sync, by its number; they count from 1.
pub type Number = u64;

/// What became of a waiter that joined.
#[derive(Debug, PartialEq, Eq)]
pub enum Joined<W> {
    /// The caller leads: it has syncs made until [`Commits::end`] says that nobody waits.
    Leads,
    /// Somebody else leads.
    Follows,
    /// The disk has lost what was acknowledged: no sync may say that all is well.
    Refused(W),
}

/// The syncs of a disk and who waits for them; `W` is one that waits.
#[derive(Debug)]
pub struct Commits<W> {
    /// The latest sync that began.
    begun: Number,
    /// The latest sync that failed; 0 for none.
    failed: Number,
    /// A sync is under way.
    running: bool,
    /// Somebody leads, or has promised to.
    led: bool,
    /// A sync failed, and nobody has looked into it since: what was acknowledged may be lost.
    poisoned: bool,
    /// They need the next sync.
    waiting: Vec<W>,
}

impl<W> Commits<W> {
    /// Of a disk that has failed no sync.
    pub const fn new() -> Self {
        Self { begun: 0, failed: 0, running: false, led: false, poisoned: false, waiting: Vec::new() }
    }

    /// One whose writes have ended waits for the next sync.
    pub fn join(&mut self, waiter: W) -> Joined<W> {
        if self.poisoned {
            return Joined::Refused(waiter);
        }
        self.waiting.push(waiter);
        if self.led {
            return Joined::Follows;
        }
        self.led = true;
        Joined::Leads
    }

    /// The sync that a caller needs whose writes have ended: the next one. `None` where no sync may say that all is well.
    pub const fn next(&self) -> Option<Number> {
        if self.poisoned { None } else { Some(self.begun + 1) }
    }

    /// Takes the lead where nobody has it.
    pub const fn take_lead(&mut self) -> bool {
        let taken = !self.led;
        self.led = true;
        taken
    }

    /// The leader begins a sync: `batch`, which is empty, gets those that wait for it.
    pub fn begin(&mut self, batch: &mut Vec<W>) {
        debug_assert!(self.led && !self.running && batch.is_empty());
        std::mem::swap(&mut self.waiting, batch);
        self.running = true;
        self.begun += 1;
    }

    /// The leader's sync has ended, well where `good`. Whether it went well for those that waited for it: nothing that
    /// failed meanwhile may be told as a success. Where the disk is poisoned, those that wait for a next sync join `batch`.
    pub fn end(&mut self, good: bool, batch: &mut Vec<W>) -> bool {
        self.running = false;
        let good = good && !self.poisoned;
        if self.poisoned {
            // Those that wait for the next one wrote before it failed, too: no later sync makes durable what they wrote.
            self.begun += 1;
            batch.append(&mut self.waiting);
        }
        if !good {
            self.failed = self.begun;
        }
        good
    }

    /// Whether the leader has to go on. Where it has not, it leads no longer.
    pub const fn go_on(&mut self) -> bool {
        self.led = !self.waiting.is_empty();
        self.led
    }

    /// What became of a sync: `None` while it has not ended.
    pub const fn result(&self, number: Number) -> Option<bool> {
        if self.failed >= number || self.poisoned {
            return Some(false);
        }
        let ended = if self.running { self.begun - 1 } else { self.begun };
        if ended >= number { Some(true) } else { None }
    }

    /// What was acknowledged may be lost: until [`Self::restore`] every sync fails, one that is under way too. Whether that
    /// is news.
    pub const fn poison(&mut self) -> bool {
        let news = !self.poisoned;
        self.poisoned = true;
        news
    }

    /// Somebody has looked into what was lost.
    pub const fn restore(&mut self) {
        self.poisoned = false;
    }

    /// Whether every sync fails.
    pub const fn is_poisoned(&self) -> bool {
        self.poisoned
    }

    /// Whether no sync is under way or wanted.
    pub const fn is_idle(&self) -> bool {
        !self.led
    }

    /// One of those that wait for the next sync.
    pub fn first(&self) -> Option<&W> {
        self.waiting.first()
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_sync_that_is_under_way_is_never_joined() {
        let mut commits = Commits::new();
        let mut batch = Vec::new();
        assert_eq!(commits.join('a'), Joined::Leads);
        commits.begin(&mut batch);
        assert_eq!(batch, ['a']);
        assert_eq!(commits.join('b'), Joined::Follows);
        assert_eq!(commits.next(), Some(2));
        assert_eq!((commits.end(true, &mut batch), &batch[..]), (true, &['a'][..]));
        assert_eq!((commits.result(1), commits.result(2)), (Some(true), None));
        batch.clear();
        assert!(commits.go_on());
        commits.begin(&mut batch);
        assert_eq!(batch, ['b']);
        assert!(commits.end(true, &mut batch));
        assert!(!commits.go_on() && commits.is_idle());
    }

    #[test]
    fn once_poisoned_all_fail_that_wait_or_come() {
        let mut commits = Commits::new();
        let mut batch = Vec::new();
        assert_eq!(commits.join('a'), Joined::Leads);
        commits.begin(&mut batch);
        assert_eq!(commits.join('b'), Joined::Follows);
        let thread = commits.next().expect("a sync");
        // Another way to the disk failed while the sync, which finds nothing wrong, was under way.
        assert!(commits.poison() && !commits.poison());
        assert!(!commits.end(true, &mut batch));
        assert_eq!(batch, ['a', 'b']);
        assert!(!commits.go_on());
        assert_eq!(commits.join('c'), Joined::Refused('c'));
        assert_eq!((commits.next(), commits.result(thread)), (None, Some(false)));
    }

    #[test]
    fn who_waited_for_a_sync_that_failed_learns_it_after_the_disk_was_given_back() {
        let mut commits: Commits<()> = Commits::new();
        let number = commits.next().expect("a sync");
        assert!(commits.take_lead() && !commits.take_lead());
        commits.begin(&mut Vec::new());
        // Another came while it was under way, and had written by then.
        let later = commits.next().expect("a sync");
        commits.poison();
        assert!(!commits.end(false, &mut Vec::new()));
        commits.go_on();
        commits.restore();
        assert_eq!((commits.result(number), commits.result(later)), (Some(false), Some(false)));
        assert!(commits.next().is_some_and(|next| commits.result(next).is_none()));
    }

    proptest! {
        /// Whatever happens in whatever order: who is told that all is well had written before a good sync began.
        #[test]
        fn good_means_written_before_a_good_sync_began(events in vec((0..4u8, any::<bool>()), 0..200)) {
            let mut commits: Commits<u64> = Commits::new();
            let (mut batch, mut time, mut began, mut running) = (Vec::new(), 0u64, 0, false);
            for (event, good) in events {
                time += 1;
                match event {
                    // A write ended at `time`, and its caller waits.
                    0 => drop(commits.join(time)),
                    1 if !running && !commits.is_idle() => {
                        commits.begin(&mut batch);
                        (began, running) = (time, true);
                    }
                    2 if running => {
                        if !good {
                            commits.poison();
                        }
                        running = false;
                        let good = commits.end(good, &mut batch);
                        for wrote in batch.drain(..) {
                            prop_assert!(!good || wrote < began);
                        }
                        commits.go_on();
                    }
                    3 if good => commits.restore(),
                    _ => {}
                }
            }
        }
    }
}
