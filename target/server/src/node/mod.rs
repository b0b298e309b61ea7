//! The iSCSI node (RFC 7143 4.1): its targets and portals, who is connected, and what all of them share.
//!
//! A connection looks at the [`Catalog`] at its login and when it is asked for the targets, never for a command: what it needs
//! for that it was given at its login, or by a message since.

mod catalog;
mod door;
mod listing;
mod waiting;

pub use catalog::{Catalog, Offer, Portal, PortalId, Settings};
pub use door::Door;
pub use listing::Listing;
pub use waiting::Waiting;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use iesp_iscsi::connection::Statistics as Counted;
use tokio::sync::Notify;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::backend::Condition;
use crate::buffers::Budget;
use crate::clock::Clock;
use crate::disk::{Place, Registry};
use crate::luns::{Lun, Luns};
use crate::messages::{Message, Receipt};
use crate::statistics::{Counters, SessionTotals, Statistics};
use crate::target::Target;
use crate::threads::Homes;

/// The node, for the whole life of the program.
#[derive(Debug)]
pub struct Node {
    /// Threads that serve connections, where backends may live.
    pub homes: Homes,
    /// Memory for payloads.
    pub budget: Budget,
    /// The time.
    pub clock: Clock,
    /// What was counted.
    pub statistics: Statistics,
    /// The disks, each once.
    pub registry: Registry,
    waiting: Mutex<Vec<Waiting>>,
    catalog: RwLock<Arc<Catalog>>,
    connections: Mutex<Connections>,
    /// A connection has ended.
    pub ended: Notify,
}

#[derive(Debug, Default)]
struct Connections {
    list: Vec<Connected>,
    last_tsih: u16,
}

#[derive(Debug)]
struct Connected {
    tsih: u16,
    /// It has a session with a target.
    is_kept: bool,
    /// It was asked to end, and another has its place.
    is_displaced: bool,
    portal: PortalId,
    mail: UnboundedSender<Message>,
    counters: Arc<Counters>,
}

impl Node {
    /// A node with nobody there.
    pub fn new(catalog: Catalog, homes: Homes, statistics: Statistics, registry: Registry) -> Self {
        number_targets(&statistics, &catalog);
        Self {
            homes,
            budget: Budget::new(catalog.settings.memory, catalog.settings.sessions),
            clock: Clock::start(),
            statistics,
            registry,
            waiting: Mutex::default(),
            catalog: RwLock::new(Arc::new(catalog)),
            connections: Mutex::default(),
            ended: Notify::new(),
        }
    }

