//! Ctrl-C and SIGTERM as a flag.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// A flag that the first Ctrl-C or SIGTERM sets; the second ends the program as usual.
///
/// # Errors
/// What the system says.
pub fn interrupt() -> io::Result<Arc<AtomicBool>> {
    let flag = Arc::new(AtomicBool::new(false));
    for signal in signal_hook::consts::TERM_SIGNALS {
        signal_hook::flag::register_conditional_default(*signal, Arc::clone(&flag))?;
        signal_hook::flag::register(*signal, Arc::clone(&flag))?;
    }
    Ok(flag)
}
