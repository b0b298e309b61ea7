//! What a board does beside serving disks: its log goes over the network, it learns the time of day, it is found by its name,
//! it answers SNMP, it keeps in touch with an access point. A board without RAM for that has [`NoServices`].

mod datagrams;
mod mdns;
mod server;
#[cfg(feature = "snmp")]
mod snmp;
mod syslog;
mod time;
mod usage;
mod wall_clock;
pub mod wifi;

use core::future::pending;

use embassy_futures::join::{join3, join4};
use embassy_net::Stack;

use super::Hostname;
use crate::board::Board;
use crate::config::Config;
use crate::target::Target;
use datagrams::Datagrams;
use server::Server;
use usage::Usage;
use wall_clock::WallClock;
use wifi::Radio;

/// What the services are for.
pub struct Surroundings<'a, 'm, B: Board, const CONNECTIONS: usize> {
    /// The target.
    pub target: &'a Target<'m, B, CONNECTIONS>,
    /// What the owner says.
    pub config: &'a Config,
    /// The board's name.
    pub hostname: &'a Hostname,
    /// The target's port.
    pub port: u16,
    /// Data that one unit to the target may carry, in bytes.
    pub segment: u32,
}

/// What runs beside the connections.
#[allow(async_fn_in_trait, reason = "one executor thread: nobody needs these futures to be Send")]
pub trait Services {
    /// Runs, for ever.
    async fn run<B: Board, const CONNECTIONS: usize>(
        self,
        stack: Stack<'_>,
        around: Surroundings<'_, '_, B, CONNECTIONS>,
    );
}

/// Nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoServices;

impl Services for NoServices {
    async fn run<B: Board, const CONNECTIONS: usize>(self, _: Stack<'_>, _: Surroundings<'_, '_, B, CONNECTIONS>) {
        pending().await
    }
}

/// When the program was built, as 2026-01-31: whoever builds it says so by this variable, or it is empty.
pub const BUILD_DATE: &str = match option_env!("IESP_BUILD_DATE") {
    Some(date) => date,
    None => "",
};

/// What only the board itself knows, for SNMP.
#[derive(Clone, Copy, Debug)]
pub struct Health {
    /// How busy its CPU was lately.
    pub cpu_percent: Option<u8>,
    /// Its RAM, and what of it nothing uses, in bytes.
    pub ram: Option<u32>,
    /// See `ram`.
    pub free_ram: Option<u32>,
    /// When the program was built.
    pub build_date: &'static str,
    /// What it runs on.
    pub architecture: &'static str,
}

impl Default for Health {
    fn default() -> Self {
        Self { cpu_percent: None, ram: None, free_ram: None, build_date: BUILD_DATE, architecture: "" }
    }
}

/// The memory of all services: a board keeps it in a `static`.
pub struct ServiceMemory {
    syslog: Datagrams<{ syslog::MESSAGE_MAX }>,
    time: Datagrams<{ time::MESSAGE_MAX }>,
    mdns: Datagrams<{ mdns::MESSAGE_MAX }>,
    mdns_answer: [u8; mdns::MESSAGE_MAX],
    #[cfg(feature = "snmp")]
    snmp: Datagrams<{ snmp::MESSAGE_MAX }>,
}

impl ServiceMemory {
    /// Nothing in it.
    pub const fn new() -> Self {
        Self {
            syslog: Datagrams::new(),
            time: Datagrams::new(),
            mdns: Datagrams::new(),
            mdns_answer: [0; mdns::MESSAGE_MAX],
            #[cfg(feature = "snmp")]
            snmp: Datagrams::new(),
        }
    }
}

impl Default for ServiceMemory {
    fn default() -> Self {
        Self::new()
    }
}

/// All services, as the configuration wants them. They take four sockets of UDP.
pub struct NetworkServices<'m, R> {
    /// Their memory.
    pub memory: &'m mut ServiceMemory,
    /// The WiFi, where the board has one: [`wifi::NoRadio`] otherwise.
    pub radio: R,
    /// What only the board itself knows.
    pub health: fn() -> Health,
}

impl<R: Radio> Services for NetworkServices<'_, R> {
    async fn run<B: Board, const CONNECTIONS: usize>(
        self,
        stack: Stack<'_>,
        around: Surroundings<'_, '_, B, CONNECTIONS>,
    ) {
        let Self { memory, mut radio, health } = self;
        let Surroundings { target, config, hostname, port, .. } = around;
        let clock = WallClock::default();
        let usage = Usage::default();
        let log_server = Server::of(target, "syslog-host", &config.syslog_host, syslog::PORT);
        let time_server = Server::of(target, "ntp-host", &config.ntp_host, time::PORT);
        let log = async {
            if let Some(server) = log_server {
                let known = time_server.is_some();
                syslog::run(target, stack, &mut memory.syslog, (server, hostname), (&clock, known)).await;
            }
        };
        let time = async {
            if let Some(server) = time_server {
                time::run(target, stack, &mut memory.time, server, &clock).await;
            }
        };
        let found = mdns::run(stack, (&mut memory.mdns, &mut memory.mdns_answer), (hostname, &target.name, port));
        let joined = async {
            if !config.wifi.is_empty() {
                wifi::keep(target, &mut radio, &config.wifi).await;
            }
        };
        let watched = usage::watch(target, config.update_df_interval, &usage);
        #[cfg(feature = "snmp")]
        let asked = snmp::run(&around, stack, &mut memory.snmp, &usage, health);
        #[cfg(not(feature = "snmp"))]
        let asked = async { _ = health };
        join3(join4(log, time, found, joined), watched, asked).await;
    }
}
