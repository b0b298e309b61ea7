//! The tasks of a session: which are there, in which order they came, and which of them wait for
//! others.

use core::ops::{Index, IndexMut};

use iesp_iscsi::TaskId;
use iesp_iscsi::pdu::TaskAttribute;

use crate::Scope;

/// `a` came before `b`: fewer than 2^31 tasks lie between any two that are there.
const fn before(a: u32, b: u32) -> bool {
    (a.wrapping_sub(b) as i32) < 0
}

/// What the session knows of a task; small, so that a look at all of them stays in few cache lines.
#[derive(Debug, Clone, Copy)]
struct Entry {
    /// Which of the session's commands it is.
    arrival: u32,
    lun: u16,
    attribute: TaskAttribute,
    is_there: bool,
    is_aborted: bool,
    is_in_line: bool,
}

/// Where a driver keeps its parts of tasks, by their numbers.
pub trait Places: IndexMut<usize> {
    /// Makes the place of this number, where it is not there yet.
    fn make(&mut self, at: usize);
}

impl<T, const TASKS: usize> Places for [T; TASKS] {
    fn make(&mut self, _at: usize) {}
}

/// Room for `TASKS` tasks by their numbers, each with the driver's part of it.
///
/// The driver's part stays where it is when a task ends: what it holds is to be taken out before.
#[derive(Debug)]
pub struct Tasks<P, const TASKS: usize> {
    entries: [Entry; TASKS],
    theirs: P,
    count: usize,
    /// Ordered tasks among them.
    ordered: usize,
    aborted: usize,
    in_line: usize,
    arrivals: u32,
}

impl<P: Places<Output: Sized>, const TASKS: usize> Tasks<P, TASKS> {
    /// No task, with room for the driver's parts.
    pub const fn new(places: P) -> Self {
        const FREE: Entry = Entry {
            arrival: 0,
            lun: 0,
            attribute: TaskAttribute::Simple,
            is_there: false,
            is_aborted: false,
            is_in_line: false,
        };
        Self { entries: [FREE; TASKS], theirs: places, count: 0, ordered: 0, aborted: 0, in_line: 0, arrivals: 0 }
    }

    /// A task for the logical unit `lun` came; the driver's part of its place.
    #[inline]
    pub fn occupy(&mut self, id: TaskId, lun: u16, attribute: TaskAttribute) -> &mut P::Output {
        let entry = &mut self.entries[id.index()];
        debug_assert!(!entry.is_there, "a task's number is used again only when it has ended");
        self.arrivals = self.arrivals.wrapping_add(1);
        let arrival = self.arrivals;
        *entry = Entry { arrival, lun, attribute, is_there: true, is_aborted: false, is_in_line: false };
        self.count += 1;
        self.ordered += usize::from(attribute == TaskAttribute::Ordered);
        self.theirs.make(id.index());
        &mut self.theirs[id.index()]
    }

    /// The task has ended.
    #[inline]
    pub fn vacate(&mut self, id: TaskId) {
        let entry = &mut self.entries[id.index()];
        if !entry.is_there {
            return;
        }
        entry.is_there = false;
        self.count -= 1;
        self.ordered -= usize::from(entry.attribute == TaskAttribute::Ordered);
        self.aborted -= usize::from(entry.is_aborted);
        self.in_line -= usize::from(entry.is_in_line);
    }

    fn entry(&self, id: TaskId) -> Option<&Entry> {
        self.entries.get(id.index()).filter(|entry| entry.is_there)
    }

    /// The driver's part of a task that is there.
    #[inline]
    pub fn get(&self, id: TaskId) -> Option<&P::Output> {
        self.entry(id)?;
        Some(&self.theirs[id.index()])
    }

    /// The same, to be changed.
    #[inline]
    pub fn get_mut(&mut self, id: TaskId) -> Option<&mut P::Output> {
        self.entry(id)?;
        Some(&mut self.theirs[id.index()])
    }

    /// The logical unit of the task that is or was last at this place.
    #[inline]
    pub fn lun(&self, id: TaskId) -> u16 {
        self.entries[id.index()].lun
    }

    /// Whether no task is there.
    #[inline]
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The driver's parts of the tasks that are there.
    pub fn iter(&self) -> impl Iterator<Item = (TaskId, &P::Output)> {
        self.there().map(|(id, _)| (id, &self.theirs[id.index()]))
    }

