//! The target of a board by itself: no network stack and no SPI bus, so that millions of commands take seconds.
//!
//! [`Disk`] is the card that its disks lie on, [`End`] a connection's end, [`Listener`] where connections come in. All of it lives
//! in virtual time ([`crate::time`]).

mod disk;
mod pipe;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::task::{Poll, Waker};

use iesp_firmware::board::NoPanel;
use iesp_firmware::extents::Extents;
use iesp_firmware::log::{Journal, Log};
use iesp_firmware::memory::ConnectionMemory;
use iesp_firmware::store::Store;
use iesp_firmware::target::{self, Target};
use iesp_firmware::{Board, TimeClock};

pub use disk::{Disk, Fault};
pub use pipe::{End, pipe};

use crate::board::Seeded;

/// Bytes of a command's data that a connection holds in one piece.
const WORK: usize = 4096;

/// The memory of a connection: a window of 32 commands, and segments of 8 KiB.
pub type Memory = ConnectionMemory<34, 2048, 8320, WORK, 1024>;

/// The types of the node.
pub struct NodeBoard;

impl Board for NodeBoard {
    type Card = Disk;
    type Clock = TimeClock;
    type Panel = NoPanel;
    type Random = Seeded;
}

/// The name of the target.
pub const NAME: &str = "test";

/// A target whose logical units are `luns` parts of the disk, `blocks` long each. `cache`: before the disk.
///
/// # Panics
/// Where the disk is too small for them.
pub async fn target<'m, const CONNECTIONS: usize>(
    disk: &Disk,
    luns: u32,
    blocks: u32,
    cache: (&'m mut [u8], &'m mut [u8]),
    seed: u64,
) -> Target<'m, NodeBoard, CONNECTIONS> {
    let name = heapless::String::try_from(NAME).expect("a short name");
    let mut store = Store::new(disk.clone(), cache.0, cache.1);
    store.start().await.expect("the disk starts");
    let parts = (TimeClock, Log::new(NoPanel, Journal::new(&mut [])), Seeded::new(seed));
    let mut target = Target::new(name, None, store, parts, true);
    for lun in 0..luns {
        let extents = Extents::of(lun * blocks, blocks);
        let disk = target::Disk { extents, uuid: [lun as u8 + 1; 16], read_only: false };
        target.add(disk, WORK).expect("a disk");
    }
    target
}

/// Where connections come in.
#[derive(Clone, Default)]
pub struct Listener(Rc<RefCell<Backlog>>);

#[derive(Default)]
struct Backlog {
    waiting: VecDeque<End>,
    wakers: Vec<Waker>,
}

impl Listener {
    /// A connection, which the target takes when it has room; bytes take up to `delay_us` each way.
    pub fn connect(&self, delay_us: u64) -> End {
        let (ours, theirs) = pipe(16 << 10, delay_us);
        let mut backlog = self.0.borrow_mut();
        backlog.waiting.push_back(theirs);
        backlog.wakers.drain(..).for_each(Waker::wake);
        ours
    }

    async fn accept(&self) -> End {
        poll_fn(|cx| {
            let mut backlog = self.0.borrow_mut();
            match backlog.waiting.pop_front() {
                Some(end) => Poll::Ready(end),
                None => {
                    backlog.wakers.push(cx.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await
    }
}

/// Serves one connection after the other at this place of the target, for ever.
pub async fn serve<const CONNECTIONS: usize>(
    target: &Target<'_, NodeBoard, CONNECTIONS>,
    seat: usize,
    listener: Listener,
) -> ! {
    let mut memory = Box::new(Memory::new());
    let local = SocketAddr::from((Ipv4Addr::new(10, 0, 0, 5), 3260));
    loop {
        let mut stream = listener.accept().await;
        let (_, _, protocol, buffers) = memory.split();
        target.serve(seat, local, &mut stream, protocol, buffers).await;
    }
}