    /// What there is now.
    pub fn catalog(&self) -> Arc<Catalog> {
        Arc::clone(&self.catalog.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Offers something else from now on.
    pub fn publish(&self, catalog: Catalog) {
        number_targets(&self.statistics, &catalog);
        let old = self.catalog();
        self.budget.resize(catalog.settings.memory, catalog.settings.sessions);
        if old.trace != catalog.trace {
            for connection in &self.list().list {
                // A connection that has ended shows nothing.
                let _ = connection.mail.send(Message::Trace(catalog.trace.clone()));
            }
        }
        *self.catalog.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(catalog);
    }

    fn list(&self) -> MutexGuard<'_, Connections> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where disks are opened.
    pub const fn place(&self) -> Place<'_> {
        Place { statistics: &self.statistics, homes: &self.homes, registry: &self.registry, claims: &[] }
    }

    /// The disks that are wanted and not there.
    pub fn waiting(&self) -> MutexGuard<'_, Vec<Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A task of a logical unit ended that those of its other paths may wait for.
    #[inline]
    pub fn wake_other_paths(&self, target: &str, lun: &Lun) {
        if lun.path.disk().is_shared() {
            self.other_paths(target, lun, |target, number| target.wake(number));
        }
    }

    /// Has the tasks of a logical unit aborted that came by its other paths; the receipt's clones are dropped when they are
    /// quiet.
    pub fn abort_other_paths(&self, target: &str, lun: &Lun, receipt: &Receipt) {
        self.other_paths(target, lun, |target, number| target.abort_all(number, receipt));
    }

    #[cold]
    fn other_paths(&self, target: &str, lun: &Lun, each: impl Fn(&Target, u16)) {
        let catalog = self.catalog();
        let paths = lun.path.disk().paths();
        for (name, number) in paths.iter().filter(|(name, number)| (&**name, *number) != (target, lun.number)) {
            if let Some(offer) = catalog.offers.iter().find(|offer| offer.target.name == *name) {
                each(&offer.target, *number);
            }
        }
    }

    /// All logical units, by the rows of the totals; `None` for those that are gone.
    pub fn disks(&self) -> Vec<Option<Arc<Lun>>> {
        let mut disks = vec![None; self.statistics.rows()];
        let catalog = self.catalog();
        for offer in &catalog.offers {
            for lun in offer.target.luns().iter() {
                if let Some(disk) = disks.get_mut(usize::from(lun.row)) {
                    *disk = Some(Arc::clone(lun));
                }
            }
        }
        disks
    }

    /// How each disk is, by the rows of the totals; `None` for those that are gone.
    pub fn states(&self) -> Vec<Option<Condition>> {
        let luns = self.disks();
        let state = |lun: &Option<Arc<Lun>>| lun.as_ref().map(|lun| lun.trouble.state(lun).condition);
        let mut states: Vec<_> = luns.iter().map(state).collect();
        for waiting in self.waiting().iter() {
            if let Some(state) = states.get_mut(usize::from(waiting.row)) {
                *state = Some(Condition::Waiting("it is not there"));
            }
        }
        states
    }

    /// A connection came. It is known until its entry is dropped.
    ///
    /// Where there are as many as there may be, it takes the place of the one that has had the most time to log in, so that those
    /// that never do shut nobody out. `None`: all have sessions.
    pub fn admit(self: &Arc<Self>, portal: PortalId, most: usize) -> Option<Admitted> {
        let mut connections = self.list();
        if connections.list.iter().filter(|other| !other.is_displaced).count() >= most {
            let oldest = connections.list.iter_mut().find(|other| !other.is_kept && !other.is_displaced)?;
            oldest.is_displaced = true;
            // One that has ended meanwhile leaves its place, too.
            let _ = oldest.mail.send(Message::Close("its place was needed, and it had no session"));
        }
        let taken = |tsih: u16| connections.list.iter().any(|other| other.tsih == tsih);
        // RFC 7143 11.12.6: 0 is reserved.
        let mut tsih = connections.last_tsih.checked_add(1).unwrap_or(1);
        while taken(tsih) {
            tsih = tsih.checked_add(1).unwrap_or(1);
        }
        connections.last_tsih = tsih;
        let counters = self.statistics.open();
        let (mail, mailbox) = unbounded_channel();
        connections.list.push(Connected {
            tsih,
            is_kept: false,
            is_displaced: false,
            portal,
            mail: mail.clone(),
            counters: Arc::clone(&counters),
        });
        let entry = Entry { node: Arc::clone(self), tsih, counters };
        Some(Admitted { node: Arc::clone(self), portal, entry, mail, mailbox })
    }

    /// Asks all initiators to log out.
    pub fn shut_down(&self) {
        for connection in &self.list().list {
            // A connection that has ended needs no message.
            let _ = connection.mail.send(Message::Shutdown("iesp stops"));
        }
    }

    /// Asks the initiators to log out that came by portals that are there no longer.
    pub fn leave_portals(&self, gone: impl Fn(PortalId) -> bool) {
        for connection in self.list().list.iter().filter(|connection| gone(connection.portal)) {
            // A connection that has ended needs no message.
            let _ = connection.mail.send(Message::Shutdown("the portal is there no longer"));
        }
    }

    /// Connections that there are.
    pub fn connections(&self) -> usize {
        self.list().list.len()
    }

    /// What the connection of this session has counted.
    pub fn counted(&self, tsih: u16) -> Option<SessionTotals> {
        self.list().list.iter().find(|connection| connection.tsih == tsih).map(|own| own.counters.session())
    }
}

/// Targets have their numbers in the order of the configuration, whoever comes first.
fn number_targets(statistics: &Statistics, catalog: &Catalog) {
    for offer in &catalog.offers {
        statistics.target(&offer.target.name);
    }
}

/// A connection that came, and has a place.
#[derive(Debug)]
pub struct Admitted {
    /// To whom.
    pub node: Arc<Node>,
    /// By which portal.
    pub portal: PortalId,
    /// Its place.
    pub entry: Entry,
    /// Its mailbox, and the way into it.
    pub mail: UnboundedSender<Message>,
    /// What came.
    pub mailbox: UnboundedReceiver<Message>,
}

/// A connection that is there.
#[derive(Debug)]
pub struct Entry {
    node: Arc<Node>,
    tsih: u16,
    counters: Arc<Counters>,
}

impl Entry {
    /// What its session is called.
    pub const fn tsih(&self) -> u16 {
        self.tsih
    }

    /// It has a session with a target: it keeps its place.
    pub fn keep(&self) {
        let mut connections = self.node.list();
        if let Some(own) = connections.list.iter_mut().find(|own| own.tsih == self.tsih) {
            own.is_kept = true;
        }
    }

    /// Where it counts, on the one thread that serves it.
    #[inline]
    pub const fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }

    /// It has other logical units from now on. What the protocol counted until now, and where it counts from now on.
    pub fn renew(&mut self, luns: &Luns, counted: &Counted) {
        self.counters = self.node.statistics.renew(&self.counters, luns.rows(), counted);
        let mut connections = self.node.list();
        if let Some(own) = connections.list.iter_mut().find(|own| own.tsih == self.tsih) {
            own.counters = Arc::clone(&self.counters);
        }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.node.statistics.close(&self.counters);
        self.node.list().list.retain(|connection| connection.tsih != self.tsih);
        self.node.ended.notify_one();
    }
}
