//! Threads that serve connections.

use std::net::{SocketAddr, TcpStream as StdStream};
use std::sync::Arc;
use std::thread;

use tokio::net::TcpStream;
use tokio::runtime::Builder;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;

use crate::connection;
use crate::node::{Node, PortalId};

/// A connection that came.
#[derive(Debug)]
pub struct Arrival {
    /// The connection.
    pub stream: StdStream,
    /// By which portal.
    pub portal: PortalId,
    /// From where.
    pub peer: SocketAddr,
}

/// What a shard is sent.
pub enum Mail {
    /// A connection to serve.
    Connection(Arrival),
    /// A question whether it still gets to its mail.
    Ping(oneshot::Sender<()>),
}

/// A shard's door.
pub type Door = UnboundedSender<Mail>;

/// A thread with its own runtime: its connections never leave it.
pub struct Shard {
    door: Door,
    thread: thread::JoinHandle<()>,
}

impl Shard {
    /// Starts it.
    ///
    /// # Errors
    /// Where the system starts no more threads.
    pub fn start(number: usize, node: &Arc<Node>) -> std::io::Result<Self> {
        let (door, mut came) = unbounded_channel::<Mail>();
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let node = Arc::clone(node);
        let thread = thread::Builder::new().name(format!("serve-{number}")).spawn(move || {
            runtime.block_on(async {
                while let Some(mail) = came.recv().await {
                    let Arrival { stream, portal, peer } = match mail {
                        Mail::Connection(arrival) => arrival,
                        Mail::Ping(answer) => {
                            // Whoever asked may have given up.
                            let _ = answer.send(());
                            continue;
                        }
                    };
                    match TcpStream::from_std(stream) {
                        Ok(stream) => drop(tokio::spawn(connection::serve(Arc::clone(&node), stream, portal, peer))),
                        Err(error) => tracing::warn!(%peer, %error, "a connection was lost at once"),
                    }
                }
            });
        })?;
        Ok(Self { door, thread })
    }

    /// Where mail is handed in.
    pub fn door(&self) -> Door {
        self.door.clone()
    }

    /// Ends it, when nobody else can hand anything in.
    pub fn end(self) {
        drop(self.door);
        // A thread that panicked has said so.
        let _ = self.thread.join();
    }
}
