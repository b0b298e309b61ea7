//! An iSCSI initiator in user space: a safe session over libiscsi with many commands in flight.
//!
//! ```no_run
//! use std::time::Duration;
//! use iesp_testkit::iscsi::{Access, Cdb, Session, Transfer};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut session: Session = Session::connect("iscsi://127.0.0.1/iqn.2024-01.org.example:disk/0", "iqn.2024-01.org.example:me")?;
//! let capacity = session.capacity()?;
//! for cookie in 0..8 {
//!     let buffer = vec![0; 8 * capacity.block_size as usize];
//!     session.submit(&Cdb::read16(cookie * 8, 8, Access::default()), Transfer::In(buffer), cookie)?;
//! }
//! let mut completions = Vec::new();
//! while session.in_flight() > 0 {
//!     session.poll(Duration::from_secs(1), &mut completions)?;
//!     for done in completions.drain(..) {
//!         println!("{}: {:?} after {:?}", done.cookie, done.result, done.latency);
//!     }
//! }
//! # Ok(()) }
//! ```
//!
//! - A session belongs to one thread at a time; it may be moved between threads. Many sessions on many threads are fine.
//! - Nothing happens between calls: commands are sent and answers received inside [`Session::poll`] and
//!   [`Session::execute`].
//! - A command that is given to the session owns its buffer; the buffer comes back with the completion. Payloads are
//!   sent from it and received into it without another copy.
//! - Every wait ends: a command that is not answered in time ends the session, because nothing is known about what the
//!   target still does with it; every command in flight then completes with a [`Failure`].

mod buffer;
mod command;
mod connect;
mod engine;
mod error;
mod sense;
mod session;
mod slot;
mod url;

pub use buffer::IoBuffer;
pub use command::{Access, Cdb, Range, Transfer, unmap_parameters};
pub use connect::{HeaderDigest, Options};
pub use error::{Error, Failure, SubmitError};
pub use sense::{Sense, SenseKey};
pub use session::{Capacity, Completion, Reply, Residual, Session};
pub use url::Url;
