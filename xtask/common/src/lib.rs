//! What the xtask's programs share: where things are, child processes, compilers, a served target,
//! reports.
//!
//! It links no C library, and takes few dependencies: `cargo xtask` builds it first on a fresh
//! machine.

pub mod checks;
pub mod compiler;
pub mod conformance;
pub mod cross;
pub mod outputs;
pub mod process;
#[cfg(unix)]
pub mod report;
#[cfg(unix)]
pub mod requirements;
pub mod target;
pub mod tasks;
#[cfg(unix)]
pub mod toolchain;
pub mod workspace;
