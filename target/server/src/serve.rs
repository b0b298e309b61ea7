//! Listening, spreading connections over threads, and stopping.

use std::net::{SocketAddr, TcpListener as StdListener, TcpStream as StdStream};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use crate::backend::Patience;
use crate::config::{Config, DiskConfig, Source};
use crate::connection;
use crate::failure::Failure;
use crate::pool::Pool;
use crate::snmp::Agent;
use crate::target::{Lun, Target};
use crate::{life, size};

/// Threads that wait for devices.
const DISK_THREADS: usize = 8;

/// Memory for payloads of all connections together.
const PAYLOADS: usize = 1 << 30;

/// Connections that there may be at a time, logged in or not.
const CONNECTIONS: usize = 512;

/// How long connections have to end at a stop.
const STOP: Duration = Duration::from_secs(5);

/// Opens the listening sockets.
///
/// # Errors
/// Which address cannot be had, why, and what to do.
pub fn listen(addresses: &[SocketAddr]) -> Result<Vec<StdListener>, Failure> {
    addresses.iter().map(|address| bind(*address).map_err(|error| not_bound(*address, &error))).collect()
}

fn bind(address: SocketAddr) -> std::io::Result<StdListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // A restart must not wait for connections of the last run that linger; two listeners still exclude each other.
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.bind(&address.into())?;
    socket.listen(128)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

fn not_bound(address: SocketAddr, error: &std::io::Error) -> Failure {
    use std::io::ErrorKind;
    let remedy = match error.kind() {
        ErrorKind::AddrInUse => "another program listens there: end it, or choose another port with -p",
        ErrorKind::AddrNotAvailable => "this machine has no such address: name one that it has with -i",
        ErrorKind::PermissionDenied => "ports below 1024 need privileges: choose another one with -p",
        _ => return Failure::runtime(format!("cannot listen on {address}: {error}")),
    };
    Failure::runtime(format!("cannot listen on {address}: {remedy}"))
}

/// Serves until SIGINT or SIGTERM, then stops in order: initiators are told, everything is flushed.
///
/// # Errors
/// What keeps it from serving; a flush that failed at the end.
pub fn run(config: Config, luns: Vec<Lun>, listeners: Vec<StdListener>, agent: Option<Agent>) -> Result<(), Failure> {
    let cannot = |error: std::io::Error| Failure::runtime(format!("cannot start serving: {error}"));
    let portals = listeners.iter().map(StdListener::local_addr).collect::<std::io::Result<Vec<_>>>().map_err(cannot)?;
    let pool = Pool::start(DISK_THREADS).map_err(cannot)?;
    let Config { target_name, access, digests, threads, disks, .. } = config;
    let target = Arc::new(Target::new(target_name, luns, portals, access, digests, pool, PAYLOADS));
    let shards = (0..threads).map(|number| Shard::start(number, &target)).collect::<std::io::Result<Vec<_>>>();
    let shards = shards.map_err(cannot)?;
    let runtime = Builder::new_current_thread().enable_all().build().map_err(cannot)?;
    runtime.block_on(async {
        let mut interrupt = signal(SignalKind::interrupt()).map_err(cannot)?;
        let mut terminate = signal(SignalKind::terminate()).map_err(cannot)?;
        let mails: Arc<[_]> = shards.iter().map(|shard| shard.streams.clone()).collect();
        let listeners = listeners.into_iter().map(TcpListener::from_std).collect::<std::io::Result<Vec<_>>>();
        let mut serving: Vec<_> = listeners
            .map_err(cannot)?
            .into_iter()
            .map(|listener| tokio::spawn(accept(listener, Arc::clone(&mails), Arc::clone(&target))))
            .collect();
        announce(&target, &disks, agent.as_ref());
        if let Some(agent) = agent {
            let names = disks.iter().map(|disk| shown(&disk.source)).collect();
            serving.push(tokio::spawn(answer_snmp(agent, Arc::clone(&target), names)));
        }
        life::detach();
        let signal = std::future::poll_fn(|cx| {
            if interrupt.poll_recv(cx).is_ready() {
                return std::task::Poll::Ready(Signal::INT);
            }
            terminate.poll_recv(cx).map(|_| Signal::TERM)
        })
        .await;
        tracing::info!(?signal, "stopping");
        for task in &serving {
            task.abort();
        }
        stop_connections(&target).await;
        Ok(())
    })?;
    // Its tasks hold the other ends of what the shards wait for.
    drop(runtime);
    for shard in shards {
        shard.end();
    }
    tracing::info!(statistics = %target.statistics, "stopped");
    flush(&target)
}

