//! The SNMP agent over UDP, to look at only: what `iesp-snmp` makes of each datagram, with this program's values.
//!
//! [`readings`] says what the values are, [`users`] who may ask in version 3, and [`engine`] keeps what that version's
//! engine has to remember.

mod engine;
mod options;
mod readings;
pub mod users;

use std::net::{SocketAddr, UdpSocket as StdSocket};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use iesp_snmp::usm::Account;
use tokio::net::UdpSocket;

use crate::disk::state_folder;
use crate::failure::Failure;
use crate::host::Host;
use crate::node::Node;
pub use options::SnmpOptions;
use readings::Readings;

/// The community where none is named.
const PUBLIC: &str = "public";

/// What the agent is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Where it listens.
    pub listen: SocketAddr,
    /// What a request of version 1 or 2c must name; `None`: these versions are not answered.
    pub community: Option<String>,
    /// Who may ask in version 3; where there is nobody, that version is not answered.
    pub users: Vec<Account>,
    /// Where the engine of version 3 is kept; `None`: in the state folder.
    pub engine_file: Option<PathBuf>,
    /// sysContact.
    pub contact: String,
    /// sysLocation.
    pub location: String,
    /// Walks pass by iESP's own names among the tables' rows.
    pub plain_tables: bool,
}

impl Config {
    /// For these users, who come by version 3; with the community where one is named, or where there are no users.
    pub fn new(listen: SocketAddr, community: Option<&str>, users: Vec<Account>) -> Self {
        // Who asks for version 3 does not want a door beside it that anybody can open.
        let default = users.is_empty().then_some(PUBLIC);
        Self {
            listen,
            community: community.or(default).map(str::to_owned),
            users,
            engine_file: None,
            contact: String::new(),
            location: String::new(),
            plain_tables: false,
        }
    }
}

/// An agent that has its socket.
#[derive(Debug)]
pub struct Agent {
    socket: StdSocket,
    address: SocketAddr,
    agent: iesp_snmp::Agent,
    host: Host,
}

impl Agent {
    /// Takes the socket, and counts the engine's start where there are users.
    ///
    /// # Errors
    /// Why it cannot be had, and what to do.
    pub fn bind(config: Config) -> Result<Self, Failure> {
        let Config { listen, community, users, engine_file, contact, location, plain_tables } = config;
        let bound = StdSocket::bind(listen).and_then(|socket| {
            socket.set_nonblocking(true)?;
            Ok((socket.local_addr()?, socket))
        });
        let (address, socket) =
            bound.map_err(|error| Failure::not_bound("answer SNMP", listen, &error, "-S", "--snmp-listen"))?;
        let engine = if users.is_empty() { None } else { Some(start_engine(&users, engine_file)?) };
        let agent = iesp_snmp::Agent::new(iesp_snmp::Config { community: community.map(String::into_bytes), engine });
        let agent = agent.with_plain_tables(plain_tables);
        Ok(Self { socket, address, agent, host: Host::here(contact, location) })
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers until the task is aborted.
    ///
    /// # Errors
    /// Where the socket cannot be used.
    pub async fn serve(self, node: Arc<Node>) -> std::io::Result<()> {
        let Self { socket, mut agent, host, .. } = self;
        let socket = UdpSocket::from_std(socket)?;
        let mut datagram = vec![0; 1 << 16];
        let started = Instant::now();
        loop {
            let (len, peer) = match socket.recv_from(&mut datagram).await {
                Ok(received) => received,
                Err(error) => {
                    // An earlier answer that nobody took, or memory that will be there again.
                    tracing::debug!(%error, "an SNMP request was not received");
                    tokio::time::sleep(Duration::from_millis(10)).await;
                    continue;
                }
            };
            let time = u32::try_from(started.elapsed().as_secs()).unwrap_or(u32::MAX).min(i32::MAX as u32);
            // What is read is of this moment, and gone before the answer leaves.
            let answer = agent.answer(&datagram[..len], time, &Readings::new(&node, &host));
            let Some(answer) = answer else {
                tracing::debug!(%peer, "an SNMP message gets no answer");
                continue;
            };
            if let Err(error) = socket.send_to(&answer, peer).await {
                tracing::debug!(%peer, %error, "an SNMP answer was not sent");
            }
        }
    }
}

fn start_engine(users: &[Account], file: Option<PathBuf>) -> Result<iesp_snmp::Engine, Failure> {
    let file = match file {
        Some(file) => file,
        None => state_folder()?.join("snmp-engine"),
    };
    let engine::Engine { id, boots } = engine::start(&file)?;
    let users = users.iter().map(|account| account.user(&id));
    let users = users.collect::<Result<_, _>>().map_err(|unfit| Failure::usage(format!("SNMP users: {unfit}")))?;
    let mut salt = [0; 8];
    getrandom::fill(&mut salt)
        .map_err(|error| Failure::runtime(format!("the system has no random source: {error}")))?;
    Ok(iesp_snmp::Engine { id, boots, salt: u64::from_ne_bytes(salt), users })
}
