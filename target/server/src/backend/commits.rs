//! Who waits for which sync of a disk, without lock, thread or I/O: syncs that are asked for at the same time become one.
//!
//! A sync makes durable what was written before it began. So a caller whose writes have ended needs one that *begins* from
//! now on: the next one, never one that is under way. Some callers lead: they have syncs made, one after the other, for
//! as long as others wait. Each leader has a lane; as many syncs as there are lanes may be under way at a time.
//!
//! Syncs are answered in the order in which they began. A device whose cache fails loses what was written before; of two
//! syncs under way one may hear of it, and the other, which begins after the failure, finds nothing wrong.

use std::collections::VecDeque;

use iesp_scsi::IoError;

/// A sync, by its number; they count from 1.
pub type Number = u64;

/// What became of a waiter that joined.
#[derive(Debug, PartialEq, Eq)]
pub enum Joined<W> {
    /// The caller leads: it has syncs made until [`Commits::go_on`] says that no waiter is left.
    Leads,
    /// A leader takes care of it.
    Follows,
    /// The disk has lost what was acknowledged: no sync may say that all is well.
    Refused(W),
}

/// A sync that began.
#[derive(Debug)]
struct Sync<W> {
    number: Number,
    lane: usize,
    /// What came of it, once it has ended, and for whom.
    ended: Option<(Result<(), IoError>, Vec<W>)>,
}

/// The syncs of a disk and who waits for them; `W` is one that waits.
#[derive(Debug)]
pub struct Commits<W> {
    /// Most syncs under way at a time.
    lanes: usize,
    /// Callers that lead, or have promised to.
    leaders: usize,
    /// The latest sync that began.
    begun: Number,
    /// The latest sync that was answered.
    answered: Number,
    /// The latest sync that failed; 0 for none.
    failed: Number,
    /// Syncs that are not answered, in the order in which they began.
    syncs: VecDeque<Sync<W>>,
    /// A sync failed, and was not looked into since: what was acknowledged may be lost.
    poisoned: bool,
    /// They need the next sync.
    waiting: Vec<W>,
    /// Empty lists, to be used again.
    spare: Vec<Vec<W>>,
}

impl<W> Commits<W> {
    /// Of a disk that has failed no sync, with at most `lanes` syncs at a time.
    pub const fn new(lanes: usize) -> Self {
        Self {
            lanes,
            leaders: 0,
            begun: 0,
            answered: 0,
            failed: 0,
            syncs: VecDeque::new(),
            poisoned: false,
            waiting: Vec::new(),
            spare: Vec::new(),
        }
    }

    /// One whose writes have ended waits for the next sync.
    pub fn join(&mut self, waiter: W) -> Joined<W> {
        if self.poisoned {
            return Joined::Refused(waiter);
        }
        self.waiting.push(waiter);
        if self.take_lead() { Joined::Leads } else { Joined::Follows }
    }

    /// The sync that a caller needs whose writes have ended: the next one. `None` where no sync may say that all is well.
    pub const fn next(&self) -> Option<Number> {
        if self.poisoned { None } else { Some(self.begun + 1) }
    }

    /// Whether a sync has begun, so that it needs no leader.
    pub const fn has_begun(&self, number: Number) -> bool {
        self.begun >= number
    }

    /// Takes the lead where a lane is free.
    pub const fn take_lead(&mut self) -> bool {
        let taken = self.leaders < self.lanes;
        self.leaders += taken as usize;
        taken
    }

    /// A leader begins a sync: its number and its lane. `batch`, which is empty, gets those that wait for it.
    pub fn begin(&mut self, batch: &mut Vec<W>) -> (Number, usize) {
        debug_assert!(self.leaders > 0 && batch.is_empty());
        let is_taken = |lane: &usize| self.syncs.iter().any(|sync| sync.ended.is_none() && sync.lane == *lane);
        let lane = (0..self.lanes).find(|lane| !is_taken(lane)).unwrap_or_default();
        std::mem::swap(&mut self.waiting, batch);
        self.begun += 1;
        self.syncs.push_back(Sync { number: self.begun, lane, ended: None });
        (self.begun, lane)
    }

    /// A sync has ended, for those of `batch`, which is empty afterwards. [`Self::next_answer`] says who is answered now.
    pub fn end(&mut self, number: Number, result: Result<(), IoError>, batch: &mut Vec<W>) {
        if let Some(sync) = self.syncs.iter_mut().find(|sync| sync.number == number) {
            let waiters = std::mem::replace(batch, self.spare.pop().unwrap_or_default());
            sync.ended = Some((result, waiters));
        }
    }

