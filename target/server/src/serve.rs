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
use tokio::sync::oneshot;

use crate::backend::Patience;
use crate::config::{Config, DiskConfig, Source};
use crate::connection;
use crate::failure::Failure;
use crate::pool::Pool;
use crate::snmp::Agent;
use crate::target::{Lun, Target};
use crate::{life, reach, service, size};

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
        let mails: Arc<[_]> = shards.iter().map(|shard| shard.mail.clone()).collect();
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
        if let Some(limit) = service::watchdog() {
            serving.push(tokio::spawn(watch(Arc::clone(&mails), limit, service::alive)));
        }
        service::ready(&format!("serves {}", target.name));
        life::detach();
        let signal = std::future::poll_fn(|cx| {
            if interrupt.poll_recv(cx).is_ready() {
                return std::task::Poll::Ready(Signal::INT);
            }
            terminate.poll_recv(cx).map(|_| Signal::TERM)
        })
        .await;
        tracing::info!(?signal, "stopping");
        service::stopping();
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

async fn accept(listener: TcpListener, shards: Arc<[UnboundedSender<Mail>]>, target: Arc<Target>) {
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
                    Ok(stream) => drop(shards[turn % shards.len()].send(Mail::Connection(stream, peer))),
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

/// Tells the service manager that the program is well, three times within its limit, for as long as that is true: this
/// thread, which accepts connections, and every thread that serves them has to answer. One that hangs ends the words.
async fn watch(shards: Arc<[UnboundedSender<Mail>]>, limit: Duration, alive: impl Fn()) {
    loop {
        for shard in shards.iter() {
            let (answer, answered) = oneshot::channel();
            if shard.send(Mail::Ping(answer)).is_err() || answered.await.is_err() {
                tracing::error!("a thread that serves connections has ended: the service manager is told no more");
                return;
            }
        }
        alive();
        tokio::time::sleep(limit / 3).await;
    }
}

/// What a shard is sent.
enum Mail {
    /// A connection to serve.
    Connection(StdStream, SocketAddr),
    /// A question whether it still gets to its mail.
    Ping(oneshot::Sender<()>),
}

/// A thread with its own runtime: its connections never leave it.
struct Shard {
    mail: UnboundedSender<Mail>,
    thread: thread::JoinHandle<()>,
}

impl Shard {
    fn start(number: usize, target: &Arc<Target>) -> std::io::Result<Self> {
        let (mail, mut arrivals) = unbounded_channel::<Mail>();
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let target = Arc::clone(target);
        let thread = thread::Builder::new().name(format!("serve-{number}")).spawn(move || {
            runtime.block_on(async {
                while let Some(mail) = arrivals.recv().await {
                    let (stream, peer) = match mail {
                        Mail::Connection(stream, peer) => (stream, peer),
                        Mail::Ping(answer) => {
                            // Whoever asked may have given up.
                            let _ = answer.send(());
                            continue;
                        }
                    };
                    match TcpStream::from_std(stream) {
                        Ok(stream) => drop(tokio::spawn(connection::serve(Arc::clone(&target), stream, peer))),
                        Err(error) => tracing::warn!(%peer, %error, "a connection was lost at once"),
                    }
                }
            });
        })?;
        Ok(Self { mail, thread })
    }

    fn end(self) {
        drop(self.mail);
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
    let reached: Vec<_> = target.portals.iter().flat_map(|portal| reach::addresses(*portal)).collect();
    for reached in reached.iter().filter(|reached| !target.portals.contains(reached)) {
        println!("  reached {reached}");
    }
    for reached in &reached {
        for lun in &target.luns {
            println!("  URL     iscsi://{reached}/{}/{}", target.name, lun.number);
        }
    }
    if let Some(agent) = agent {
        println!("  SNMP    {}", agent.address());
    }
    if !["iqn.", "eui.", "naa."].iter().any(|form| target.name.starts_with(form)) {
        println!("Windows and ESXi take longer names only: give one with -t, as in -t iqn.2026-01.home.nas:disk");
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

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    /// One thread that does not get to its mail is enough for silence.
    #[test]
    fn the_watchdog_hears_nothing_while_a_shard_hangs() {
        let (well, mut answers) = unbounded_channel::<Mail>();
        let (hung, mut late) = unbounded_channel::<Mail>();
        let said = Arc::new(AtomicU32::new(0));
        let counter = Arc::clone(&said);
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let answer = |mail| match mail {
                Some(Mail::Ping(answer)) => answer.send(()).is_ok(),
                _ => false,
            };
            let watching = tokio::spawn(watch([well, hung].into(), Duration::from_millis(30), move || {
                counter.fetch_add(1, Ordering::Relaxed);
            }));
            assert!(answer(answers.recv().await));
            tokio::time::sleep(Duration::from_millis(100)).await;
            assert_eq!(said.load(Ordering::Relaxed), 0);
            assert!(answer(late.recv().await));
            assert!(answer(answers.recv().await));
            assert_eq!(said.load(Ordering::Relaxed), 1);
            // Its end is no sign of life either.
            drop(late);
            watching.await.expect("it gave up");
            assert_eq!(said.load(Ordering::Relaxed), 1);
        });
    }
}
