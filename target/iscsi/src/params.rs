//! What is negotiated: the target's limits, the results, and the functions that lead from one to the other.

use core::fmt;

use crate::chap::Algorithm;
use crate::keys::{Choice, Class, Connective, Extreme, LENGTH_MAX, Rule, TABLE, TaskReporting};
use crate::text;

/// What the target offers and accepts. Lengths are in bytes; a value that its key does not allow is brought into the
/// key's range when it is used.
///
/// The RFC's default holds for a key that an initiator does not send (MaxBurstLength 262144, FirstBurstLength 65536,
/// InitialR2T and ImmediateData `Yes`), whatever stands here: take the numbers of [`Parameters`], not these.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Data that one unit to the target may carry.
    pub max_recv_data_segment_length: u32,
    /// Data of one solicited sequence.
    pub max_burst_length: u32,
    /// Unsolicited data of one command.
    pub first_burst_length: u32,
    /// R2Ts that a task may have outstanding.
    pub max_outstanding_r2t: u32,
    /// Whether unsolicited Data-Out units are refused.
    pub initial_r2t: bool,
    /// Whether a command may carry data.
    pub immediate_data: bool,
    /// Whether CRC32C may be chosen for header and data digests.
    pub digests: bool,
    /// Seconds before an initiator may come back after a connection was lost.
    pub default_time2wait: u16,
    /// Seconds that tasks are kept after that; 0 where they are not, as at ErrorRecoveryLevel 0.
    pub default_time2retain: u16,
    /// Whether task management responses are fenced (RFC 7143 4.2.2.3.3).
    pub response_fence: bool,
    /// Whether aborts need no acknowledgement (RFC 7143 4.2.3.4).
    pub fast_abort: bool,
    /// CHAP algorithms that may be chosen.
    pub algorithms: &'static [Algorithm],
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_recv_data_segment_length: 262_144,
            max_burst_length: 1 << 20,
            first_burst_length: 262_144,
            max_outstanding_r2t: 8,
            initial_r2t: false,
            immediate_data: true,
            digests: true,
            default_time2wait: 2,
            default_time2retain: 0,
            response_fence: false,
            fast_abort: false,
            algorithms: &Algorithm::ALL,
        }
    }
}

impl Limits {
    /// What is declared as MaxRecvDataSegmentLength (13.12: 512 to 2^24-1).
    pub fn declared_segment_length(&self) -> u32 {
        self.max_recv_data_segment_length.clamp(512, LENGTH_MAX)
    }
}

/// What holds in full feature phase. Lengths in bytes, times in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parameters {
    /// Headers carry a CRC32C.
    pub header_digest: bool,
    /// Data segments carry a CRC32C.
    pub data_digest: bool,
    /// Data that one unit to the target may carry: what it declared.
    pub max_recv_data_segment_length: u32,
    /// Data that one unit to the initiator may carry: what that declared.
    pub peer_max_recv_data_segment_length: u32,
    /// Data of one solicited sequence, or of one sequence of Data-In.
    pub max_burst_length: u32,
    /// Unsolicited data of one command, immediate data included; never above `max_burst_length`.
    pub first_burst_length: u32,
    /// R2Ts that a task may have outstanding.
    pub max_outstanding_r2t: u32,
    /// Data-Out units come only for an R2T.
    pub initial_r2t: bool,
    /// A command may carry data.
    pub immediate_data: bool,
    /// Data units of a sequence are in order of their offset.
    pub data_pdu_in_order: bool,
    /// Sequences are in order of their offset.
    pub data_sequence_in_order: bool,
    /// Before an initiator comes back after a connection was lost.
    pub default_time2wait: u16,
    /// That tasks are kept after that.
    pub default_time2retain: u16,
    /// 0: the connection is the unit of recovery.
    pub error_recovery_level: u8,
    /// How task management deals with tasks of other initiators.
    pub task_reporting: TaskReporting,
    /// 1: RFC 7143.
    pub protocol_level: u8,
}

