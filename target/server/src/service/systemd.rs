//! systemd: sd_listen_fds(3), sd_notify(3), sd_watchdog_enabled(3). Without it each of these does nothing.

use std::net::TcpListener;
use std::os::fd::{FromRawFd, OwnedFd};
use std::time::Duration;

use sd_notify::NotifyState;
use socket2::{Domain, Socket, Type};

use crate::failure::Failure;

/// The listening sockets that the service manager opened for this process, in place of those it would open by itself;
/// `None` where it opened none. Called once, before anything else opens a file.
///
/// # Errors
/// Where one of them is no listening TCP socket: the `.socket` unit says something else than `ListenStream=PORT`.
pub fn sockets() -> Result<Option<Vec<TcpListener>>, Failure> {
    let cannot = |error: std::io::Error| Failure::usage(format!("the service manager's sockets (LISTEN_FDS): {error}"));
    let descriptors = sd_notify::listen_fds().map_err(cannot)?;
    if descriptors.len() == 0 {
        return Ok(None);
    }
    let mut listeners = Vec::new();
    for descriptor in descriptors {
        // SAFETY: the descriptor is open (the crate has set its flags) and meant for this process (LISTEN_PID); this is the
        // only call, at the start of the program, so that nothing else owns it.
        let socket = Socket::from(unsafe { OwnedFd::from_raw_fd(descriptor) });
        if !is_tcp_listener(&socket).map_err(cannot)? {
            let message = format!(
                "descriptor {descriptor} of the service manager is no listening TCP socket: give the .socket unit a ListenStream= with a port"
            );
            return Err(Failure::usage(message));
        }
        socket.set_nonblocking(true).map_err(cannot)?;
        listeners.push(socket.into());
    }
    Ok(Some(listeners))
}

fn is_tcp_listener(socket: &Socket) -> std::io::Result<bool> {
    let internet = matches!(socket.domain()?, Domain::IPV4 | Domain::IPV6);
    Ok(internet && socket.r#type()? == Type::STREAM && socket.is_listener()?)
}

/// It serves.
pub fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// It begins to stop.
pub fn stopping() {
    tell(&[NotifyState::Stopping, NotifyState::Status("flushing, initiators are told to log out")]);
}

/// How long the service manager waits for [`alive`] before it ends and restarts the program; `None` where it does not.
pub fn watchdog() -> Option<Duration> {
    sd_notify::watchdog_enabled().filter(|limit| !limit.is_zero())
}

/// Every thread that serves has answered.
pub fn alive() {
    tell(&[NotifyState::Watchdog]);
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "the service manager cannot be told (NOTIFY_SOCKET)");
    }
}
