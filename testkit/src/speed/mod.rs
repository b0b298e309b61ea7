//! How fast a disk is: rates and latencies over block sizes, threads and queue depths.
//!
//! [`load`] describes what is measured and measures it, over one [`queue::Queue`] a thread: the system's calls, io_uring
//! or an iSCSI session. [`results`] is what comes out, as JSON, CSV and iESP's `.dat` files.

pub mod bs_read;
pub mod common;
pub mod load;
pub mod queue;
pub mod random;
pub mod results;
pub mod source;
#[cfg(target_os = "linux")]
mod uring;
