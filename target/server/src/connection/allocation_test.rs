//! Operations allocate nothing once a connection has what it needs: counted by the allocator of the test program, on the
//! thread that serves, over a real socket.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener as StdListener, TcpStream as StdStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use iesp_initiator::{Answer, INITIATOR, Initiator};
use iesp_iscsi::pdu::{ScsiCommand, Stage};
use iesp_iscsi::{Limits, Timeouts};
use tokio::net::TcpListener;

use crate::access::Access;
use crate::config::{DiskConfig, Origin, Source};
use crate::disk::{self, Absence, Place, Registry, Wanted};
use crate::logging::Trace;
use crate::luns::Luns;
use crate::node::{Catalog, Node, Offer, PortalId, Settings};
use crate::statistics::Statistics;
use crate::target::Target;
use crate::threads::Homes;

/// Counts on the threads that asked for it.
struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

thread_local! {
    // Without a destructor, and made without an allocation: the allocator may look at it at any time.
    static COUNTED: Cell<bool> = const { Cell::new(false) };
}

impl Counting {
    fn count() {
        if COUNTED.with(Cell::get) {
            ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        }
    }
}

// SAFETY: every call is the system allocator's, unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        Self::count();
        // SAFETY: the caller's promises are the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        Self::count();
        // SAFETY: the caller's promises are the same.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        Self::count();
        // SAFETY: the caller's promises are the same.
        unsafe { System.realloc(pointer, layout, size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are the same.
        unsafe { System.dealloc(pointer, layout) }
    }
}

/// Blocks of the disk.
const BLOCKS: u64 = 64 << 11;

/// Serves one connection on a thread that counts; a file is read and written past the page cache.
fn serve_one(source: Source) -> (SocketAddr, thread::JoinHandle<()>) {
    let listener = StdListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    listener.set_nonblocking(true).expect("a socket");
    let address = listener.local_addr().expect("an address");
    let disk = DiskConfig {
        direct: source != Source::Ram(BLOCKS << 9),
        source,
        create: None,
        block_size: 512,
        physical_exponent: 3,
        read_only: false,
        trim_level: 1,
        uuid: None,
        raw: false,
        in_use: false,
        origin: Origin::default(),
    };
    let statistics = Statistics::default();
    let (homes, registry) = (Homes::default(), Registry::default());
    let place = Place { statistics: &statistics, homes: &homes, registry: &registry, claims: &[] };
    let wanted = [Wanted { target: "test", number: 0, config: &disk }];
    let luns = disk::open_all(&wanted, place, Absence::Refused).expect("a disk").into_iter().flatten();
    let target = Arc::new(Target::new("test".into(), Luns::new(luns)));
    let offer = Offer { target, alias: None, access: Access::default(), portals: None };
    let settings = Settings {
        limits: Limits::default(),
        timeouts: Timeouts::default(),
        sessions: 1,
        connections: 1,
        window: 128,
        memory: 64 << 20,
    };
    let catalog =
        Catalog { offers: vec![offer], portals: Vec::new(), discovery: Access::default(), settings, trace: Trace::Off };
    let node = Arc::new(Node::new(catalog, homes, statistics, registry));
    let serving = thread::spawn(move || {
        COUNTED.with(|counted| counted.set(true));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            // The runtime's list of tasks that give way is made with the first one.
            tokio::task::yield_now().await;
            // Where the kernel has none, disk threads do its work.
            let _ = crate::ring::start();
            let listener = TcpListener::from_std(listener).expect("a listener");
            let (stream, peer) = listener.accept().await.expect("a connection");
            let guest = node.admit(PortalId(0), 1).expect("a place");
            super::serve(stream, peer, guest).await;
        });
        drop(runtime);
        crate::ring::end();
    });
    (address, serving)
}

/// What is done over and over.
#[derive(Debug, Clone, Copy)]
struct Load {
    write: bool,
    blocks: u16,
    random: bool,
    depth: usize,
    operations: usize,
}

struct Client {
    initiator: Initiator,
    stream: StdStream,
    data: Vec<u8>,
    /// Writes send their data with the command.
    immediate: bool,
    position: u64,
}

impl Client {
    fn login(address: SocketAddr, immediate: bool) -> Self {
        let stream = StdStream::connect(address).expect("it listens");
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
        stream.set_nodelay(true).expect("no delay");
        let initiator = Initiator::default();
        let mut client = Self { initiator, stream, data: vec![7; 1 << 18], immediate, position: 1 };
        let pairs = format!(
            "InitiatorName={INITIATOR} TargetName=test SessionType=Normal MaxRecvDataSegmentLength=262144 InitialR2T=Yes \
             ImmediateData={} FirstBurstLength=262144 MaxBurstLength=1048576",
            if immediate { "Yes" } else { "No" }
        );
        let request = client.initiator.login(Stage::OperationalNegotiation, Stage::FullFeaturePhase, &pairs);
        client.stream.write_all(&request).expect("sent");
        assert!(matches!(client.answer(), Answer::Login(response, _) if response.status.code() == 0));
        let ready = client.initiator.bare(&[0]);
        client.send(&ready, 0);
        assert!(matches!(client.answer(), Answer::Status(status, _) if status.status == 2), "unit attention");
        client
    }

