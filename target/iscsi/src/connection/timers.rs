//! Time: the login's limit, and the target's own ping (RFC 7143 11.19).

use super::{Close, Connection, Phase};
use crate::outbox::Outbox;
use crate::pdu::{NopIn, RESERVED_TAG};

/// How long to wait, in milliseconds; 0 is for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// For the login as a whole.
    pub login: u64,
    /// Silence after which a NOP-In is sent.
    pub ping_after: u64,
    /// Silence after the NOP-In until the connection is closed.
    pub ping_answer: u64,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self { login: 15_000, ping_after: 30_000, ping_answer: 30_000 }
    }
}

#[derive(Debug)]
pub(super) struct Timers {
    timeouts: Timeouts,
    started: u64,
    heard: u64,
    pinged: Option<u64>,
}

impl Timers {
    pub(super) const fn new(timeouts: Timeouts, now: u64) -> Self {
        Self { timeouts, started: now, heard: now, pinged: None }
    }

    /// Bytes came: the peer lives.
    #[inline]
    pub(super) const fn heard(&mut self, now: u64) {
        self.heard = now;
        self.pinged = None;
    }

    fn due(&self, phase: Phase) -> Option<u64> {
        let after = |from: u64, wait: u64| (wait != 0).then(|| from.saturating_add(wait));
        match (phase, self.pinged) {
            (Phase::Login, _) => after(self.started, self.timeouts.login),
            (_, Some(pinged)) => after(pinged, self.timeouts.ping_answer),
            (_, None) => after(self.heard, self.timeouts.ping_after),
        }
    }
}

impl<const TASKS: usize, const TEXT: usize> Connection<TASKS, TEXT> {
    /// When [`Self::handle_timeout`] wants to be called, in milliseconds; ask again after each call of a method that takes
    /// the time.
    pub fn poll_timeout(&self) -> Option<u64> {
        self.timers.due(self.phase)
    }

    /// The peer took bytes that had to wait for it: it lives, though it says nothing. The time is in milliseconds.
    pub const fn peer_took(&mut self, now: u64) {
        self.timers.heard(now);
    }

    /// The time came. The outbox has room for at least [`super::OUTBOX_MIN`] bytes.
    ///
    /// # Errors
    /// [`Close::Timeout`] where the peer was silent for too long.
    pub fn handle_timeout(&mut self, now: u64, out: &mut Outbox<'_>) -> Result<(), Close> {
        if self.timers.due(self.phase).is_none_or(|due| due > now) {
            return Ok(());
        }
        match (self.phase, self.timers.pinged) {
            (Phase::Login, _) => Err(Close::Timeout("the login was not finished")),
            (_, Some(_)) => {
                self.statistics.timeouts += 1;
                Err(Close::Timeout("a NOP-In was not answered"))
            }
            (_, None) => {
                // 11.19.1: an unsolicited NOP-In has a reserved task tag and does not use up a StatSN.
                let ping = NopIn { lun: 0, itt: RESERVED_TAG, ttt: self.stat_sn >> 1, numbers: self.numbers() };
                out.push(self.digests, ping.emit(), &[]);
                self.statistics.nops_sent += 1;
                self.timers.pinged = Some(now);
                Ok(())
            }
        }
    }
}
