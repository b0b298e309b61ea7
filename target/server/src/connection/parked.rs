//! Tasks that wait for memory: it is no error of the disk, and others give theirs back.

use iesp_iscsi::TaskId;
use iesp_scsi::Completion;

use super::Driver;
use super::tasks::State;

/// How long a task waits for memory before its initiator is told to try again, in milliseconds.
pub const LONGEST: u64 = 5000;

/// A task that waits.
#[derive(Debug, Clone, Copy)]
pub struct Parked {
    task: TaskId,
    /// Since when, in milliseconds.
    since: u64,
}

impl Driver<'_> {
    /// There is no memory for what a task needs now.
    pub(super) fn park(&mut self, id: TaskId, state: State) {
        self.slots[id].state = state;
        self.parked.push_back(Parked { task: id, since: self.round / 1_000_000 });
        // Whoever gives memory back from now on says so.
        self.buffers.wait(&self.mail);
    }

    /// There may be memory now: those that wait try again, each in its turn.
    pub(super) fn retry_parked(&mut self) {
        for _ in 0..self.parked.len() {
            if self.outgoing.room() < self.answer_room() {
                return;
            }
            let Some(parked) = self.parked.pop_front() else { return };
            let id = parked.task;
            let goes_on = match self.slots[id].state {
                State::Parked { wanted } => self.try_await_data(id, wanted as usize, &[]),
                State::ParkedRead(read) => {
                    self.slots[id].state = State::Reading(read);
                    self.reading.push_back(id);
                    self.pump_reads();
                    true
                }
                _ => true,
            };
            if !goes_on {
                self.parked.push_front(parked);
                self.buffers.wait(&self.mail);
                return;
            }
        }
    }

    /// A task has ended.
    pub(super) fn unpark(&mut self, id: TaskId) {
        self.parked.retain(|parked| parked.task != id);
    }

    /// When a task has waited long enough, in milliseconds.
    pub(super) fn parked_due(&self) -> Option<u64> {
        self.parked.front().map(|parked| parked.since + LONGEST)
    }

    /// Those that have waited long enough are to be tried again by their initiator.
    pub(super) fn on_parked_time(&mut self, now: u64) {
        while let Some(parked) = self.parked.front().filter(|parked| parked.since + LONGEST <= now) {
            let id = parked.task;
            self.parked.pop_front();
            self.refuse_task(id);
        }
    }

    /// There is no room for a task now.
    pub(super) fn refuse_task(&mut self, id: TaskId) {
        // SAM-5 5.3.1: TASK SET FULL is for a nexus that has other commands in the task set.
        let alone = self.slots.iter().all(|(other, _)| other == id);
        let completion = if alone { Completion::BUSY } else { Completion::TASK_SET_FULL };
        let number = self.slots.lun(id);
        let luns = self.luns_of(number);
        let wake = luns.get(number).is_some_and(|lun| self.slots[id].abandon(lun));
        self.end(id, &Completion { wake, ..completion }, 0);
    }
}
