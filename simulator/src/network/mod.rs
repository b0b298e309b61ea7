//! A network of two ends, in memory: Ethernet frames that are late, lost, doubled or out of order as a seed decides.

mod pcap;
mod port;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::task::Waker;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

pub use pcap::Pcap;
pub use port::Port;

/// How a wire treats frames. Shares are of a million.
#[derive(Clone, Copy, Debug)]
pub struct Weather {
    /// From one end to the other, in microseconds.
    pub delay_us: u64,
    /// And up to so much more, of each frame's own.
    pub jitter_us: u64,
    /// Bits a second; a frame leaves when the one before it has left.
    pub bits_per_second: u64,
    /// Frames that do not arrive.
    pub lost: u32,
    /// Frames that arrive twice.
    pub doubled: u32,
    /// Frames that are overtaken by up to a few others.
    pub overtaken: u32,
    /// Largest IP packet.
    pub mtu: usize,
}

impl Weather {
    /// A good wire of 100 Mbit/s.
    pub const FAIR: Self =
        Self { delay_us: 50, jitter_us: 0, bits_per_second: 100_000_000, lost: 0, doubled: 0, overtaken: 0, mtu: 1500 };

    /// A radio on a bad day.
    pub const FOUL: Self = Self {
        delay_us: 2_000,
        jitter_us: 3_000,
        bits_per_second: 10_000_000,
        lost: 20_000,
        doubled: 5_000,
        overtaken: 20_000,
        mtu: 1500,
    };
}

/// What happened to frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Frames and bytes that arrived, by the end that they arrived at.
    pub frames: [u64; 2],
    /// Bytes.
    pub bytes: [u64; 2],
    /// Lost.
    pub lost: u64,
    /// Doubled.
    pub doubled: u64,
    /// Overtaken.
    pub overtaken: u64,
}

struct End {
    mac: [u8; 6],
    /// Frames on their way to this end, by the time of their arrival.
    coming: BTreeMap<(u64, u64), Vec<u8>>,
    waker: Option<Waker>,
    /// When the last frame that this end sent has left.
    free_at_us: u64,
}

/// A wire with two ends.
pub struct Wire {
    ends: [End; 2],
    weather: Weather,
    up: bool,
    rng: ChaCha8Rng,
    order: u64,
    counters: Counters,
    pcap: Option<Pcap>,
}

/// A wire that both ends share.
pub type SharedWire = Rc<RefCell<Wire>>;

impl Wire {
    /// A wire between two stations.
    pub fn new(macs: [[u8; 6]; 2], weather: Weather, seed: u64) -> SharedWire {
        let end = |mac| End { mac, coming: BTreeMap::new(), waker: None, free_at_us: 0 };
        Rc::new(RefCell::new(Self {
            ends: macs.map(end),
            weather,
            up: true,
            rng: ChaCha8Rng::seed_from_u64(seed ^ 0x7769_7265),
            order: 0,
            counters: Counters::default(),
            pcap: None,
        }))
    }

    /// Changes how frames are treated from now on.
    pub fn set_weather(&mut self, weather: Weather) {
        self.weather = weather;
    }

    /// Pulls the plug out or puts it in: what is on its way is lost.
    pub fn set_up(&mut self, up: bool) {
        self.up = up;
        for end in &mut self.ends {
            end.coming.clear();
            if let Some(waker) = end.waker.take() {
                waker.wake();
            }
        }
    }

    /// Writes every frame that is sent to a file.
    pub fn capture(&mut self, pcap: Pcap) {
        self.pcap = Some(pcap);
    }

    /// What happened so far.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    fn happens(&mut self, share: u32) -> bool {
        share > 0 && self.below(1_000_000) < u64::from(share)
    }

    fn below(&mut self, bound: u64) -> u64 {
        if bound == 0 { 0 } else { (u64::from(self.rng.next_u32()) * bound) >> 32 }
    }

    /// End `from` sends a frame.
    fn send(&mut self, from: usize, frame: Vec<u8>, now_us: u64) {
        if let Some(pcap) = &mut self.pcap {
            pcap.frame(now_us, &frame);
        }
        let weather = self.weather;
        // Preamble, checksum and the gap behind a frame take time too.
        let bits = (frame.len() as u64 + 24) * 8;
        let leaves = self.ends[from].free_at_us.max(now_us) + bits * 1_000_000 / weather.bits_per_second.max(1);
        self.ends[from].free_at_us = leaves;
        if !self.up {
            return;
        }
        if self.happens(weather.lost) {
            self.counters.lost += 1;
            return;
        }
        let copies = if self.happens(weather.doubled) {
            self.counters.doubled += 1;
            2
        } else {
            1
        };
        for _ in 0..copies {
            let mut at = leaves + weather.delay_us + self.below(weather.jitter_us + 1);
            if self.happens(weather.overtaken) {
                self.counters.overtaken += 1;
                at += 1_000 + self.below(5_000);
            }
            self.order += 1;
            let to = &mut self.ends[1 - from];
            to.coming.insert((at, self.order), frame.clone());
            if let Some(waker) = to.waker.take() {
                waker.wake();
            }
        }
    }

    /// The next frame that has arrived at an end.
    fn arrived(&mut self, at: usize, now_us: u64) -> Option<Vec<u8>> {
        let end = &mut self.ends[at];
        let first = end.coming.first_entry().filter(|entry| entry.key().0 <= now_us)?;
        let frame = first.remove();
        self.counters.frames[at] += 1;
        self.counters.bytes[at] += frame.len() as u64;
        Some(frame)
    }
}