impl Default for Parameters {
    /// What holds where nothing was negotiated: the table's defaults.
    fn default() -> Self {
        let mut parameters = Self {
            header_digest: false,
            data_digest: false,
            max_recv_data_segment_length: 8192,
            peer_max_recv_data_segment_length: 8192,
            max_burst_length: 0,
            first_burst_length: 0,
            max_outstanding_r2t: 0,
            initial_r2t: true,
            immediate_data: true,
            data_pdu_in_order: true,
            data_sequence_in_order: true,
            default_time2wait: 0,
            default_time2retain: 0,
            error_recovery_level: 0,
            task_reporting: TaskReporting::Rfc3720,
            protocol_level: 0,
        };
        for rule in &TABLE {
            match rule.class {
                Class::DeclaredNumber { default, store, .. } | Class::Number { default, store, .. } => {
                    store(&mut parameters, default);
                }
                Class::Boolean { default, store, .. } => store(&mut parameters, default),
                Class::List([first, ..]) => (first.store)(&mut parameters),
                _ => {}
            }
        }
        parameters
    }
}

/// What a key is answered with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Nothing: it was declared.
    Nothing,
    /// A constant.
    Word(&'static str),
    /// A number.
    Number(u32),
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => Ok(()),
            Self::Word(word) => f.write_str(word),
            Self::Number(number) => write!(f, "{number}"),
        }
    }
}

/// A declaration that cannot be accepted: it ends the negotiation (RFC 7143 7.11).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unacceptable;

/// One side's offer, by the rule of its key.
///
/// A value that the key does not allow is answered `Reject` and leaves the result as it was (6.2, 6.2.2). A key without
/// effect is answered by the value that it would have: 6.2 allows `Irrelevant` (MAY), which initiators parse as a number.
pub(crate) fn negotiate(
    rule: &Rule,
    value: &str,
    limits: &Limits,
    discovery: bool,
    results: &mut Parameters,
) -> Result<Answer, Unacceptable> {
    let answer = match rule.class {
        Class::Declaration | Class::Authentication => Answer::Nothing,
        Class::DeclaredNumber { min, max, store, .. } => {
            store(results, ranged(value, min, max).ok_or(Unacceptable)?);
            Answer::Nothing
        }
        Class::List(choices) => match choose(choices, value, limits) {
            Some(choice) => {
                (choice.store)(results);
                Answer::Word(choice.name)
            }
            None => Answer::Word(text::REJECT),
        },
        Class::Number { result, min, max, offer, ceiling, store, .. } => match ranged(value, min, max) {
            Some(theirs) => {
                let ours = offer(limits).clamp(min, max);
                let number = match result {
                    Extreme::Minimum => theirs.min(ours),
                    Extreme::Maximum => theirs.max(ours),
                };
                let number = number.min(ceiling(results));
                store(results, number);
                Answer::Number(number)
            }
            None => Answer::Word(text::REJECT),
        },
        Class::Boolean { result, offer, store, .. } => match text::boolean(value) {
            Some(theirs) => {
                let value = match result {
                    Connective::And => theirs && offer(limits),
                    Connective::Or => theirs || offer(limits),
                };
                store(results, value);
                Answer::Word(if value { "Yes" } else { "No" })
            }
            None => Answer::Word(text::REJECT),
        },
        // 13.25: `Reject` SHOULD and `No` MAY be the answer. An initiator that offers `No` reads `Reject` as a fault.
        Class::ObsoleteBoolean if text::boolean(value).is_some() => Answer::Word("No"),
        Class::ObsoleteBoolean | Class::Obsolete => Answer::Word(text::REJECT),
    };
    // A value that would be refused does no harm where the key has no effect.
    let refused = answer == Answer::Word(text::REJECT);
    Ok(if refused && (rule.irrelevant)(results, discovery) { Answer::Word(text::IRRELEVANT) } else { answer })
}

/// 6.2.1: the first value of the initiator's list that is supported and allowed.
fn choose(choices: &'static [Choice], offered: &str, limits: &Limits) -> Option<&'static Choice> {
    text::list(offered)?
        .find_map(|value| choices.iter().find(|choice| choice.name == value && (choice.allowed)(limits)))
}

fn ranged(value: &str, min: u32, max: u32) -> Option<u32> {
    let number = u32::try_from(text::number(value)?).ok()?;
    (min..=max).contains(&number).then_some(number)
}

impl Parameters {
    /// 13.14: FirstBurstLength is never above MaxBurstLength, also where an initiator offered one of them alone.
    pub(crate) fn settle(&mut self) {
        self.first_burst_length = self.first_burst_length.min(self.max_burst_length);
    }
}

#[cfg(test)]
mod tests;
