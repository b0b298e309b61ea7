//! SNMP (versions 1 and 2c): the objects of `iesp-snmp`, with a board's values. The one part of the firmware that takes a
//! heap: while it makes an answer.

use alloc::string::String;
use alloc::vec::Vec;
use core::net::SocketAddr;

use embassy_net::Stack;
use embassy_time::Instant;
use iesp_snmp::objects::{Index, Source, Table};
use iesp_snmp::{Agent, Config as AgentConfig, Value, Values};

use super::datagrams::Datagrams;
use super::usage::Usage;
use super::{Health, Surroundings};
use crate::board::Board;
use crate::target::{Counters, LUNS, Target};

const PORT: u16 = 161;

/// Requests of one datagram of Ethernet's, and answers to them.
pub(super) const MESSAGE_MAX: usize = 1472;

/// Answers whoever asks and names the community, for ever.
pub(super) async fn run<B: Board, const CONNECTIONS: usize>(
    around: &Surroundings<'_, '_, B, CONNECTIONS>,
    stack: Stack<'_>,
    memory: &mut Datagrams<MESSAGE_MAX>,
    usage: &Usage,
    health: fn() -> Health,
) {
    let Some((socket, bytes)) = memory.open(stack, PORT) else { return };
    let community = Vec::from(around.config.snmp_community.as_bytes());
    let mut agent = Agent::new(AgentConfig { community: Some(community), engine: None });
    loop {
        let Ok((len, from)) = socket.recv_from(&mut bytes[..]).await else { continue };
        let values = Readings::of(around, stack, usage, health());
        let time = Instant::now().as_secs() as u32;
        if let Some(answer) = agent.answer(bytes.get(..len).unwrap_or_default(), time, &values) {
            let _ = socket.send_to(&answer, from.endpoint).await;
        }
    }
}

/// A disk's row.
struct Disk {
    name: String,
    blocks: u64,
    free_percent: u64,
}

/// Everything at one moment.
struct Readings {
    counters: Counters,
    disks: heapless::Vec<Disk, LUNS>,
    disk_rows: heapless::Vec<Index, LUNS>,
    instance: [Index; 1],
    node: [Index; 1],
    portal: Option<SocketAddr>,
    hostname: String,
    target: String,
    segment: u32,
    health: Health,
}

impl Readings {
    fn of<B: Board, const CONNECTIONS: usize>(
        around: &Surroundings<'_, '_, B, CONNECTIONS>,
        stack: Stack<'_>,
        usage: &Usage,
        health: Health,
    ) -> Self {
        let target: &Target<'_, B, CONNECTIONS> = around.target;
        let mut disks = heapless::Vec::new();
        let mut disk_rows = heapless::Vec::new();
        for (number, (lun, name)) in target.luns.iter().zip(around.config.disks()).enumerate() {
            let disk =
                Disk { name: name.into(), blocks: lun.extents.blocks(), free_percent: usage.free_percent(number) };
            // There are as many places as disks.
            let _ = (disks.push(disk), disk_rows.push(Index::new(&[number as u32 + 1])));
        }
        let address = stack.config_v4().map(|config| config.address.address());
        Self {
            counters: target.counters(),
            disks,
            disk_rows,
            instance: [Index::new(&[1])],
            node: [Index::new(&[1, 1])],
            portal: address.map(|address| SocketAddr::new(address.into(), around.port)),
            hostname: around.hostname.as_str().into(),
            target: target.name.as_str().into(),
            segment: around.segment,
            health,
        }
    }

    /// The size of a disk in kB, and what of it nothing was written to.
    fn space(&self, row: Option<usize>) -> Option<(u64, u64)> {
        let disk = self.disks.get(row.unwrap_or(0))?;
        let total = disk.blocks / 2;
        Some((total, total * disk.free_percent / 100))
    }

