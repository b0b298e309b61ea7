//! Syslog (RFC 5424) over UDP (RFC 5426), TCP with octet counting (RFC 6587) or a Unix socket. A thread sends, so that a
//! server that is slow or away keeps nobody waiting; what does not fit its queue is lost, and how much is said.

use std::collections::VecDeque;
use std::fmt;
use std::io::Write;
use std::net::{TcpStream, ToSocketAddrs, UdpSocket};
#[cfg(unix)]
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tracing::Level;

use super::event::Record;
use crate::authority::Authority;
use crate::failure::Failure;

/// Messages that wait at a time.
const QUEUE: usize = 1024;

/// Facility "daemon" (RFC 5424 6.2.1).
const FACILITY: u8 = 3;

/// How long one step of sending may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long after a failure the server is left alone.
const PAUSE: Duration = Duration::from_secs(1);

/// How long the end waits for what is still to be sent.
const FAREWELL: Duration = Duration::from_secs(1);

/// Where a server is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// HOST:PORT.
    Udp(String),
    /// HOST:PORT.
    Tcp(String),
    /// A socket, of either kind.
    Unix(PathBuf),
}

impl Address {
    /// Of `udp://HOST:PORT`, `tcp://HOST:PORT` or `unix:///PATH`; the port is 514 where none is named.
    ///
    /// # Errors
    /// What is allowed.
    pub fn parse(text: &str) -> Result<Self, String> {
        let with_port = |text: &str| {
            let Authority { host, port } = Authority::parse(text)?;
            let port = port.unwrap_or(514);
            Some(if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") })
        };
        let found = match text.split_once("://") {
            Some(("udp", host)) => with_port(host).map(Self::Udp),
            Some(("tcp", host)) => with_port(host).map(Self::Tcp),
            Some(("unix", path)) if path.starts_with('/') => Some(Self::Unix(path.into())),
            _ => None,
        };
        found.ok_or_else(|| {
            format!("'{text}' is no address of a syslog server: give udp://HOST:PORT, tcp://HOST:PORT or unix:///PATH")
        })
    }
}

/// As it is written in the configuration.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Udp(host) => write!(f, "udp://{host}"),
            Self::Tcp(host) => write!(f, "tcp://{host}"),
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
        }
    }
}

/// A server's queue.
#[derive(Debug)]
pub struct Syslog {
    queue: Option<SyncSender<String>>,
    lost: Arc<AtomicU64>,
    host: String,
    done: Mutex<Receiver<()>>,
}

impl Syslog {
    /// Starts the thread. Whether the server is there shows when something is sent.
    ///
    /// # Errors
    /// Where there can be no thread.
    pub fn start(address: &Address) -> Result<Self, Failure> {
        let (queue, messages) = sync_channel(QUEUE);
        let (ended, done) = sync_channel(1);
        let lost = Arc::new(AtomicU64::new(0));
        let mut sender = Sender {
            address: address.clone(),
            waiting: VecDeque::new(),
            link: None,
            failed: None,
            lost: Arc::clone(&lost),
        };
        let run = move || {
            sender.run(&messages);
            // Nobody waits where the program goes on.
            let _ = ended.send(());
        };
        thread::Builder::new()
            .name("syslog".to_owned())
            .spawn(run)
            .map_err(|error| Failure::runtime(format!("the thread for syslog cannot be started: {error}")))?;
        let host = crate::system::name();
        Ok(Self { queue: Some(queue), lost, host, done: Mutex::new(done) })
    }

