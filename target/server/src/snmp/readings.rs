//! The values: of the target's counters, its disks, its sessions and the host.

use std::cell::OnceCell;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use iesp_iscsi::keys::TaskReporting;
use iesp_snmp::objects::{Index, Source, Table};
use iesp_snmp::{Value, Values};

use crate::backend::Condition;
use crate::host::{self, Host, Memory};
use crate::luns::Lun;
use crate::node::{Catalog, Node, Offer, Portal};
use crate::statistics::{DiskTotals, Failure, Refusal, Row, Seen, Snapshot, TargetTotals, Totals};
use crate::target::PORTAL_GROUP;

/// TruthValue (RFC 2579).
const fn truth(is: bool) -> Value {
    Value::Number(if is { 1 } else { 2 })
}

/// IscsiDigestMethod (RFC 7147).
const fn digest(crc: bool) -> Value {
    Value::Number(if crc { 4 } else { 3 })
}

/// The one iSCSI instance.
const INSTANCE: u32 = 1;

/// The node of a session that has none: a discovery session is counted among the first target's.
const NO_NODE: u32 = 1;

/// ISCSI-MIB: iscsiInstanceSsnErrorStatsEntry and iscsiTargetLoginStatsEntry, whose columns say why something failed.
const SESSION_ERRORS: [u32; 11] = [1, 3, 6, 1, 2, 1, 142, 1, 1, 2, 1];
const LOGINS: [u32; 11] = [1, 3, 6, 1, 2, 1, 142, 1, 6, 2, 1];

/// The values for one request, which all belong to one moment. Nothing is read before it is asked for, and nothing twice.
pub struct Readings<'a> {
    node: &'a Node,
    host: &'a Host,
    catalog: Arc<Catalog>,
    snapshot: OnceCell<Snapshot>,
    disks: OnceCell<Vec<Disk>>,
    states: OnceCell<Vec<Option<Condition>>>,
    memory: OnceCell<Memory>,
    ticks: OnceCell<[u64; 5]>,
    rows: [OnceCell<Vec<Index>>; Table::ALL.len()],
}

/// A row of the totals, and the logical unit that it counts for, as long as that is there.
type Disk = (Row, Option<Arc<Lun>>);

impl<'a> Readings<'a> {
    /// Of this node.
    pub fn new(node: &'a Node, host: &'a Host) -> Self {
        Self {
            node,
            host,
            catalog: node.catalog(),
            snapshot: OnceCell::new(),
            disks: OnceCell::new(),
            states: OnceCell::new(),
            memory: OnceCell::new(),
            ticks: OnceCell::new(),
            rows: Default::default(),
        }
    }

    fn snapshot(&self) -> &Snapshot {
        self.snapshot.get_or_init(|| self.node.statistics.snapshot())
    }

    fn disks(&self) -> &[Disk] {
        self.disks.get_or_init(|| {
            let rows = self.node.statistics.described_rows();
            rows.into_iter().zip(self.node.disks().into_iter().chain(std::iter::repeat(None))).collect()
        })
    }

    /// The targets, each with its number and what is counted for it, by number.
    fn nodes(&self) -> impl Iterator<Item = (u32, &Offer, &TargetTotals)> {
        let numbered = (1..).zip(&self.snapshot().targets);
        numbered.filter_map(|(number, totals)| {
            let offer = self.catalog.offers.iter().find(|offer| offer.target.name == totals.name)?;
            Some((number, offer, totals))
        })
    }

    /// The portals, by number.
    fn portals(&self) -> Vec<&Portal> {
        let mut portals: Vec<_> = self.catalog.portals.iter().collect();
        portals.sort_by_key(|portal| portal.id.0);
        portals
    }

    /// The portals at which targets are offered, with the targets' numbers.
    fn target_portals(&self) -> Vec<(&Portal, u32)> {
        let at = |portal| self.nodes().filter(move |(_, offer, _)| offer.is_at(portal)).map(|(number, ..)| number);
        self.portals().into_iter().flat_map(|portal| at(portal.id).map(move |number| (portal, number))).collect()
    }

    fn node_of(&self, seen: &Seen) -> u32 {
        let target = seen.session.target.as_deref();
        let found = (1..).zip(&self.snapshot().targets).find(|(_, totals)| Some(totals.name.as_str()) == target);
        found.map_or(NO_NODE, |(number, _)| number)
    }

