//! Task management functions (RFC 7143 4.2.3, 11.5, SAM-5 7): what each affects, and when it may be
//! answered.

use heapless::Vec;
use iesp_iscsi::TaskId;
use iesp_iscsi::pdu::{TaskFunction, TaskRequest, TaskResult};

/// How long a function waits for data that R2Ts asked for, in milliseconds.
///
/// RFC 7143 4.2.3.3 a has no limit, but initiators stop sending such data: Linux by default
/// (FastAbort), and those that are broken. What comes later belongs to no task and is discarded.
pub const DATA_LIMIT: u64 = 2000;

/// CmdSNs beyond ExpCmdSN that may still come: more than any window has.
const WINDOW: u32 = 1 << 16;

/// Which tasks a function affects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// This one.
    Task(TaskId),
    /// All of the session for one logical unit.
    Unit(u16),
    /// All of the session.
    Session,
}

impl Scope {
    /// The logical unit, where it is one.
    pub const fn lun(self) -> Option<u16> {
        match self {
            Self::Unit(lun) => Some(lun),
            Self::Task(_) | Self::Session => None,
        }
    }
}

/// What is to be done once the affected tasks are quiet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Nothing more.
    None,
    /// The logical unit is reset (SAM-5 6.3.3).
    ResetUnit(u16),
    /// All logical units are reset.
    ResetAll,
    /// All logical units are reset, then all sessions end (RFC 7143 11.5.1: TARGET COLD RESET).
    ResetAndClose,
}

/// What becomes of a function that came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// It is answered at once.
    Answer(TaskResult),
    /// The tasks of the scope are to be aborted, then [`Management::all_are_aborted`] is to be
    /// called; [`Management::next_quiet`] says when it is answered.
    Abort {
        /// Which of this session.
        scope: Scope,
        /// Those of other sessions for the same logical units, too:
        /// [`Management::others_are_quiet`] is to be called with this number.
        others: Option<u32>,
    },
}

/// A function that waits no longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quiet {
    /// What came.
    pub request: TaskRequest,
    /// To be done before the answer, which is "Function complete".
    pub effect: Effect,
}

#[derive(Debug)]
struct Pending {
    request: TaskRequest,
    scope: Scope,
    effect: Effect,
    /// The tasks of other sessions are not quiet yet: its number.
    others: Option<u32>,
    /// When it no longer waits for data, in milliseconds.
    due: Option<u64>,
}

impl Pending {
    /// Whether commands before it may still come (RFC 7143 4.2.3.3 b).
    fn waits_for_commands(&self, expected: u32) -> bool {
        let missing = self.request.cmd_sn.wrapping_sub(expected);
        !matches!(self.scope, Scope::Task(_)) && missing > 0 && missing < WINDOW
    }
}

/// The functions of a session that wait, at most `FUNCTIONS`.
///
/// They are no tasks, so that the command window bounds none that is immediate.
#[derive(Debug)]
pub struct Management<const FUNCTIONS: usize> {
    pending: Vec<Pending, FUNCTIONS>,
    count: u32,
    /// The driver is about to abort the tasks of the last one.
    is_aborting: bool,
}

impl<const FUNCTIONS: usize> Default for Management<FUNCTIONS> {
    fn default() -> Self {
        Self { pending: Vec::new(), count: 0, is_aborting: false }
    }
}