    /// What those that join `batch`, which is empty, are answered; `None` when no answer is due. Once the disk is poisoned
    /// all fail: no failure may be hidden by a sync that began before it was known.
    pub fn next_answer(&mut self, batch: &mut Vec<W>) -> Option<Result<(), IoError>> {
        debug_assert!(batch.is_empty());
        self.syncs.front()?.ended.as_ref()?;
        let sync = self.syncs.pop_front()?;
        let (result, mut waiters) = sync.ended?;
        let result = if sync.number <= self.failed { result.and(Err(IoError::Medium)) } else { result };
        self.answered = sync.number;
        if result.is_err() {
            self.failed = self.failed.max(sync.number);
        }
        batch.append(&mut waiters);
        self.spare.push(waiters);
        Some(result)
    }

    /// Whether a leader has to go on. Where it has not, it leads no longer.
    pub const fn go_on(&mut self) -> bool {
        let goes_on = !self.waiting.is_empty();
        self.leaders -= !goes_on as usize;
        goes_on
    }

    /// What became of a sync: `None` while it was not answered.
    pub const fn result(&self, number: Number) -> Option<bool> {
        if self.failed >= number || self.poisoned {
            return Some(false);
        }
        if self.answered >= number { Some(true) } else { None }
    }

    /// What was acknowledged may be lost: until [`Self::restore`] every sync fails, those under way too. Whether that
    /// is news.
    pub fn poison(&mut self) -> bool {
        let news = !self.poisoned;
        self.poisoned = true;
        // Those that wait for the next one wrote before it failed, too: no later sync makes durable what they wrote.
        self.begun += 1;
        self.failed = self.begun;
        if !self.waiting.is_empty() {
            let ended = Some((Err(IoError::Medium), std::mem::take(&mut self.waiting)));
            self.syncs.push_back(Sync { number: self.begun, lane: 0, ended });
        }
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
    pub fn is_idle(&self) -> bool {
        self.leaders == 0 && self.syncs.is_empty()
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

    /// All answers that are due.
    fn answers<W>(commits: &mut Commits<W>) -> Vec<(Vec<W>, bool)> {
        let mut all = Vec::new();
        loop {
            let mut batch = Vec::new();
            let Some(result) = commits.next_answer(&mut batch) else { return all };
            all.push((batch, result.is_ok()));
        }
    }

    fn begin<W>(commits: &mut Commits<W>) -> (Number, usize, Vec<W>) {
        let mut batch = Vec::new();
        let (number, lane) = commits.begin(&mut batch);
        (number, lane, batch)
    }

    #[test]
    fn a_sync_that_is_under_way_is_never_joined() {
        let mut commits = Commits::new(1);
        assert_eq!(commits.join('a'), Joined::Leads);
        assert_eq!(begin(&mut commits), (1, 0, vec!['a']));
        assert_eq!(commits.join('b'), Joined::Follows);
        assert_eq!(commits.next(), Some(2));
        commits.end(1, Ok(()), &mut vec!['a']);
        assert_eq!(answers(&mut commits), [(vec!['a'], true)]);
        assert_eq!((commits.result(1), commits.result(2)), (Some(true), None));
        assert!(commits.go_on());
        assert_eq!(begin(&mut commits), (2, 0, vec!['b']));
        commits.end(2, Ok(()), &mut vec!['b']);
        assert_eq!(answers(&mut commits), [(vec!['b'], true)]);
        assert!(!commits.go_on() && commits.is_idle());
    }

    #[test]
    fn syncs_of_several_lanes_are_answered_in_the_order_in_which_they_began() {
        let mut commits = Commits::new(2);
        assert_eq!(commits.join('a'), Joined::Leads);
        assert_eq!(begin(&mut commits), (1, 0, vec!['a']));
        assert_eq!(commits.join('b'), Joined::Leads);
        assert_eq!(begin(&mut commits), (2, 1, vec!['b']));
        assert_eq!(commits.join('c'), Joined::Follows);
        commits.end(2, Ok(()), &mut vec!['b']);
        assert_eq!((answers(&mut commits), commits.result(2)), (vec![], None));
        // Its lane is free again.
        assert!(commits.go_on());
        assert_eq!(begin(&mut commits), (3, 1, vec!['c']));
        // The device failed, and forgets what it could not write: only one sync is told.
        commits.poison();
        commits.end(1, Err(IoError::Other), &mut vec!['a']);
        assert_eq!(answers(&mut commits), [(vec!['a'], false), (vec!['b'], false)]);
        commits.end(3, Ok(()), &mut vec!['c']);
        assert_eq!(answers(&mut commits), [(vec!['c'], false)]);
    }

    #[test]
    fn once_poisoned_all_fail_that_wait_or_come() {
        let mut commits = Commits::new(1);
        assert_eq!(commits.join('a'), Joined::Leads);
        let (number, _, mut batch) = begin(&mut commits);
        assert_eq!(commits.join('b'), Joined::Follows);
        let thread = commits.next().expect("a sync");
        // Another way to the disk failed while the sync, which finds nothing wrong, was under way.
        assert!(commits.poison() && !commits.poison());
        commits.end(number, Ok(()), &mut batch);
        assert_eq!(answers(&mut commits), [(vec!['a'], false), (vec!['b'], false)]);
        assert!(!commits.go_on());
        assert_eq!(commits.join('c'), Joined::Refused('c'));
        assert_eq!((commits.next(), commits.result(thread)), (None, Some(false)));
    }

    #[test]
    fn a_sync_that_was_under_way_at_a_failure_fails_though_the_disk_is_given_back_before_it_ends() {
        let mut commits = Commits::new(2);
        assert_eq!((commits.join('a'), begin(&mut commits)), (Joined::Leads, (1, 0, vec!['a'])));
        assert_eq!((commits.join('b'), begin(&mut commits)), (Joined::Leads, (2, 1, vec!['b'])));
        commits.poison();
        commits.end(2, Err(IoError::Medium), &mut vec!['b']);
        commits.restore();
        commits.end(1, Ok(()), &mut vec!['a']);
        assert_eq!(answers(&mut commits), [(vec!['a'], false), (vec!['b'], false)]);
    }

    #[test]
    fn who_waited_for_a_sync_that_failed_learns_it_after_the_disk_was_given_back() {
        let mut commits: Commits<()> = Commits::new(1);
        let number = commits.next().expect("a sync");
        assert!(commits.take_lead() && !commits.take_lead());
        let (begun, _, mut batch) = begin(&mut commits);
        assert!(commits.has_begun(number));
        // Another came while it was under way, and had written by then.
        let later = commits.next().expect("a sync");
        commits.poison();
        commits.end(begun, Err(IoError::Medium), &mut batch);
        assert_eq!(answers(&mut commits), [(vec![], false)]);
        commits.go_on();
        commits.restore();
        assert_eq!((commits.result(number), commits.result(later)), (Some(false), Some(false)));
        assert!(commits.next().is_some_and(|next| commits.result(next).is_none()));
    }

    proptest! {
        /// Whatever happens in whatever order, on any number of lanes: a good answer means that the write had ended before
        /// a good sync began, that none failed which began before that one, and that no lane had two syncs.
        #[test]
        fn good_means_written_before_a_good_sync_began(
            lanes in 1..5usize,
            events in vec((0..5u8, any::<bool>(), any::<prop::sample::Index>()), 0..300),
        ) {
            let mut commits: Commits<u64> = Commits::new(lanes);
            // Of each sync under way: when it began, its number, its lane.
            let (mut running, mut leaders, mut time) = (Vec::new(), 0, 0u64);
            // Of each good sync when it began, and when one was known to fail.
            let (mut good_began, mut failed_at) = (Vec::new(), 0);
            for (event, good, which) in events {
                time += 1;
                match event {
                    // A write ended at `time`, and its caller waits.
                    0 | 1 => leaders += usize::from(commits.join(time) == Joined::Leads),
                    2 if running.len() < leaders => {
                        let (number, lane, batch) = begin(&mut commits);
                        prop_assert!(lane < lanes && running.iter().all(|(_, _, other, _)| *other != lane));
                        running.push((time, number, lane, batch));
                    }
                    3 if !running.is_empty() => {
                        let (began, number, _, mut batch) = running.remove(which.index(running.len()));
                        if good {
                            good_began.push(began);
                        } else {
                            commits.poison();
                            failed_at = time;
                        }
                        commits.end(number, if good { Ok(()) } else { Err(IoError::Medium) }, &mut batch);
                        for (batch, good) in answers(&mut commits) {
                            for wrote in batch {
                                let covered = good_began.iter().any(|began| wrote < *began);
                                prop_assert!(!good || covered && wrote > failed_at, "{wrote} of {good_began:?}, {failed_at}");
                            }
                        }
                        leaders -= usize::from(!commits.go_on());
                    }
                    4 if good => commits.restore(),
                    _ => {}
                }
            }
        }
    }
}