    /// The sessions, in the order of their rows.
    fn sessions(&self) -> Vec<(u32, &Seen)> {
        let mut sessions: Vec<_> = self.snapshot().sessions.iter().map(|seen| (self.node_of(seen), seen)).collect();
        sessions.sort_by_key(|(node, seen)| (*node, seen.session.number));
        sessions
    }

    fn totals(&self) -> &Totals {
        &self.snapshot().totals
    }

    fn memory(&self) -> &Memory {
        self.memory.get_or_init(Memory::now)
    }

    /// Of one disk, or of all.
    fn disk(&self, disk: Option<usize>) -> DiskTotals {
        match disk {
            // Before the first session there is nothing of it in the totals.
            Some(disk) => self.totals().disks.get(disk).copied().unwrap_or_default(),
            None => self.totals().all_disks(),
        }
    }

    fn lun(&self, disk: Option<usize>) -> Option<&Lun> {
        self.disks().get(disk.unwrap_or(0))?.1.as_deref()
    }

    /// Why a disk does not serve.
    fn trouble(&self, disk: Option<usize>) -> Option<&'static str> {
        let states = self.states.get_or_init(|| self.node.states());
        (*states.get(disk.unwrap_or(0))?)?.reason()
    }

    /// A disk's size, and what of it takes space below, in kB.
    fn space(&self, disk: Option<usize>) -> Option<(u64, u64)> {
        let lun = self.lun(disk)?;
        let len = lun.backend.facts().len;
        let used = lun.backend.allocated().unwrap_or(len).min(len);
        Some((len >> 10, used.div_ceil(1 << 10)))
    }

    fn since_start(&self, time: Instant) -> u64 {
        hundredths(time.saturating_duration_since(self.host.started))
    }

    fn make_rows(&self, table: Table) -> Vec<Index> {
        let count = |many: usize| 1..=u32::try_from(many).unwrap_or(u32::MAX);
        let portal = |portal: &Portal| portal.id.0.saturating_add(1);
        match table {
            Table::Disks => count(self.disks().len()).map(|disk| Index::new(&[disk])).collect(),
            Table::Instance => vec![Index::new(&[INSTANCE])],
            Table::Portals => self.portals().into_iter().map(|at| Index::new(&[INSTANCE, portal(at)])).collect(),
            Table::TargetPortals => {
                let rows = self.target_portals().into_iter();
                rows.map(|(at, node)| Index::new(&[INSTANCE, portal(at), node])).collect()
            }
            Table::Nodes => self.nodes().map(|(node, ..)| Index::new(&[INSTANCE, node])).collect(),
            Table::Sessions => {
                let rows = self.sessions().into_iter();
                rows.map(|(node, seen)| Index::new(&[INSTANCE, node, seen.session.number])).collect()
            }
            Table::Connections => {
                let rows = self.sessions().into_iter();
                rows.map(|(node, seen)| Index::new(&[INSTANCE, node, seen.session.number, 1])).collect()
            }
        }
    }

    /// Of the program and the host.
    fn of_host(&self, source: Source) -> Option<Value> {
        let number = |number| Some(Value::Number(number));
        let text = |text: &str| Some(Value::Text(text.to_owned()));
        let ticks = |index: usize| self.ticks.get_or_init(host::cpu_ticks)[index];
        match source {
            Source::Description => text(&self.host.description),
            Source::UpTime => number(hundredths(self.host.started.elapsed())),
            Source::Contact => text(&self.host.contact),
            Source::Location => text(&self.host.location),
            Source::Name => text(&self.host.name),
            Source::Program => text("iesp"),
            Source::Version => text(env!("CARGO_PKG_VERSION")),
            Source::BuildDate => text(&self.host.build_date),
            Source::Architecture => text(&self.host.architecture),
            Source::CpuUse => number(self.host.cpu_percent().into()),
            Source::CpuUser => number(ticks(0)),
            Source::CpuNice => number(ticks(1)),
            Source::CpuSystem => number(ticks(2)),
            Source::CpuIdle => number(ticks(3)),
            Source::CpuWait => number(ticks(4)),
            Source::FreeRam => number(self.memory().available),
            Source::SwapTotal => number(self.memory().swap_total),
            Source::SwapFree => number(self.memory().swap_free),
            Source::RamTotal => number(self.memory().total),
            Source::RamUnused => number(self.memory().unused),
            Source::RamBuffers => number(self.memory().buffers),
            Source::RamCached => number(self.memory().cached),
            _ => None,
        }
    }

    /// Of the target as a whole.
    fn of_target(&self, source: Source) -> Option<Value> {
        let totals = || self.totals();
        let number = |number| Some(Value::Number(number));
        let count = |many: usize| Some(Value::Number(many as u64));
        match source {
            Source::Units => number(totals().units),
            Source::DataIn => number(totals().data_in),
            Source::DataOut => number(totals().data_out),
            Source::SessionFailures => number(totals().failures),
            Source::DigestErrors => number(totals().digest_errors),
            Source::FormatErrors => number(totals().format_errors),
            Source::Logins => number(totals().logins),
            Source::Logouts => number(totals().logouts),
            Source::IoWait => number(hundredths(Duration::from_nanos(totals().waited_nanos))),
            Source::PortalCount => count(self.catalog.portals.len()),
            Source::NodeCount => count(self.nodes().count()),
            Source::SessionCount => count(self.snapshot().sessions.len()),
            Source::FailedByDigest => number(totals().failed_by[0]),
            Source::FailedByTimeout => number(totals().failed_by[1]),
            Source::FailedByFormat => number(totals().failed_by[2]),
            Source::LastSessionFailure => {
                let column = self.snapshot().last_failure.as_ref().and_then(|last| match last.why {
                    Failure::Digest => Some(1),
                    Failure::Timeout => Some(2),
                    Failure::Format => Some(3),
                    Failure::Other => None,
                });
                Some(pointer(&SESSION_ERRORS, column))
            }
            Source::LastSessionInitiator => {
                let last = self.snapshot().last_failure.as_ref();
                Some(Value::Text(last.map_or_else(String::new, |last| last.initiator.clone())))
            }
            _ => None,
        }
    }

    /// Of a target.
    fn of_node(&self, source: Source, row: Option<usize>) -> Option<Value> {
        let (_, offer, totals) = self.nodes().nth(row?)?;
        let limits = self.catalog.settings.limits;
        let number = |number: u64| Some(Value::Number(number));
        let refused = |why: Refusal| Some(Value::Number(totals.refusals[why as usize]));
        match source {
            Source::NodeName => Some(Value::Text(offer.target.name.clone())),
            Source::NodeAlias => Some(Value::Text(offer.alias.clone().unwrap_or_default())),
            Source::NodeInitialR2t => Some(truth(limits.initial_r2t)),
            Source::NodeImmediateData => Some(truth(limits.immediate_data)),
            Source::NodeMaxOutstandingR2t => number(limits.max_outstanding_r2t.into()),
            Source::NodeFirstBurst => number(limits.first_burst_length.into()),
            Source::NodeMaxBurst => number(limits.max_burst_length.into()),
            Source::NodeMaxConnections => number(1),
            Source::NodeTime2Wait => number(limits.default_time2wait.into()),
            Source::NodeTime2Retain => number(limits.default_time2retain.into()),
            Source::NodeRecoveryLevel => number(0),
            Source::Logins => number(totals.logins),
            Source::LogoutsOfSessions => number(totals.logout_reasons[0]),
            Source::LogoutsOther => number(totals.logout_reasons[1..].iter().sum()),
            Source::LogoutsOfConnections => number(totals.logout_reasons[1]),
            Source::LogoutsForRecovery => number(totals.logout_reasons[2]),
            Source::LoginFailures => number(totals.refusals.iter().sum()),
            Source::RefusedOther => refused(Refusal::Other),
            Source::RefusedRedirect => refused(Refusal::Redirect),
            Source::RefusedAuthorize => refused(Refusal::Authorize),
            Source::RefusedAuthenticate => refused(Refusal::Authenticate),
            Source::RefusedNegotiate => refused(Refusal::Negotiate),
            _ => self.of_refusal(source, totals),
        }
    }

    /// Of the last login to a target that was refused.
    fn of_refusal(&self, source: Source, totals: &TargetTotals) -> Option<Value> {
        let last = totals.last_refusal.as_ref();
        Some(match source {
            Source::LastRefusalTime => Value::Number(last.map_or(0, |last| self.since_start(last.at))),
            Source::LastRefusalType => pointer(&LOGINS, last.map(|last| last.why as u32 + 2)),
            Source::LastRefusalInitiator => Value::Text(last.map_or_else(String::new, |last| last.initiator.clone())),
            // InetAddressType: 0 is unknown, with an empty address.
            Source::LastRefusalAddressType => last.map_or(Value::Number(0), |last| address_type(last.peer)),
            Source::LastRefusalAddress => last.map_or(Value::Bytes(Vec::new()), |last| address(last.peer)),
            Source::LastRefusalPort => Value::Number(last.map_or(0, |last| last.peer.port().into())),
            _ => return None,
        })
    }

    /// Of a portal.
    fn of_portal(&self, source: Source, row: Option<usize>) -> Option<Value> {
        let limits = self.catalog.settings.limits;
        let portal = || Some(self.portals().get(row?)?.address);
        let number = |number: u32| Some(Value::Number(number.into()));
        match source {
            Source::PortalAddressType => Some(address_type(portal()?)),
            Source::PortalAddress => Some(address(portal()?)),
            Source::PortalPort => number(self.target_portals().get(row?)?.0.address.port().into()),
            Source::PortalText => Some(Value::Text(portal()?.to_string())),
            Source::PortalGroup => number(PORTAL_GROUP.into()),
            Source::SegmentLength => number(limits.declared_segment_length()),
            Source::PreferredDigest => Some(digest(limits.digests)),
            _ => None,
        }
    }

    fn of_disk(&self, source: Source, disk: Option<usize>) -> Option<Value> {
        let number = |number| Some(Value::Number(number));
        let low = |number: u64| Some(Value::Number(number & 0xffff_ffff));
        let free = |(total, used): (u64, u64)| total.saturating_sub(used);
        match source {
            Source::DiskIndex => number(disk.map_or(0, |disk| disk as u64 + 1)),
            Source::DiskName => {
                let row = self.disks().get(disk.unwrap_or(0)).map(|(row, _)| row.name.clone());
                Some(Value::Text(row.unwrap_or_default()))
            }
            Source::BytesRead => number(self.disk(disk).read_bytes),
            Source::BytesWritten => number(self.disk(disk).written_bytes),
            Source::Reads => number(self.disk(disk).reads),
            Source::Writes => number(self.disk(disk).writes),
            Source::DiskFree => number(self.lun(disk).map_or(0, free_percent)),
            Source::DiskTotal => number(self.space(disk)?.0),
            Source::DiskUsed => number(self.space(disk)?.1),
            Source::DiskAvailable => number(free(self.space(disk)?)),
            Source::DiskTotalLow => low(self.space(disk)?.0),
            Source::DiskTotalHigh => number(self.space(disk)?.0 >> 32),
            Source::DiskUsedLow => low(self.space(disk)?.1),
            Source::DiskUsedHigh => number(self.space(disk)?.1 >> 32),
            Source::DiskAvailableLow => low(free(self.space(disk)?)),
            Source::DiskAvailableHigh => number(free(self.space(disk)?) >> 32),
            Source::DiskErrorFlag => number(u64::from(self.trouble(disk).is_some())),
            Source::DiskErrorMessage => Some(Value::Text(self.trouble(disk).unwrap_or_default().to_owned())),
            _ => None,
        }
    }

    fn of_session(&self, source: Source, row: Option<usize>) -> Option<Value> {
        let (_, Seen { session, counted }) = *self.sessions().get(row?)?;
        let parameters = &session.parameters;
        let number = |number: u64| Some(Value::Number(number));
        let text = |text: &str| Some(Value::Text(text.to_owned()));
        match source {
            Source::SessionInitiator => text(&session.initiator),
            Source::SessionTarget => text(session.target.as_deref().unwrap_or_default()),
            Source::SessionTsih => number(session.tsih.into()),
            Source::SessionIsid => Some(Value::Bytes(session.isid.to_vec())),
            Source::SessionInitiatorAlias => text(&session.alias),
            Source::SessionTargetAlias => {
                let name = session.target.as_deref();
                let offer = self.catalog.offers.iter().find(|offer| Some(offer.target.name.as_str()) == name);
                text(offer.and_then(|offer| offer.alias.as_deref()).unwrap_or_default())
            }
            Source::SessionInitialR2t => Some(truth(parameters.initial_r2t)),
            Source::SessionImmediateData => Some(truth(parameters.immediate_data)),
            Source::SessionType => number(if session.target.is_some() { 1 } else { 2 }),
            Source::SessionMaxOutstandingR2t => number(parameters.max_outstanding_r2t.into()),
            Source::SessionFirstBurst => number(parameters.first_burst_length.into()),
            Source::SessionMaxBurst => number(parameters.max_burst_length.into()),
            Source::SessionConnections => number(1),
            Source::SessionSequenceInOrder => Some(truth(parameters.data_sequence_in_order)),
            Source::SessionPduInOrder => Some(truth(parameters.data_pdu_in_order)),
            Source::SessionRecoveryLevel => number(parameters.error_recovery_level.into()),
            Source::SessionBegan => number(self.since_start(session.began)),
            Source::SessionProtocolLevel => number(parameters.protocol_level.into()),
            Source::SessionTaskReporting => Some(Value::Bytes(vec![match parameters.task_reporting {
                TaskReporting::Rfc3720 => 0x80,
                TaskReporting::ResponseFence => 0x40,
                TaskReporting::FastAbort => 0x20,
            }])),
            Source::SessionCommands => number(counted.commands),
            Source::SessionResponses => number(counted.responses),
            Source::SessionDataIn => number(counted.data_in),
            Source::SessionDataOut => number(counted.data_out),
            Source::SessionNopsReceived => number(counted.nops_received),
            Source::SessionNopsSent => number(counted.nops_sent),
            Source::SessionDigestErrors => number(counted.digest_errors),
            Source::SessionTimeouts => number(counted.timeouts),
            Source::ConnectionCid => number(session.cid.into()),
            Source::ConnectionState => number(2),
            Source::ConnectionAddressType => Some(address_type(session.local)),
            Source::ConnectionLocalAddress => Some(address(session.local)),
            Source::ConnectionLocalPort => number(session.local.port().into()),
            Source::ConnectionRemoteAddress => Some(address(session.peer)),
            Source::ConnectionRemotePort => number(session.peer.port().into()),
            Source::ConnectionReceiveLength => number(parameters.max_recv_data_segment_length.into()),
            Source::ConnectionSendLength => number(parameters.peer_max_recv_data_segment_length.into()),
            Source::ConnectionHeaderDigest => Some(digest(parameters.header_digest)),
            Source::ConnectionDataDigest => Some(digest(parameters.data_digest)),
            _ => None,
        }
    }
}

