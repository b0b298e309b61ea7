//! An export of an NBD server (doc/proto.md of the NBD project; its rules are cited as "NBD").
//!
//! One thread has all connections of an export, and it is one of those that serve initiators ([`crate::threads`]): work of these
//! becomes calls without a detour; that of others comes as orders. A call goes to the lane of a connection ([`lane`]), which
//! sends it and matches the reply ([`replies`]) by its cookie. [`client`] makes lost connections again, and has the [`journal`]
//! written to them first.

mod address;
mod call;
mod client;
mod connect;
mod courtesy;
mod handshake;
mod journal;
mod lane;
mod link;
mod protocol;
mod replies;
mod tls;
mod work;

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::Duration;

use iesp_scsi::{IoError, Outcome};
use tokio::sync::mpsc::error::SendError;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::spawn_local;
use tokio::time::timeout;

pub use address::{Address, ExportKey};
pub use tls::TlsFiles;

use super::{Backend, Condition, Facts, Patience, Served};
use crate::buffers::Buffer;
use crate::pool::{Job, Work};
use crate::threads::Homes;
use client::{ATTEMPT, Client, Shown};
use connect::{ConnectError, connect};
use handshake::Export;
use tls::{Tls, TlsError};
use work::Worker;

/// How an export is served.
#[derive(Debug, Clone)]
pub struct NbdOptions {
    /// Writes are refused.
    pub read_only: bool,
    /// Bytes of a logical block, of which the size must be a multiple.
    pub block_size: u32,
    /// UNMAP gives space back.
    pub unmap: bool,
    /// A write of zeros gives space back, too.
    pub unmap_zeros: bool,
    /// How long commands wait for a server that is away.
    pub reconnect: Duration,
    /// Other clients write to the export, too.
    pub shared: bool,
    /// For servers that are spoken to by TLS.
    pub tls: TlsFiles,
}

/// Why an export cannot be served; what to do stands in the message.
#[derive(Debug, thiserror::Error)]
pub enum NbdError {
    /// No server, or no such export.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// TLS cannot be had with what was given for it.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// No blocks.
    #[error("the export is empty: give it a size on the server")]
    Empty,
    /// Not whole blocks.
    #[error(
        "the export's size of {size} bytes is no multiple of the block size of {block} bytes: change its size on the server{}",
        if *block > 512 && size.is_multiple_of(512) { ", or add --block-size 512" } else { "" }
    )]
    NotWholeBlocks {
        /// Bytes.
        size: u64,
        /// Bytes.
        block: u32,
    },
    /// The system says so.
    #[error("{0}")]
    Io(#[from] std::io::Error),
}

/// A backend on an export.
#[derive(Debug)]
pub struct NbdBackend {
    /// But for the size.
    facts: Facts,
    /// In bytes.
    len: Arc<AtomicU64>,
    shown: Arc<Shown>,
    orders: UnboundedSender<Order>,
    /// By which its worker is known on its thread.
    number: usize,
}

/// The number of the next backend.
static NUMBERS: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    /// The workers of this thread, by their backends' numbers.
    static WORKERS: RefCell<Vec<(usize, Rc<Worker>)>> = const { RefCell::new(Vec::new()) };
}

/// To the thread of an export, from another one or for what takes several requests.
enum Order {
    /// To be answered by its own way.
    Job(Job),
    /// Somebody waits for the answer.
    Wait(Work, Buffer, SyncSender<(Outcome, Buffer)>),
    /// The disk is to be given back after writes were lost.
    Restore(SyncSender<Result<bool, IoError>>),
    /// Bytes will be wanted.
    Cache { offset: u64, len: u64 },
    /// Who is told of another size.
    Watch(Box<dyn Fn(u64) + Send>),
    /// The end.
    Stop,
}

