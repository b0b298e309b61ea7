//! An iSCSI initiator for tests.
//!
//! Unlike an initiator that moves data, it lets a test decide every field of every PDU, the wrong ones included, and it
//! holds a target's answers to RFC 7143.
//!
//! - [`pdu`]: a [`Pdu`] as bytes, with its digests; any field can be set and read by its name ([`field`]).
//! - [`Initiator`]: one connection without I/O. It makes PDUs, takes answers apart and checks their numbers.
//! - [`Answer`]: a target's PDU, decoded.
//! - [`cdb`]: command descriptor blocks.
//! - [`chap`]: the initiator's side of CHAP, with right and wrong responses.
//! - [`proxy`]: passes PDUs on, and changes them.
//! - `client` (feature `client`): connections on TCP by tokio, each wait bounded by a timeout.
//! - `transcript` (feature `transcript`): sessions recorded as PDUs and replayed against another target.
//!
//! ```
//! use iesp_initiator::{Digests, Initiator, field};
//!
//! let mut initiator = Initiator::default();
//! let command = initiator.read(&[0x28, 0, 0, 0, 0, 0, 0, 0, 1], 512);
//! // A tag that RFC 7143 11.2.1.8 reserves.
//! let wrong = initiator.pdu(&command.emit(), &[]).with(field::INITIATOR_TASK_TAG, 0xffff_ffff);
//! let bytes = wrong.to_bytes(Digests::default());
//! assert_eq!(bytes.len(), 48);
//! ```

mod answer;
pub mod cdb;
pub mod chap;
#[cfg(feature = "client")]
pub mod client;
pub mod field;
mod initiator;
pub mod pdu;
pub mod proxy;
#[cfg(feature = "transcript")]
pub mod transcript;

pub use answer::{Answer, Malformed, text, untext};
pub use iesp_iscsi::outbox::Digests;
pub use initiator::{INITIATOR, ISID, Initiator, Violation};
pub use pdu::{Pdu, frame};