impl Values for Readings<'_> {
    fn rows(&self, table: Table) -> &[Index] {
        self.rows[table as usize].get_or_init(|| self.make_rows(table))
    }

    fn value(&self, source: Source, row: Option<usize>) -> Option<Value> {
        self.of_host(source)
            .or_else(|| self.of_node(source, row))
            .or_else(|| self.of_target(source))
            .or_else(|| self.of_portal(source, row))
            .or_else(|| self.of_disk(source, row))
            .or_else(|| self.of_session(source, row))
    }
}

/// How much of a disk takes no space, in percent, rounded down.
fn free_percent(lun: &Lun) -> u64 {
    let len = u128::from(lun.backend.facts().len.max(1));
    let Some(allocated) = lun.backend.allocated() else { return 0 };
    (len.saturating_sub(allocated.into()) * 100 / len) as u64
}

/// A column, or nothing.
fn pointer(entry: &[u32], column: Option<u32>) -> Value {
    Value::Name(column.map_or_else(Vec::new, |column| [entry, &[column]].concat()))
}

/// InetAddressType (RFC 4001).
fn address_type(address: SocketAddr) -> Value {
    Value::Number(if address.ip().to_canonical().is_ipv4() { 1 } else { 2 })
}

/// InetAddress (RFC 4001).
fn address(address: SocketAddr) -> Value {
    Value::Bytes(match address.ip().to_canonical() {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    })
}

fn hundredths(time: Duration) -> u64 {
    u64::try_from(time.as_millis() / 10).unwrap_or(u64::MAX)
}