async fn accept(listener: TcpListener, shards: Arc<[UnboundedSender<(StdStream, SocketAddr)>]>, target: Arc<Target>) {
    let mut turn = 0;
    loop {
        match listener.accept().await {
            Ok((_, peer)) if target.connections() >= CONNECTIONS => {
                tracing::warn!(%peer, "refused: {CONNECTIONS} connections are the most");
            }
            Ok((stream, peer)) => {
                // Small answers must not wait for more to come.
                let stream = stream.set_nodelay(true).and_then(|()| stream.into_std());
                match stream {
                    // A shard ends only after this task.
                    Ok(stream) => drop(shards[turn % shards.len()].send((stream, peer))),
                    Err(error) => tracing::warn!(%peer, %error, "a connection was lost at once"),
                }
                turn += 1;
            }
            Err(error) => {
                // Out of descriptors, say: others may be given back meanwhile.
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn answer_snmp(agent: Agent, target: Arc<Target>, disks: Vec<String>) {
    if let Err(error) = agent.serve(target, disks).await {
        tracing::error!(%error, "SNMP cannot be answered");
    }
}

/// A thread with its own runtime: its connections never leave it.
struct Shard {
    streams: UnboundedSender<(StdStream, SocketAddr)>,
    thread: thread::JoinHandle<()>,
}

impl Shard {
    fn start(number: usize, target: &Arc<Target>) -> std::io::Result<Self> {
        let (streams, mut arrivals) = unbounded_channel::<(StdStream, SocketAddr)>();
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let target = Arc::clone(target);
        let thread = thread::Builder::new().name(format!("serve-{number}")).spawn(move || {
            runtime.block_on(async {
                while let Some((stream, peer)) = arrivals.recv().await {
                    match TcpStream::from_std(stream) {
                        Ok(stream) => drop(tokio::spawn(connection::serve(Arc::clone(&target), stream, peer))),
                        Err(error) => tracing::warn!(%peer, %error, "a connection was lost at once"),
                    }
                }
            });
        })?;
        Ok(Self { streams, thread })
    }

    fn end(self) {
        drop(self.streams);
        // A thread that panicked has said so.
        let _ = self.thread.join();
    }
}

/// Has all connections end; those that do not in time are dropped with their threads' runtimes.
async fn stop_connections(target: &Target) {
    target.shut_down();
    let deadline = Instant::now() + STOP;
    while target.connections() > 0 && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn flush(target: &Target) -> Result<(), Failure> {
    let failed = target.luns.iter().find_map(|lun| Some((lun.number, lun.backend.flush(Patience::Any).err()?)));
    match failed {
        Some((number, error)) => {
            Err(Failure::runtime(format!("LUN {number} could not be flushed ({error:?}): check the device under it")))
        }
        None => Ok(()),
    }
}

/// The first screen: what a user copies from.
fn announce(target: &Target, disks: &[DiskConfig], agent: Option<&Agent>) {
    println!("iesp {} serves", env!("CARGO_PKG_VERSION"));
    for (lun, disk) in target.luns.iter().zip(disks) {
        let what = shown(&disk.source);
        let facts = lun.backend.facts();
        let len = facts.len;
        let read_only = if facts.read_only { ", read-only" } else { "" };
        println!("  LUN {:<3} {what} ({}, {}-byte blocks{read_only})", lun.number, size::show(len), lun.block_size());
    }
    println!("  target  {}", target.name);
    for portal in &target.portals {
        println!("  address {portal}");
    }
    for portal in &target.portals {
        let reached = match portal {
            SocketAddr::V4(v4) if v4.ip().is_unspecified() => SocketAddr::from(([127, 0, 0, 1], v4.port())),
            SocketAddr::V6(v6) if v6.ip().is_unspecified() => {
                SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, v6.port()))
            }
            other => *other,
        };
        for lun in &target.luns {
            println!("  URL     iscsi://{reached}/{}/{}", target.name, lun.number);
        }
    }
    if let Some(agent) = agent {
        println!("  SNMP    {}", agent.address());
    }
    println!("Ctrl-C stops it.");
}

/// A disk's name for people.
fn shown(source: &Source) -> String {
    match source {
        Source::Path(path) => path.display().to_string(),
        Source::Ram(_) => "memory".to_owned(),
        Source::Nbd { address, .. } => address.to_string(),
    }
}