impl NbdBackend {
    /// Connects to a server, on a thread that serves initiators: there the export lives from then on.
    ///
    /// # Errors
    /// [`NbdError`], for people to read.
    pub fn open(address: &Address, options: &NbdOptions, homes: &Homes) -> Result<Self, NbdError> {
        let tls = if address.tls { Some(Tls::new(&options.tls, &address.endpoint)?) } else { None };
        let (orders, inbox) = unbounded_channel();
        let (ready, opened) = sync_channel(1);
        let number = NUMBERS.fetch_add(1, Ordering::Relaxed);
        let own = options.clone();
        let len = Arc::new(AtomicU64::new(0));
        let client_len = Arc::clone(&len);
        let shown = Arc::<Shown>::default();
        let client_shown = Arc::clone(&shown);
        let place = address.clone();
        let live = async move || {
            let attempt = timeout(ATTEMPT, connect(&place, tls.as_ref()));
            let (streams, export) = match attempt.await.unwrap_or(Err(ConnectError::Silent)) {
                Ok(connected) => connected,
                // Whoever waits for it is there.
                Err(error) => return drop(ready.send(Err(error))),
            };
            client_len.store(export.len, Ordering::Relaxed);
            let client = Rc::new(Client::new(place, tls, export, client_len, client_shown, &own));
            let worker = Rc::new(Worker::new(Rc::clone(&client), own.unmap, own.unmap_zeros));
            WORKERS.with_borrow_mut(|workers| workers.push((number, Rc::clone(&worker))));
            let _ = ready.send(Ok(export));
            let running = Rc::clone(&client);
            let run = spawn_local(async move { running.run(streams).await });
            take_orders(inbox, &worker).await;
            WORKERS.with_borrow_mut(|workers| workers.retain(|(other, _)| *other != number));
            client.stop(run).await;
        };
        if !homes.take_in(Box::new(move || Box::pin(live()))) {
            return Err(std::io::Error::other("there is no thread for it").into());
        }
        let export = opened.recv().map_err(|_| std::io::Error::other("its thread has ended"))??;
        let kind = if options.shared {
            "shared: other clients may write to it, so that a lost connection loses writes since the last flush"
        } else {
            "exclusive: writes since the last flush are repeated after a lost connection"
        };
        tracing::info!(export = %address, kind, "connected to the NBD server");
        // Where it is not taken, the end of the orders ends what lives there.
        Ok(Self { facts: facts(&export, options)?, len, shown, orders, number })
    }

    /// Has the work done and waits for it.
    fn wait(&self, work: Work, buffer: Buffer) -> Result<(Outcome, Buffer), IoError> {
        let (done, answer) = sync_channel(1);
        self.orders.send(Order::Wait(work, buffer, done)).map_err(|_| IoError::NotReady)?;
        match answer.recv().map_err(|_| IoError::NotReady)? {
            (Outcome::Failed(error), _) => Err(error),
            answer => Ok(answer),
        }
    }

    fn perform(&self, work: Work, buffer: &[u8], patience: Patience) -> Result<Served, IoError> {
        match patience {
            Patience::None => Ok(Served::WouldBlock),
            Patience::Any => self.wait(work, Buffer::of(buffer)).map(|_| Served::Done(())),
        }
    }
}

impl Drop for NbdBackend {
    fn drop(&mut self) {
        self.close();
    }
}

impl Backend for NbdBackend {
    fn facts(&self) -> Facts {
        Facts { len: self.len.load(Ordering::Relaxed), ..self.facts }
    }

    fn submit(&self, job: Job) -> Result<(), Job> {
        let begin = |workers: &Vec<(usize, Rc<Worker>)>| match workers.iter().find(|(number, _)| *number == self.number)
        {
            Some((_, worker)) => worker.begin(job),
            None => Err(job),
        };
        let Err(job) = WORKERS.with_borrow(begin) else { return Ok(()) };
        match self.orders.send(Order::Job(job)) {
            // The thread has ended: the call that comes instead will be told so.
            Err(SendError(Order::Job(job))) => Err(job),
            _ => Ok(()),
        }
    }

    fn read(&self, offset: u64, buffer: &mut [u8], patience: Patience) -> Result<Served, IoError> {
        if patience == Patience::None {
            return Ok(Served::WouldBlock);
        }
        let (_, bytes) = self.wait(Work::Read { offset, len: buffer.len() }, Buffer::new(buffer.len()))?;
        buffer.copy_from_slice(bytes.get(..buffer.len()).ok_or(IoError::Other)?);
        Ok(Served::Done(()))
    }

