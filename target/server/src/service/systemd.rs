//! systemd: sd_listen_fds(3), sd_notify(3), sd_watchdog_enabled(3). Without it each of these does nothing.

use std::net::TcpListener;
use std::os::fd::{FromRawFd, OwnedFd};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread;
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

/// How long the end of the program waits until the manager has been told of it.
const FAREWELL: Duration = Duration::from_secs(1);

/// What the service manager is told.
enum Word {
    /// It serves: a line for people.
    Ready(String),
    /// It begins to stop; and who waits until that has been said.
    Stopping(SyncSender<()>),
    /// Every thread that serves has answered.
    Alive,
}

/// A word of life waits to be said: another one would say nothing more.
static ALIVE_WAITS: AtomicBool = AtomicBool::new(false);

/// It serves.
pub fn ready(status: &str) {
    tell(Word::Ready(status.to_owned()));
}

/// It begins to stop.
pub fn stopping() {
    let (said, done) = sync_channel(1);
    if tell(Word::Stopping(said)) {
        // Without an answer the program ends all the same.
        let _ = done.recv_timeout(FAREWELL);
    }
}

/// How long the service manager waits for [`alive`] before it ends and restarts the program; `None` where it does not.
pub fn watchdog() -> Option<Duration> {
    sd_notify::watchdog_enabled().filter(|limit| !limit.is_zero())
}

/// Every thread that serves has answered.
pub fn alive() {
    if !ALIVE_WAITS.swap(true, Ordering::AcqRel) {
        tell(Word::Alive);
    }
}

/// Has a thread of its own say a word, in its turn: as long as the manager reads nothing, its socket is full and a send waits.
/// False where nobody listens.
fn tell(word: Word) -> bool {
    static WORDS: OnceLock<Option<Sender<Word>>> = OnceLock::new();
    let words = WORDS.get_or_init(|| {
        std::env::var_os("NOTIFY_SOCKET")?;
        let (words, said) = channel();
        let thread = thread::Builder::new().name("service-manager".into()).spawn(move || say(&said));
        thread.inspect_err(|error| tracing::warn!(%error, "the service manager cannot be told")).ok()?;
        Some(words)
    });
    words.as_ref().is_some_and(|words| words.send(word).is_ok())
}

fn say(words: &Receiver<Word>) {
    for word in words {
        match word {
            Word::Ready(status) => notify(&[NotifyState::Ready, NotifyState::Status(&status)]),
            Word::Stopping(said) => {
                notify(&[NotifyState::Stopping, NotifyState::Status("flushing, initiators are told to log out")]);
                // Who waited may have given up.
                let _ = said.try_send(());
            }
            Word::Alive => {
                notify(&[NotifyState::Watchdog]);
                ALIVE_WAITS.store(false, Ordering::Release);
            }
        }
    }
}

fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "the service manager cannot be told (NOTIFY_SOCKET)");
    }
}
