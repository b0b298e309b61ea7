//! `--trace-pdu`: each unit and command by name, with its fields. What a connection sends is looked at before it leaves, what
//! it receives when it is taken; a connection that is not traced pays one comparison for each.

mod cdb;
mod sense;
mod unit;

use std::net::SocketAddr;

use iesp_iscsi::outbox::Digests;
use iesp_iscsi::pdu::{BHS_LEN, Bhs, Opcode, padded};

use crate::logging::{PDU, Trace};

/// What of a connection is shown.
#[derive(Debug, Default)]
pub struct Tracer {
    /// Whose units are to be shown.
    wanted: Trace,
    /// Whether this connection's are; not known before it has said who it is.
    shows: Option<bool>,
    /// Bytes of those that wait to leave that were shown.
    told: usize,
}

impl Tracer {
    /// Of a connection that has said nothing yet.
    pub fn new(wanted: &Trace) -> Self {
        let mut tracer = Self::default();
        tracer.change(wanted, None);
        tracer
    }

    /// Something else is wanted from now on; the initiator's name, where it is known.
    pub fn change(&mut self, wanted: &Trace, initiator: Option<&str>) {
        self.wanted.clone_from(wanted);
        self.shows = match (wanted, initiator) {
            (Trace::Off, _) => Some(false),
            (Trace::All, _) => Some(true),
            (Trace::Only(wanted), Some(initiator)) => Some(wanted == initiator),
            (Trace::Only(_), None) => None,
        };
    }

    /// Whether units have to be handed in.
    #[inline]
    pub const fn is_on(&self) -> bool {
        !matches!(self.shows, Some(false))
    }

    /// A unit that came, or the front of one.
    #[cold]
    pub fn received(&mut self, peer: SocketAddr, unit: &[u8], digests: Digests) {
        let Some(header) = unit.first_chunk::<BHS_LEN>() else { return };
        let bhs = Bhs(*header);
        let data_at = BHS_LEN + bhs.ahs_len() + if digests.header { 4 } else { 0 };
        let data = unit.get(data_at..data_at + bhs.data_len()).unwrap_or_default();
        if self.shows.is_none() {
            self.recognise(&bhs, data);
        }
        if self.shows == Some(true) {
            let ahs = unit.get(BHS_LEN..BHS_LEN + bhs.ahs_len()).unwrap_or_default();
            tracing::trace!(target: PDU, %peer, "<- {}", unit::describe(&bhs, ahs, data));
        }
    }

    /// Who it is, from the text of its first request (RFC 7143 13.5).
    fn recognise(&mut self, bhs: &Bhs, data: &[u8]) {
        let Trace::Only(wanted) = &self.wanted else { return };
        if bhs.opcode() == Some(Opcode::LoginRequest) {
            let mut pairs = data.split(|byte| *byte == 0);
            let name = pairs.find_map(|pair| pair.strip_prefix(b"InitiatorName="));
            self.shows = Some(name.is_some_and(|name| name.eq_ignore_ascii_case(wanted.as_bytes())));
        }
    }

    /// Everything that waits to leave, of which a part may have been handed in before.
    #[cold]
    pub fn sending(&mut self, peer: SocketAddr, waiting: &[u8], digests: Digests) {
        while let Some(header) = waiting.get(self.told..).and_then(<[u8]>::first_chunk::<BHS_LEN>) {
            let bhs = Bhs(*header);
            // 6.3: none before full feature phase, of which the last response of a login is the beginning.
            let digests = if bhs.opcode() == Some(Opcode::LoginResponse) { Digests::default() } else { digests };
            let data_at = self.told + BHS_LEN + bhs.ahs_len() + if digests.header { 4 } else { 0 };
            let len = bhs.data_len();
            let data = waiting.get(data_at..data_at + len).unwrap_or_default();
            if self.shows == Some(true) {
                tracing::trace!(target: PDU, %peer, "-> {}", unit::describe(&bhs, &[], data));
            }
            self.told = data_at + padded(len) + if digests.data && len > 0 { 4 } else { 0 };
        }
    }

    /// All that waited has left.
    #[inline]
    pub const fn sent(&mut self) {
        self.told = 0;
    }
}