impl<const FUNCTIONS: usize> Management<FUNCTIONS> {
    /// Whether no function waits.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    /// A function came. `named` is the task that ABORT TASK names, with its logical unit; `lun` the
    /// logical unit that the request names, where it is there. The time is in milliseconds.
    pub fn begin(
        &mut self,
        request: TaskRequest,
        named: Option<(TaskId, u16)>,
        lun: Option<u16>,
        now: u64,
    ) -> Decision {
        let answer = Decision::Answer;
        let (scope, effect, affects_others) = match (request.function, lun) {
            (TaskFunction::AbortTask, _) => match named {
                // RFC 7143 11.6.1: the tag alone names a task, but it must be of the logical unit
                // that the request names.
                Some((task, of)) if lun == Some(of) => (Scope::Task(task), Effect::None, false),
                _ => return answer(TaskResult::TaskDoesNotExist),
            },
            (TaskFunction::AbortTaskSet | TaskFunction::ClearTaskSet | TaskFunction::LogicalUnitReset, None) => {
                return answer(TaskResult::LunDoesNotExist);
            }
            // SAM-5 7.4: with a task set for each I_T nexus (TST of the Control mode page is 001b)
            // both end the same tasks.
            (TaskFunction::AbortTaskSet | TaskFunction::ClearTaskSet, Some(lun)) => {
                (Scope::Unit(lun), Effect::None, false)
            }
            (TaskFunction::LogicalUnitReset, Some(lun)) => (Scope::Unit(lun), Effect::ResetUnit(lun), true),
            (TaskFunction::TargetWarmReset, _) => (Scope::Session, Effect::ResetAll, true),
            (TaskFunction::TargetColdReset, _) => (Scope::Session, Effect::ResetAndClose, true),
            // ErrorRecoveryLevel 0 has no reassignment (11.5.1).
            (TaskFunction::TaskReassign, _) => return answer(TaskResult::ReassignmentNotSupported),
            // No ACA: NORMACA is 0 in the standard INQUIRY data.
            (TaskFunction::ClearAca | TaskFunction::Unknown(_), _) => return answer(TaskResult::NotSupported),
        };
        self.count = self.count.wrapping_add(1);
        let others = affects_others.then_some(self.count);
        let pending = Pending { request, scope, effect, others, due: Some(now.saturating_add(DATA_LIMIT)) };
        match self.pending.push(pending) {
            Ok(()) => {
                self.is_aborting = true;
                Decision::Abort { scope, others }
            }
            Err(_) => answer(TaskResult::Rejected),
        }
    }

    /// All tasks of the function that came last were aborted, or marked as aborted: none is quiet
    /// only for not being marked.
    pub const fn all_are_aborted(&mut self) {
        self.is_aborting = false;
    }

    /// Whether a command that comes now belongs to the tasks of a function that came before it: it
    /// is aborted, not begun.
    ///
    /// RFC 7143 4.2.3.3 b: a function on a set affects all commands before its CmdSN, though they
    /// come after it.
    #[inline]
    pub fn affects(&self, lun: u16, cmd_sn: u32) -> bool {
        self.pending.iter().any(|pending| {
            let is_meant = match pending.scope {
                Scope::Task(_) => false,
                Scope::Unit(of) => of == lun,
                Scope::Session => true,
            };
            is_meant && (cmd_sn.wrapping_sub(pending.request.cmd_sn) as i32) < 0
        })
    }

    /// The tasks of other sessions that function `number` affects are quiet.
    pub fn others_are_quiet(&mut self, number: u32) {
        if let Some(pending) = self.pending.iter_mut().find(|pending| pending.others == Some(number)) {
            pending.others = None;
        }
    }

    /// The next function that waits no longer, which then is to be answered. `expected` is
    /// ExpCmdSN; `is_quiet` says whether no aborted task of the scope is left.
    pub fn next_quiet(&mut self, expected: u32, is_quiet: impl Fn(Scope) -> bool) -> Option<Quiet> {
        let at = self.pending.iter().position(|pending| {
            !self.is_aborting
                && pending.others.is_none()
                && !pending.waits_for_commands(expected)
                && is_quiet(pending.scope)
        })?;
        let Pending { request, effect, .. } = self.pending.remove(at);
        Some(Quiet { request, effect })
    }

    /// As [`Self::next_quiet`], for a driver that waits for the tasks of other sessions itself,
    /// before the answer: the scope whose tasks these are.
    pub fn next_own_quiet(
        &mut self,
        expected: u32,
        is_quiet: impl Fn(Scope) -> bool,
    ) -> Option<(Quiet, Option<Scope>)> {
        let is_ready =
            |pending: &Pending| !self.is_aborting && !pending.waits_for_commands(expected) && is_quiet(pending.scope);
        let at = self.pending.iter().position(is_ready)?;
        let Pending { request, effect, others, scope, .. } = self.pending.remove(at);
        Some((Quiet { request, effect }, others.map(|_| scope)))
    }

    /// When [`Self::handle_timeout`] wants to be called, in milliseconds.
    pub fn poll_timeout(&self) -> Option<u64> {
        self.pending.iter().filter_map(|pending| pending.due).min()
    }

