//! Serving: from the configuration to targets and portals, and stopping.

mod announce;
mod awaited;
mod build;
mod conditions;
mod listen;
mod reload;
mod shards;
mod stop;
mod summary;
mod watch;

use std::net::{SocketAddr, TcpListener as StdListener};
use std::sync::Arc;
use std::time::Instant;

use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;

use crate::cli::{Cli, IoEngine};
use crate::config::{Config, Given};
use crate::control::{About, Control};
use crate::failure::Failure;
use crate::node::{Node, Portal, PortalId};
use crate::snmp::Agent;
use crate::threads::Homes;
use crate::{life, metrics, ring, service, system};
use listen::Listener;
use shards::{Door, Shard};

/// What serves, apart from the connections.
struct Service {
    node: Arc<Node>,
    /// What holds now.
    config: Config,
    portals: Vec<Listening>,
    next_portal: u32,
    agent: Option<JoinHandle<()>>,
    /// Where the process is asked.
    control: Option<(Control, JoinHandle<()>)>,
    metrics: Option<JoinHandle<()>>,
    /// The portals are the service manager's.
    is_given: bool,
    doors: Arc<[Door]>,
}

/// A portal that is listened on.
struct Listening {
    id: PortalId,
    config: crate::config::PortalConfig,
    address: SocketAddr,
    task: JoinHandle<()>,
}

/// The signals that the program acts on, from the moment when this was made: none of them ends it by the system's default.
pub struct Signals {
    stop: stop::Watch,
    reload: system::Reload,
    /// The runtime that takes them, which then accepts connections.
    runtime: Runtime,
}

impl Signals {
    /// Takes them from now on.
    ///
    /// # Errors
    /// Where the system has no handler or no thread left.
    pub fn take() -> Result<Self, Failure> {
        let take = || {
            let runtime = Builder::new_current_thread().enable_all().build()?;
            let entered = runtime.enter();
            let reload = system::Reload::new()?;
            system::outlive_large_files()?;
            drop(entered);
            Ok(Self { stop: stop::Watch::start()?, reload, runtime })
        };
        take().map_err(|error: std::io::Error| Failure::runtime(format!("cannot start serving: {error}")))
    }
}

/// Serves until SIGINT or SIGTERM, then stops in order: initiators are told, everything is flushed.
///
/// # Errors
/// What keeps it from serving; a flush that failed at the end.
pub fn run(
    cli: &Cli,
    given: &Given,
    mut config: Config,
    sockets: Option<Vec<StdListener>>,
    signals: Signals,
) -> Result<(), Failure> {
    let Signals { mut stop, mut reload, runtime } = signals;
    let cannot = |error: std::io::Error| Failure::runtime(format!("cannot start serving: {error}"));
    let is_given = sockets.is_some();
    let listeners: Vec<Listener> = match sockets {
        Some(sockets) => listen::take(sockets, &mut config)?,
        None => config.portals.iter().map(listen::bind).collect::<Result<_, _>>()?,
    };
    let agent = config.snmp.clone().map(Agent::bind).transpose()?;
    let metrics = config.metrics.map(metrics::Server::bind).transpose()?;
    let pid_file = config.pid_file.as_deref().map(life::PidFile::write).transpose()?;
    // Before the disks are opened: those that wait for the network live there.
    let ring = rings(config.engine)?;
    let shard = |number| Shard::start(number, ring);
    let mut shards: Vec<_> = (0..config.threads).map(shard).collect::<std::io::Result<_>>().map_err(cannot)?;
    let homes = Homes::new(shards.iter().map(Shard::home).collect());
    let node = Arc::new(build::node(&config, &listeners, homes)?);
    runtime.block_on(async {
        // It ends with the runtime.
        tokio::spawn(give_memory_back(Arc::clone(&node)));
        let doors: Arc<[_]> = shards.iter().filter_map(Shard::door).collect();
        let mut serving = Service {
            node: Arc::clone(&node),
            portals: Vec::new(),
            next_portal: 0,
            agent: None,
            control: None,
            metrics: None,
            is_given,
            doors: Arc::clone(&doors),
            config,
        };
        let snmp = agent.as_ref().map(Agent::address);
        let told = metrics.as_ref().map(metrics::Server::address);
        for listener in listeners {
            serving.listen(listener).map_err(cannot)?;
        }
        serving.answer_snmp(agent);
        serving.serve_metrics(metrics);
        let watching = service::watchdog().map(|limit| tokio::spawn(watch::watch(doors, limit, service::alive)));
        serving.answer_questions();
        announce::announce(&serving.node, &serving.config, snmp, told);
        advise(&serving.config);
        let names: Vec<_> = serving.config.targets.iter().map(|target| target.name.as_str()).collect();
        let telling = tokio::spawn(summary::tell(Arc::clone(&node)));
        let looking = tokio::spawn(conditions::watch(Arc::clone(&node)));
        service::ready(&format!("serves {}", names.join(", ")));
        life::detach();
        let mut tries = awaited::tries();
        let signal = loop {
            tokio::select! {
                signal = stop.first() => break signal,
                came = awaited::next(Arc::clone(&node), &mut tries) => {
                    serving.welcome(came);
                    continue;
                }
                () = reload.recv() => {}
            }
            // What has begun is brought to its end, which has a limit.
            let reload = serving.reload(cli, given);
            tokio::pin!(reload);
            tokio::select! {
                () = &mut reload => {}
                signal = stop.first() => {
                    reload.await;
                    break signal;
                }
            }
        };
        tracing::info!(signal, "stopping");
        service::stopping();
        for task in watching.iter().chain([&telling, &looking]) {
            task.abort();
        }
        serving.stop().await;
        Ok(())
    })?;
    // Its tasks hold the other ends of what the shards wait for. A disk that is tried again may wait for its server still.
    runtime.shutdown_background();
    shards.iter_mut().for_each(Shard::quieten);
    let flushed = stop::flush(&node);
    stop::close(&node);
    shards.into_iter().for_each(Shard::end);
    tracing::info!(statistics = %node.statistics, "stopped");
    drop(pid_file);
    flushed
}