    /// Sends an event, or loses it where too many wait.
    pub fn write(&self, record: &Record) {
        let message = message(record, &self.host, &record.text());
        if let Some(queue) = &self.queue
            && queue.try_send(message).is_err()
        {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Drop for Syslog {
    fn drop(&mut self) {
        self.queue = None;
        let done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        // A server that is away is not waited for.
        let _ = done.recv_timeout(FAREWELL);
    }
}

/// RFC 5424 6: `<PRI>1 TIMESTAMP HOSTNAME APP-NAME PROCID MSGID STRUCTURED-DATA MSG`.
fn message(record: &Record, host: &str, text: &str) -> String {
    let severity = match record.level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        Level::DEBUG | Level::TRACE => 7,
    };
    let host: String = host.chars().filter(char::is_ascii_graphic).take(255).collect();
    let host = if host.is_empty() { "-" } else { &host };
    let (priority, time, process) = (FACILITY * 8 + severity, record.timestamp(), std::process::id());
    format!("<{priority}>1 {time} {host} iesp {process} {} - {text}", record.part.name())
}

enum Link {
    Udp(UdpSocket),
    Tcp(TcpStream),
    #[cfg(unix)]
    Datagram(UnixDatagram),
    #[cfg(unix)]
    Stream(UnixStream),
}

struct Sender {
    address: Address,
    /// What came while the server was away: the newest of it.
    waiting: VecDeque<String>,
    link: Option<Link>,
    failed: Option<Instant>,
    lost: Arc<AtomicU64>,
}

impl Sender {
    fn run(&mut self, messages: &Receiver<String>) {
        while let Some(message) = self.waiting.pop_front().or_else(|| messages.recv().ok()) {
            while let Err(error) = self.send(&message) {
                self.link = None;
                if self.failed.replace(Instant::now()).is_none() {
                    // Not by the log, which would come here.
                    eprintln!("iesp: syslog ({}) cannot be reached: {error}; it is tried again", self.address);
                }
                if !self.pause(messages) {
                    return;
                }
            }
            self.failed = None;
        }
    }

    /// Waits before the next try; false where the log ends.
    fn pause(&mut self, messages: &Receiver<String>) -> bool {
        thread::sleep(PAUSE);
        // The queue is emptied, as its end is seen behind the last message alone.
        loop {
            match messages.try_recv() {
                Ok(message) => {
                    if self.waiting.len() == QUEUE {
                        self.waiting.pop_front();
                        self.lost.fetch_add(1, Ordering::Relaxed);
                    }
                    self.waiting.push_back(message);
                }
                Err(TryRecvError::Empty) => return true,
                Err(TryRecvError::Disconnected) => return false,
            }
        }
    }

    fn send(&mut self, message: &str) -> std::io::Result<()> {
        let lost = self.lost.swap(0, Ordering::Relaxed);
        let message = if lost == 0 { message.to_owned() } else { format!("{message}  lost={lost}") };
        let link = match &mut self.link {
            Some(link) => link,
            None => self.link.insert(connect(&self.address)?),
        };
        let result = match link {
            Link::Udp(socket) => socket.send(message.as_bytes()).map(drop),
            #[cfg(unix)]
            Link::Datagram(socket) => socket.send(message.as_bytes()).map(drop),
            Link::Tcp(stream) => stream.write_all(format!("{} {message}", message.len()).as_bytes()),
            #[cfg(unix)]
            Link::Stream(stream) => stream.write_all(format!("{} {message}", message.len()).as_bytes()),
        };
        if result.is_err() {
            self.lost.fetch_add(lost, Ordering::Relaxed);
        }
        result
    }
}

fn connect(address: &Address) -> std::io::Result<Link> {
    let resolve = |host: &str| {
        let found = host.to_socket_addrs()?.next();
        found.ok_or_else(|| std::io::Error::other(format!("{host} has no address")))
    };
    Ok(match address {
        Address::Udp(host) => {
            let to = resolve(host)?;
            let any = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
            let socket = UdpSocket::bind(any)?;
            socket.connect(to)?;
            Link::Udp(socket)
        }
        Address::Tcp(host) => {
            let stream = TcpStream::connect_timeout(&resolve(host)?, PATIENCE)?;
            stream.set_write_timeout(Some(PATIENCE))?;
            Link::Tcp(stream)
        }
        #[cfg(not(unix))]
        Address::Unix(_) => return Err(std::io::ErrorKind::Unsupported.into()),
        #[cfg(unix)]
        Address::Unix(path) => {
            let socket = UnixDatagram::unbound()?;
            match socket.connect(path) {
                Ok(()) => {
                    socket.set_write_timeout(Some(PATIENCE))?;
                    Link::Datagram(socket)
                }
                // The wrong type: it is one of streams.
                Err(error) if error.raw_os_error() == Some(rustix::io::Errno::PROTOTYPE.raw_os_error()) => {
                    let stream = UnixStream::connect(path)?;
                    stream.set_write_timeout(Some(PATIENCE))?;
                    Link::Stream(stream)
                }
                Err(error) => return Err(error),
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        for (text, expected) in [
            ("udp://10.0.0.1", Address::Udp("10.0.0.1:514".into())),
            ("udp://[::1]", Address::Udp("[::1]:514".into())),
            ("tcp://[::1]:601", Address::Tcp("[::1]:601".into())),
            ("tcp://log.home:601", Address::Tcp("log.home:601".into())),
            ("unix:///dev/log", Address::Unix("/dev/log".into())),
        ] {
            assert_eq!(Address::parse(&expected.to_string()), Ok(expected.clone()));
            assert_eq!(Address::parse(text), Ok(expected), "{text}");
        }
        for text in ["", "10.0.0.1", "udp://", "udp://:514", "tcp://host:port", "unix://dev/log", "http://x"] {
            assert!(Address::parse(text).is_err(), "{text}");
        }
    }
}
