//! What a service manager wants of the program: systemd's sockets, words and watchdog; Windows' service; elsewhere nothing.

#[cfg(target_os = "linux")]
mod systemd;

#[cfg(windows)]
mod windows;

#[cfg(target_os = "linux")]
pub use systemd::{alive, ready, sockets, stopping, watchdog};

#[cfg(windows)]
pub use windows::{alive, install, ready, run, sockets, stopping, uninstall, watchdog};

#[cfg(not(any(target_os = "linux", windows)))]
pub use elsewhere::{alive, ready, sockets, stopping, watchdog};

#[cfg(not(any(target_os = "linux", windows)))]
mod elsewhere {
    use std::net::TcpListener;
    use std::time::Duration;

    use crate::failure::Failure;

    /// No service manager here passes sockets.
    pub fn sockets() -> Result<Option<Vec<TcpListener>>, Failure> {
        Ok(None)
    }

    /// Nobody waits for it.
    pub fn ready(_status: &str) {}

    /// Nobody waits for it.
    pub fn stopping() {}

    /// Nobody watches.
    pub fn watchdog() -> Option<Duration> {
        None
    }

    /// Nobody watches.
    pub fn alive() {}
}
