//! Threads that serve connections.

use std::net::{SocketAddr, TcpStream as StdStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::runtime::Builder;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, WeakUnboundedSender, unbounded_channel};
use tokio::sync::oneshot;
use tokio::task::{AbortHandle, JoinSet, LocalSet, spawn_local, yield_now};
use tokio::time::timeout;

use crate::connection;
use crate::node::Admitted;
use crate::ring;
use crate::threads::{Resident, Served};

/// A connection that came.
pub struct Arrival {
    /// The connection.
    pub stream: StdStream,
    /// From where.
    pub peer: SocketAddr,
    /// Its place.
    pub guest: Admitted,
}

/// What a shard is sent.
pub enum Mail {
    /// A connection to serve, and that it is counted.
    Connection(Arrival, Counted),
    /// A question whether it still gets to its mail.
    Ping(oneshot::Sender<()>),
}

/// A shard's door, with who is behind it.
#[derive(Debug, Clone)]
pub struct Door {
    mail: UnboundedSender<Mail>,
    connections: Arc<AtomicUsize>,
    residents: Arc<AtomicUsize>,
}

/// One of those behind a door, for as long as it is there.
pub struct Counted(Arc<AtomicUsize>);

impl Counted {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(count))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl From<UnboundedSender<Mail>> for Door {
    /// Nobody is behind it.
    fn from(mail: UnboundedSender<Mail>) -> Self {
        Self { mail, connections: Arc::default(), residents: Arc::default() }
    }
}

impl Door {
    /// Hands in a connection.
    pub fn let_in(&self, arrival: Arrival) {
        // A shard ends only after who accepts connections.
        let _ = self.mail.send(Mail::Connection(arrival, Counted::new(&self.connections)));
    }

    /// Asks whether the shard still gets to its mail. False where it has ended.
    pub fn ping(&self, answer: oneshot::Sender<()>) -> bool {
        self.mail.send(Mail::Ping(answer)).is_ok()
    }

    /// How many connections it serves, and whether backends live there.
    pub fn load(&self) -> (usize, bool) {
        (self.connections.load(Ordering::Relaxed), self.residents.load(Ordering::Relaxed) > 0)
    }
}

/// How long residents have to end when they were closed.
const RESIDENTS: Duration = Duration::from_secs(3);

/// A thread with its own runtime: its connections never leave it, nor do the backends that live there.
pub struct Shard {
    /// `None`: no more.
    door: Option<Door>,
    home: UnboundedSender<Resident>,
    /// Its connections have ended.
    quiet: mpsc::Receiver<()>,
    thread: thread::JoinHandle<()>,
}

impl Shard {
    /// Starts it; where `ring`, with a ring.
    ///
    /// # Errors
    /// Where the system starts no more threads.
    pub fn start(number: usize, ring: bool) -> std::io::Result<Self> {
        let (door, came) = unbounded_channel::<Mail>();
        let door = Door::from(door);
        let residents = Arc::clone(&door.residents);
        let (home, moving) = unbounded_channel::<Resident>();
        let (done, quiet) = mpsc::channel();
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let thread = thread::Builder::new().name(format!("serve-{number}")).spawn(move || {
            let tasks = LocalSet::new();
            tasks.block_on(&runtime, async {
                if ring && let Err(error) = ring::start() {
                    tracing::warn!(%error, "this thread has no io_uring: others wait for devices");
                }
                let residents = spawn_local(house(moving, residents));
                serve(came).await;
                // Nobody waits for it where the program could not start.
                let _ = done.send(());
                // One that panicked has said so.
                let _ = residents.await;
            });
            drop(tasks);
            // A resolver that hangs must not hold the program up.
            runtime.shutdown_background();
            ring::end();
        })?;
        Ok(Self { door: Some(door), home, quiet, thread })
    }

    /// Where mail is handed in.
    pub fn door(&self) -> Option<Door> {
        self.door.clone()
    }

    /// Where residents move in.
    pub fn home(&self) -> WeakUnboundedSender<Resident> {
        self.home.downgrade()
    }

    /// Ends its connections, when nobody else can hand anything in: from then on they touch no disk.
    pub fn quieten(&mut self) {
        self.door = None;
        // A thread that panicked has said so.
        let _ = self.quiet.recv();
    }

    /// Ends it, when its residents were closed.
    pub fn end(self) {
        drop((self.door, self.home));
        // A thread that panicked has said so.
        let _ = self.thread.join();
    }
}

/// Serves connections until no more come; then those that are left end.
async fn serve(mut came: UnboundedReceiver<Mail>) {
    let mut connections: Vec<AbortHandle> = Vec::new();
    while let Some(mail) = came.recv().await {
        let (Arrival { stream, peer, guest }, counted) = match mail {
            Mail::Connection(arrival, counted) => (arrival, counted),
            Mail::Ping(answer) => {
                // Whoever asked may have given up.
                let _ = answer.send(());
                continue;
            }
        };
        connections.retain(|connection| !connection.is_finished());
        match TcpStream::from_std(stream) {
            Ok(stream) => {
                let serving = tokio::spawn(async move {
                    let _counted = counted;
                    connection::serve(stream, peer, guest).await;
                });
                connections.push(serving.abort_handle());
            }
            Err(error) => tracing::warn!(%peer, %error, "a connection was lost at once"),
        }
    }
    connections.iter().for_each(AbortHandle::abort);
    while connections.iter().any(|connection| !connection.is_finished()) {
        yield_now().await;
    }
}

/// Houses residents, until no more come and the last one has ended, or takes too long.
async fn house(mut moving: UnboundedReceiver<Resident>, count: Arc<AtomicUsize>) {
    let mut residents = JoinSet::new();
    loop {
        tokio::select! {
            Some(_) = residents.join_next() => {}
            resident = moving.recv() => match resident {
                Some(resident) => {
                    let counted = Counted::new(&count);
                    residents.spawn_local(async move {
                        // No connection may wait as if it were alone here.
                        let (_served, _counted) = (Served::begin(), counted);
                        resident().await;
                    });
                }
                None => break,
            },
        }
    }
    let all = async { while residents.join_next().await.is_some() {} };
    if timeout(RESIDENTS, all).await.is_err() {
        tracing::warn!("a disk's connection does not end");
    }
}