    fn there(&self) -> impl Iterator<Item = (TaskId, &Entry)> {
        let numbered = self.entries.iter().enumerate().map(|(at, entry)| (TaskId(at as u16), entry));
        numbered.filter(|(_, entry)| entry.is_there)
    }

    /// Whether older tasks of the same logical unit are to end first (SAM-5 8.9).
    ///
    /// An ordered task waits for all of them, a simple one for the ordered ones.
    #[inline]
    pub fn must_wait(&self, id: TaskId) -> bool {
        if self.ordered == 0 {
            return false;
        }
        let Some(task) = self.entry(id) else { return false };
        let all = match task.attribute {
            TaskAttribute::HeadOfQueue => return false,
            TaskAttribute::Ordered => true,
            _ => false,
        };
        self.there().any(|(_, other)| {
            other.lun == task.lun
                && before(other.arrival, task.arrival)
                && (all || other.attribute == TaskAttribute::Ordered)
        })
    }

    /// The task waits for others: it stands in line until [`Self::leave_line`], or its end.
    pub fn stand_in_line(&mut self, id: TaskId) {
        if let Some(entry) = self.entries.get_mut(id.index()).filter(|entry| entry.is_there && !entry.is_in_line) {
            entry.is_in_line = true;
            self.in_line += 1;
        }
    }

    /// The task goes on.
    pub fn leave_line(&mut self, id: TaskId) {
        if let Some(entry) = self.entries.get_mut(id.index()).filter(|entry| entry.is_there && entry.is_in_line) {
            entry.is_in_line = false;
            self.in_line -= 1;
        }
    }

    /// Whether any task stands in line.
    #[inline]
    pub const fn is_any_in_line(&self) -> bool {
        self.in_line > 0
    }

    /// The oldest task that stands in line and is younger than `after`, with its arrival: the next
    /// `after`.
    pub fn next_in_line(&self, after: Option<u32>) -> Option<(TaskId, u32)> {
        if self.in_line == 0 {
            return None;
        }
        let waiting = self.there().filter(|(_, entry)| entry.is_in_line);
        let younger = waiting.filter(|(_, entry)| after.is_none_or(|after| before(after, entry.arrival)));
        let oldest = younger.reduce(|a, b| if before(b.1.arrival, a.1.arrival) { b } else { a });
        oldest.map(|(id, entry)| (id, entry.arrival))
    }

    /// Whether there is a task of a logical unit of which `is_meant` says so.
    pub fn any_of(&self, is_meant: impl Fn(u16) -> bool) -> bool {
        self.there().any(|(_, entry)| is_meant(entry.lun))
    }

    /// The youngest task of a logical unit, or of all, that was not aborted yet.
    ///
    /// Where all are to end the youngest is first: none is begun because an older one has ended.
    pub fn youngest(&self, lun: Option<u16>) -> Option<TaskId> {
        let meant = |entry: &Entry| !entry.is_aborted && lun.is_none_or(|lun| lun == entry.lun);
        let left = self.there().filter(|(_, entry)| meant(entry));
        left.reduce(|a, b| if before(a.1.arrival, b.1.arrival) { b } else { a }).map(|(id, _)| id)
    }

    /// The task was aborted, and something of it is still under way: nothing is answered when that
    /// ends.
    pub fn mark_aborted(&mut self, id: TaskId) {
        if let Some(entry) = self.entries.get_mut(id.index()).filter(|entry| entry.is_there && !entry.is_aborted) {
            entry.is_aborted = true;
            self.aborted += 1;
        }
    }

    /// Whether the task was aborted.
    #[inline]
    pub fn is_aborted(&self, id: TaskId) -> bool {
        self.entries.get(id.index()).is_some_and(|entry| entry.is_there && entry.is_aborted)
    }

    /// A task of a scope that was aborted and has not ended yet, where `is_meant` says so of the
    /// driver's part.
    pub fn aborted(&self, scope: Scope, is_meant: impl Fn(&P::Output) -> bool) -> Option<TaskId> {
        if self.aborted == 0 {
            return None;
        }
        let of_scope = |(id, entry): (TaskId, &Entry)| {
            let is_there = match scope {
                Scope::Task(task) => task == id,
                Scope::Unit(lun) => lun == entry.lun,
                Scope::Session => true,
            };
            (is_there && entry.is_aborted).then_some(id)
        };
        self.there().filter_map(of_scope).find(|id| is_meant(&self.theirs[id.index()]))
    }
}