/// For those who read the log alone.
fn advise(config: &Config) {
    for advice in config.advice() {
        tracing::warn!("{advice}");
    }
}

/// Whether threads that serve connections have rings to wait for files and devices.
fn rings(engine: IoEngine) -> Result<bool, Failure> {
    match (engine, ring::available()) {
        (IoEngine::Threads, _) => tracing::info!("files and devices: disk threads"),
        (_, Ok(())) => {
            tracing::info!("files and devices: io_uring");
            return Ok(true);
        }
        (IoEngine::Auto, Err(error)) => {
            tracing::info!(%error, "files and devices: disk threads, as there is no io_uring");
        }
        (IoEngine::IoUring, Err(error)) => {
            let message =
                format!("there is no io_uring here ({error}): leave out --io-engine, then threads do its work");
            return Err(Failure::runtime(message));
        }
    }
    Ok(false)
}

impl Listening {
    /// As the catalog has it.
    fn portal(&self) -> Portal {
        Portal { id: self.id, name: self.config.name.clone(), address: self.address }
    }
}

impl Service {
    /// Takes connections by a portal.
    fn listen(&mut self, listener: Listener) -> std::io::Result<()> {
        let Listener { config, address, socket } = listener;
        let id = PortalId(self.next_portal);
        self.next_portal += 1;
        let socket = tokio::net::TcpListener::from_std(socket)?;
        let accept = listen::accept(socket, id, Arc::clone(&self.doors), Arc::clone(&self.node));
        self.portals.push(Listening { id, config, address, task: tokio::spawn(accept) });
        Ok(())
    }

    fn answer_snmp(&mut self, agent: Option<Agent>) {
        let node = Arc::clone(&self.node);
        self.agent = agent.map(|agent| {
            tokio::spawn(async move {
                if let Err(error) = agent.serve(node).await {
                    tracing::error!(%error, "SNMP cannot be answered");
                }
            })
        });
    }

    /// Answers `iesp status`. Where that is not possible it serves all the same.
    fn answer_questions(&mut self) {
        let (config, threads) = (self.config.file.clone(), self.config.threads);
        let about = About { since: Instant::now(), config, threads };
        let bound = Control::bind(self.config.control.as_deref()).and_then(|mut control| {
            let task = control.answer(Arc::clone(&self.node), about)?;
            Ok((control, task))
        });
        match bound {
            Ok(control) => self.control = Some(control),
            Err(error) => tracing::warn!(%error, "`iesp status` will not be answered"),
        }
    }

    fn serve_metrics(&mut self, server: Option<metrics::Server>) {
        let node = Arc::clone(&self.node);
        self.metrics = server.map(|server| {
            tokio::spawn(async move {
                if let Err(error) = server.serve(node).await {
                    tracing::error!(%error, "metrics cannot be served");
                }
            })
        });
    }

    /// Has all connections end.
    async fn stop(self) {
        for task in self.portals.iter().map(|portal| &portal.task).chain(&self.agent).chain(&self.metrics) {
            task.abort();
        }
        stop::stop_connections(&self.node).await;
    }
}

/// How long after the end of a connection what it used is given back.
const GIVE_BACK: std::time::Duration = std::time::Duration::from_secs(2);

/// Once connections have ended, what they used goes back to the system, a little later.
async fn give_memory_back(node: Arc<Node>) {
    loop {
        node.ended.notified().await;
        tokio::time::sleep(GIVE_BACK).await;
        system::give_back();
    }
}