    fn of_disk(&self, source: Source, row: Option<usize>) -> Option<u64> {
        let (total, free) = self.space(row)?;
        // What is counted, is counted for all disks together: a board has one card.
        let only = |number: u64| (row.is_none() || self.disks.len() == 1).then_some(number);
        match source {
            Source::DiskIndex => Some(row? as u64 + 1),
            Source::BytesRead => only(self.counters.bytes_read),
            Source::BytesWritten => only(self.counters.bytes_written),
            Source::Reads => only(self.counters.reads),
            Source::Writes => only(self.counters.writes),
            Source::DiskFree => self.disks.get(row.unwrap_or(0)).map(|disk| disk.free_percent),
            Source::DiskTotal => Some(total),
            Source::DiskAvailable => Some(free),
            Source::DiskUsed => Some(total - free),
            Source::DiskTotalLow => Some(total & 0xffff_ffff),
            Source::DiskTotalHigh => Some(total >> 32),
            Source::DiskAvailableLow => Some(free & 0xffff_ffff),
            Source::DiskAvailableHigh => Some(free >> 32),
            Source::DiskUsedLow => Some((total - free) & 0xffff_ffff),
            Source::DiskUsedHigh => Some((total - free) >> 32),
            // A disk that cannot be served is none of the target's.
            Source::DiskErrorFlag => Some(0),
            _ => None,
        }
    }

    fn of_target(&self, source: Source) -> Option<u64> {
        let counters = &self.counters;
        Some(match source {
            Source::UpTime => Instant::now().as_millis() / 10,
            Source::Units => counters.units,
            Source::DataIn => counters.bytes_read,
            Source::DataOut => counters.bytes_written,
            Source::SessionFailures => counters.failures.into(),
            Source::DigestErrors => counters.digest_errors.into(),
            Source::FormatErrors => counters.format_errors.into(),
            Source::Logins => counters.logins.into(),
            Source::Logouts | Source::LogoutsOfSessions => counters.logouts.into(),
            Source::LogoutsOther | Source::LogoutsOfConnections | Source::LogoutsForRecovery => 0,
            Source::PortalCount | Source::NodeCount => 1,
            Source::PortalAddressType => 1,
            Source::PortalPort => self.portal?.port().into(),
            Source::SegmentLength => self.segment.into(),
            Source::PortalGroup => 1,
            Source::IoWait => counters.waited_us / 10_000,
            Source::CpuUse => self.health.cpu_percent?.into(),
            Source::FreeRam | Source::RamUnused => (self.health.free_ram? >> 10).into(),
            Source::RamTotal => (self.health.ram? >> 10).into(),
            Source::RamBuffers | Source::RamCached | Source::SwapTotal | Source::SwapFree => 0,
            _ => return None,
        })
    }

    fn text(&self, source: Source, row: Option<usize>) -> Option<String> {
        Some(match source {
            Source::Description => concat!("iESP ", env!("CARGO_PKG_VERSION"), " on a board").into(),
            Source::Contact | Source::Location | Source::NodeAlias => String::new(),
            Source::Name => self.hostname.clone(),
            Source::Program => "iESP".into(),
            Source::Version => env!("CARGO_PKG_VERSION").into(),
            Source::BuildDate => self.health.build_date.into(),
            Source::Architecture => self.health.architecture.into(),
            Source::PortalText => alloc::format!("{}", self.portal?),
            Source::NodeName => self.target.clone(),
            Source::DiskName => self.disks.get(row.unwrap_or(0))?.name.clone(),
            Source::DiskErrorMessage => String::new(),
            _ => return None,
        })
    }
}

impl Values for Readings {
    fn rows(&self, table: Table) -> &[Index] {
        match table {
            Table::Disks => &self.disk_rows,
            Table::Instance => &self.instance,
            Table::Nodes => &self.node,
            // There is one portal: its row is that of the instance, too.
            Table::Portals => &self.node,
            Table::TargetPortals | Table::Sessions | Table::Connections => &[],
        }
    }

    fn value(&self, source: Source, row: Option<usize>) -> Option<Value> {
        if source == Source::PortalAddress {
            return match self.portal? {
                SocketAddr::V4(portal) => Some(Value::Bytes(portal.ip().octets().to_vec())),
                SocketAddr::V6(_) => None,
            };
        }
        if let Some(text) = self.text(source, row) {
            return Some(Value::Text(text));
        }
        self.of_target(source).or_else(|| self.of_disk(source, row)).map(Value::Number)
    }
}