impl<P: Places<Output: Sized>, const TASKS: usize> Index<TaskId> for Tasks<P, TASKS> {
    type Output = P::Output;

    #[inline]
    fn index(&self, id: TaskId) -> &P::Output {
        &self.theirs[id.index()]
    }
}

impl<P: Places<Output: Sized>, const TASKS: usize> IndexMut<TaskId> for Tasks<P, TASKS> {
    #[inline]
    fn index_mut(&mut self, id: TaskId) -> &mut P::Output {
        &mut self.theirs[id.index()]
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;
    use std::vec::Vec;

    fn with(tasks: &[(u16, TaskAttribute)]) -> Tasks<[usize; 8], 8> {
        let mut table = Tasks::new(core::array::from_fn(|at| at));
        // As after 2^32 commands: what came later has a smaller number.
        table.arrivals = u32::MAX - 1;
        for (at, (lun, attribute)) in tasks.iter().enumerate() {
            table.occupy(TaskId(at as u16), *lun, *attribute);
        }
        table
    }

    fn line(tasks: &Tasks<[usize; 8], 8>) -> Vec<u16> {
        let mut after = None;
        core::iter::from_fn(|| {
            let (id, arrival) = tasks.next_in_line(after)?;
            after = Some(arrival);
            Some(id.0)
        })
        .collect()
    }

    #[test]
    fn ordered_tasks_wait_for_all_and_others_for_them() {
        use TaskAttribute::{HeadOfQueue, Ordered, Simple};
        let all = [(0, Simple), (0, Ordered), (1, Ordered), (0, Simple), (0, HeadOfQueue)];
        let mut tasks = with(&all);
        let waits = |tasks: &Tasks<[usize; 8], 8>| (0..5).map(|at| tasks.must_wait(TaskId(at))).collect::<Vec<_>>();
        assert_eq!(waits(&tasks), [false, true, false, true, false]);
        tasks.vacate(TaskId(0));
        assert_eq!(waits(&tasks), [false, false, false, true, false]);
        tasks.vacate(TaskId(1));
        assert_eq!(waits(&tasks), [false, false, false, false, false]);
    }

    #[test]
    fn the_line_is_in_the_order_of_arrival() {
        let mut tasks = with(&[(0, TaskAttribute::Simple); 4]);
        for at in [3, 0, 2, 2] {
            tasks.stand_in_line(TaskId(at));
        }
        assert_eq!(line(&tasks), [0, 2, 3]);
        tasks.leave_line(TaskId(2));
        tasks.vacate(TaskId(0));
        assert_eq!(line(&tasks), [3]);
        tasks.occupy(TaskId(0), 0, TaskAttribute::Simple);
        tasks.stand_in_line(TaskId(0));
        assert_eq!(line(&tasks), [3, 0]);
        tasks.vacate(TaskId(3));
        tasks.vacate(TaskId(0));
        assert!(!tasks.is_any_in_line());
    }

    #[test]
    fn a_set_is_aborted_from_its_youngest_task_on() {
        let mut tasks = with(&[(0, TaskAttribute::Simple), (1, TaskAttribute::Simple), (0, TaskAttribute::Simple)]);
        assert_eq!((tasks.youngest(Some(0)), tasks.youngest(None)), (Some(TaskId(2)), Some(TaskId(2))));
        tasks.mark_aborted(TaskId(2));
        assert_eq!((tasks.youngest(Some(0)), tasks.youngest(None)), (Some(TaskId(0)), Some(TaskId(1))));
        tasks.vacate(TaskId(0));
        let aborted = |tasks: &Tasks<[usize; 8], 8>, scope| tasks.aborted(scope, |_| true);
        assert!(tasks.youngest(Some(0)).is_none() && tasks.any_of(|lun| lun == 0));
        for scope in [Scope::Unit(0), Scope::Session, Scope::Task(TaskId(2))] {
            assert_eq!(aborted(&tasks, scope), Some(TaskId(2)));
        }
        assert_eq!((aborted(&tasks, Scope::Unit(1)), aborted(&tasks, Scope::Task(TaskId(1)))), (None, None));
        assert_eq!(tasks.aborted(Scope::Session, |at| *at != 2), None);
        tasks.vacate(TaskId(2));
        assert!(aborted(&tasks, Scope::Session).is_none() && !tasks.any_of(|lun| lun == 0) && !tasks.is_empty());
    }
}