    /// A scope whose tasks have waited for data long enough: they are to end now. Call it until
    /// there is none.
    pub fn handle_timeout(&mut self, now: u64) -> Option<Scope> {
        let late = self.pending.iter_mut().find(|pending| pending.due.is_some_and(|due| due <= now))?;
        late.due = None;
        Some(late.scope)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn request(function: TaskFunction, cmd_sn: u32) -> TaskRequest {
        TaskRequest {
            immediate: true,
            function,
            lun: 0,
            itt: 7,
            referenced_tag: 1,
            cmd_sn,
            exp_stat_sn: 0,
            ref_cmd_sn: 0,
        }
    }

    fn begin(management: &mut Management<4>, function: TaskFunction, cmd_sn: u32) -> Decision {
        let decision = management.begin(request(function, cmd_sn), None, Some(3), 100);
        // One task has ended while others are yet to be marked.
        assert_eq!(management.next_quiet(cmd_sn, |_| true), None);
        management.all_are_aborted();
        decision
    }

    const ALONE: Decision = Decision::Abort { scope: Scope::Unit(3), others: None };

    #[test]
    fn a_set_waits_for_the_commands_before_it() {
        let mut management = Management::default();
        // The CmdSN of an immediate function is that of the next command: 0 comes after 2^32 - 1.
        assert_eq!(begin(&mut management, TaskFunction::AbortTaskSet, 0), ALONE);
        assert_eq!(management.next_quiet(u32::MAX - 1, |_| true), None);
        assert!(management.affects(3, u32::MAX) && !management.affects(3, 0) && !management.affects(2, u32::MAX));
        assert_eq!(management.next_quiet(u32::MAX, |_| true), None);
        let quiet = management.next_quiet(0, |_| true);
        assert_eq!(quiet.map(|quiet| quiet.effect), Some(Effect::None));
        assert!(management.is_empty() && !management.affects(3, u32::MAX));
    }

    #[test]
    fn a_function_waits_for_its_tasks_and_for_those_of_others() {
        let mut management = Management::default();
        let decision = begin(&mut management, TaskFunction::LogicalUnitReset, 5);
        let Decision::Abort { scope: Scope::Unit(3), others: Some(number) } = decision else {
            panic!("{decision:?}");
        };
        assert_eq!(management.next_quiet(5, |_| true), None);
        management.others_are_quiet(number + 1);
        assert_eq!(management.next_quiet(5, |_| true), None);
        management.others_are_quiet(number);
        assert_eq!(management.next_quiet(5, |scope| scope != Scope::Unit(3)), None);
        let quiet = management.next_quiet(5, |_| true);
        assert_eq!(quiet.map(|quiet| quiet.effect), Some(Effect::ResetUnit(3)));
    }

    #[test]
    fn with_a_task_set_for_each_nexus_clear_task_set_is_abort_task_set() {
        let mut management = Management::default();
        assert_eq!(begin(&mut management, TaskFunction::ClearTaskSet, 5), ALONE);
    }

    #[test]
    fn data_are_waited_for_so_long() {
        let mut management = Management::default();
        assert_eq!(begin(&mut management, TaskFunction::AbortTaskSet, 5), ALONE);
        assert_eq!(management.poll_timeout(), Some(100 + DATA_LIMIT));
        assert_eq!(management.handle_timeout(99 + DATA_LIMIT), None);
        assert_eq!(management.handle_timeout(100 + DATA_LIMIT), Some(Scope::Unit(3)));
        assert_eq!((management.handle_timeout(u64::MAX), management.poll_timeout()), (None, None));
        assert!(!management.is_empty(), "its tasks are not quiet before the driver says so");
    }

    #[test]
    fn refusals() {
        let mut management = Management::<4>::default();
        let of = |management: &mut Management<4>, function, named, lun| {
            management.begin(request(function, 5), named, lun, 0)
        };
        let answer = Decision::Answer;
        let abort = TaskFunction::AbortTask;
        let task = TaskId(1);
        assert_eq!(of(&mut management, abort, None, Some(3)), answer(TaskResult::TaskDoesNotExist));
        assert_eq!(of(&mut management, abort, Some((task, 4)), Some(3)), answer(TaskResult::TaskDoesNotExist));
        assert_eq!(of(&mut management, TaskFunction::ClearTaskSet, None, None), answer(TaskResult::LunDoesNotExist));
        assert_eq!(of(&mut management, TaskFunction::ClearAca, None, Some(3)), answer(TaskResult::NotSupported));
        for _ in 0..4 {
            let begun = of(&mut management, abort, Some((task, 3)), Some(3));
            assert_eq!(begun, Decision::Abort { scope: Scope::Task(task), others: None });
        }
        assert_eq!(of(&mut management, abort, Some((task, 3)), Some(3)), answer(TaskResult::Rejected));
    }
}
