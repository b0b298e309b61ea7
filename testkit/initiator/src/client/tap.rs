//! Who sees what travels on connections.

use iesp_iscsi::outbox::Digests;

use crate::pdu::{Flaws, Pdu};

/// Sees all PDUs of connections, in the order in which the initiator sends and takes them.
pub trait Tap: std::fmt::Debug + Send + Sync {
    /// There is a new connection; its number in later calls.
    fn connected(&self) -> usize;

    /// The initiator sends a PDU.
    fn sent(&self, connection: usize, sent: &Sent);

    /// The initiator takes a PDU of the target's.
    fn received(&self, connection: usize, pdu: &Pdu, digests: Digests);

    /// The target closed the connection.
    fn ended(&self, connection: usize);

    /// The initiator closes the connection.
    fn closed(&self, connection: usize);
}

/// A PDU on its way to a target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent {
    /// The PDU.
    pub pdu: Pdu,
    /// Its digests.
    pub digests: Digests,
    /// What is wrong about it on the wire.
    pub flaws: Flaws,
}
