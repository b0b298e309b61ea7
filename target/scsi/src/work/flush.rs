//! SYNCHRONIZE CACHE (SBC-3 5.22 f.) and START STOP UNIT (SBC-3 5.21).

use super::{Context, Next, Plan, Work, check_range};
use crate::cdb;
use crate::contract::{Completion, Outcome, Step};
use crate::sense::Sense;
use crate::unit::Unit;
use portable_atomic::Ordering;

/// A flush, and what follows it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Flush {
    then: Then,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    Nothing,
    Start,
    Stop,
}

impl Flush {
    /// START: ready for medium access commands. Stop: they are refused, once all is durable.
    pub(super) fn start_stop(cdb: &[u8; 16]) -> Self {
        Self { then: if cdb[4] & 0x01 != 0 { Then::Start } else { Then::Stop } }
    }

    /// IMMED isn't made use of: the status comes when its promise is kept, so that a failed flush is never GOOD.
    pub(super) fn step(&mut self, context: &Context<'_>, outcome: Outcome) -> Next {
        let unit = context.unit;
        if self.then == Then::Start {
            unit.stopped.store(false, Ordering::Release);
            return Next::End(Completion::GOOD);
        }
        if outcome == Outcome::Start {
            if self.then == Then::Stop {
                // First, so that no write slips in between.
                unit.stopped.store(true, Ordering::SeqCst);
            }
            if unit.capabilities.volatile_cache {
                return Next::Io(Step::Flush);
            }
        }
        Next::End(Completion::GOOD)
    }
}

impl Plan {
    /// The range says which blocks at least; all are made durable.
    pub(super) fn synchronize_cache(unit: &Unit, cdb: &[u8; 16]) -> Result<Self, Sense> {
        let (lba, blocks) = cdb::range(cdb);
        check_range(unit, lba, u64::from(blocks))?;
        Ok(Self::without_data(Work::Flush(Flush { then: Then::Nothing })))
    }
}