    fn write(&self, offset: u64, data: &[u8], durable: bool, patience: Patience) -> Result<Served, IoError> {
        self.perform(Work::Write { offset, from: 0, len: data.len(), durable }, data, patience)
    }

    fn flush(&self, patience: Patience) -> Result<Served, IoError> {
        self.perform(Work::Flush, &[], patience)
    }

    fn unmap(&self, offset: u64, len: u64, patience: Patience) -> Result<Served, IoError> {
        self.perform(Work::Unmap { offset, len }, &[], patience)
    }

    fn zero(&self, offset: u64, len: u64, unmap: bool, patience: Patience) -> Result<Served, IoError> {
        self.perform(Work::Zero { offset, len, unmap }, &[], patience)
    }

    fn extent(&self, offset: u64, len: u64, patience: Patience) -> Result<Served<(bool, u64)>, IoError> {
        if patience == Patience::None {
            return Ok(Served::WouldBlock);
        }
        match self.wait(Work::Extent { offset, len, block: 1 }, Buffer::default())? {
            (Outcome::Extent { mapped, blocks }, _) => Ok(Served::Done((mapped, blocks))),
            _ => Err(IoError::Other),
        }
    }

    fn restore(&self) -> Result<bool, IoError> {
        let (done, answer) = sync_channel(1);
        self.orders.send(Order::Restore(done)).map_err(|_| IoError::NotReady)?;
        answer.recv().map_err(|_| IoError::NotReady)?
    }

    fn watch(&self, changed: Box<dyn Fn(u64) + Send>) {
        // Where it has ended nothing changes.
        let _ = self.orders.send(Order::Watch(changed));
    }

    fn condition(&self) -> Condition {
        match (self.shown.lost.load(Ordering::Relaxed), self.shown.away.load(Ordering::Relaxed)) {
            (true, _) => Condition::Failed("writes since the last flush may be lost: flushes fail"),
            (_, true) => Condition::Waiting("there is no connection to the NBD server"),
            _ => Condition::Serving,
        }
    }

    fn close(&self) {
        // Where it has ended already nobody takes it.
        let _ = self.orders.send(Order::Stop);
    }

    fn prefetch(&self, offset: u64, len: u64) {
        // Advice: where nobody takes it nothing is lost.
        let _ = self.orders.send(Order::Cache { offset, len });
    }
}

fn facts(export: &Export, options: &NbdOptions) -> Result<Facts, NbdError> {
    let block = options.block_size;
    if export.len == 0 {
        return Err(NbdError::Empty);
    }
    if !export.len.is_multiple_of(u64::from(block)) {
        return Err(NbdError::NotWholeBlocks { size: export.len, block });
    }
    let read_only = options.read_only || export.read_only();
    Ok(Facts {
        len: export.len,
        read_only,
        discard_granularity: if options.unmap && export.zeroes() { export.preferred.max(block) } else { 0 },
        volatile_cache: export.flush(),
        rotational: export.rotational(),
    })
}

/// Until the end, or until nobody is left to give any.
async fn take_orders(mut inbox: UnboundedReceiver<Order>, worker: &Rc<Worker>) {
    while let Some(order) = inbox.recv().await {
        let order = match order {
            Order::Job(job) => match worker.begin(job) {
                Ok(()) => continue,
                Err(job) => Order::Job(job),
            },
            order => order,
        };
        let worker = Rc::clone(worker);
        match order {
            Order::Job(mut job) => drop(spawn_local(async move {
                let (outcome, buffer) = worker.perform(job.work, std::mem::take(&mut job.buffer)).await;
                job.buffer = buffer;
                job.finish(outcome);
            })),
            Order::Wait(work, buffer, done) => drop(spawn_local(async move {
                // Who waited may have gone.
                let _ = done.send(worker.perform(work, buffer).await);
            })),
            Order::Restore(done) => drop(spawn_local(async move {
                // Who waited may have gone.
                let _ = done.send(worker.restore().await);
            })),
            Order::Cache { offset, len } => drop(spawn_local(async move { worker.cache(offset, len).await })),
            Order::Watch(changed) => worker.client().watch(changed),
            Order::Stop => return,
        }
    }
}
