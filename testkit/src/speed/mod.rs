//! How fast a disk is: rates and latencies over block sizes, threads and queue depths.
//!
//! [`crate::load::engine`] measures, over one queue a thread: the system's calls, io_uring or an iSCSI session.
//! [`results`] is what comes out, as JSON, CSV and iESP's `.dat` files.

pub mod bs_read;
pub mod common;
pub mod random;
pub mod results;