    fn send(&mut self, command: &ScsiCommand, len: usize) {
        let unit = self.initiator.unit(&command.emit(), &self.data[..len]);
        self.stream.write_all(&unit).expect("sent");
    }

    fn answer(&mut self) -> Answer {
        let mut bytes = [0; 1 << 16];
        loop {
            if let Some(answer) = self.initiator.answer() {
                return answer;
            }
            let count = self.stream.read(&mut bytes).expect("an answer");
            assert!(count > 0, "the connection ended");
            self.initiator.receive(&bytes[..count]);
        }
    }

    /// The next command, with its immediate data.
    fn unit(&mut self, load: Load) -> Vec<u8> {
        let blocks = u64::from(load.blocks);
        // A generator of Lehmer's: any order will do, the same in each run.
        self.position = if load.random { self.position * 48271 % 0x7fff_ffff } else { self.position + 1 };
        let lba = (self.position % (BLOCKS / blocks) * blocks) as u32;
        let mut cdb = [if load.write { 0x2a } else { 0x28 }, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        cdb[2..6].copy_from_slice(&lba.to_be_bytes());
        cdb[7..9].copy_from_slice(&load.blocks.to_be_bytes());
        let len = u32::from(load.blocks) << 9;
        if load.write {
            let command = self.initiator.write(&cdb, len);
            let immediate = if self.immediate { len as usize } else { 0 };
            self.initiator.unit(&command.emit(), &self.data[..immediate])
        } else {
            let command = self.initiator.read(&cdb, len);
            self.initiator.unit(&command.emit(), &[])
        }
    }

    /// As many commands as the load has in flight, at once: so many are under way from then on, whatever a device's pace.
    fn burst(&mut self, load: Load) {
        let units: Vec<u8> = (0..load.depth).flat_map(|_| self.unit(load)).collect();
        self.stream.write_all(&units).expect("sent");
        let mut ended = 0;
        while ended < load.depth {
            ended += self.ended();
        }
    }

    fn run(&mut self, load: Load) {
        let (mut begun, mut ended) = (0, 0);
        while ended < load.operations {
            while begun < load.operations && begun - ended < load.depth {
                let unit = self.unit(load);
                self.stream.write_all(&unit).expect("sent");
                begun += 1;
            }
            ended += self.ended();
        }
    }

    /// Takes an answer, and gives data where it asks for them: how many commands end by it.
    fn ended(&mut self) -> usize {
        match self.answer() {
            Answer::Status(status, sense) => {
                assert_eq!((status.status, &sense[..]), (0, &[][..]));
                1
            }
            Answer::Data(unit, _) => usize::from(unit.status == Some(0)),
            Answer::R2t(r2t) => {
                let units = self.initiator.answer_r2t(&r2t, &self.data, 1 << 18);
                self.stream.write_all(&units).expect("sent");
                0
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn operations_allocate_nothing() {
    let small = Load { write: false, blocks: 8, random: true, depth: 32, operations: 1000 };
    let large = Load { write: false, blocks: 512, random: false, depth: 8, operations: 100 };
    // Where cargo builds there is a disk; `/tmp` may be memory.
    let program = std::env::current_exe().expect("a path");
    let image = tempfile::NamedTempFile::new_in(program.parent().expect("a folder")).expect("an image");
    image.as_file().write_all(&vec![0x77; (BLOCKS << 9) as usize]).expect("room");
    let sources = [Source::Ram(BLOCKS << 9), Source::Path(image.path().to_owned())];
    for (source, immediate) in sources.iter().flat_map(|source| [(source, true), (source, false)]) {
        let (address, serving) = serve_one(source.clone());
        let mut client = Client::login(address, immediate);
        for load in [small, Load { write: true, ..small }, large, Load { write: true, ..large }] {
            // What the connection keeps for this load is made now: for all that it may have under way, too.
            client.burst(load);
            client.run(load);
            let before = ALLOCATIONS.load(Ordering::Relaxed);
            client.run(load);
            let count = ALLOCATIONS.load(Ordering::Relaxed) - before;
            assert_eq!(
                count, 0,
                "allocations in {} operations on {source:?}: {load:?}, immediate data: {immediate}",
                load.operations
            );
        }
        drop(client);
        serving.join().expect("it served");
    }
    assert!(ALLOCATIONS.load(Ordering::Relaxed) > 0, "the counter counts");
}
