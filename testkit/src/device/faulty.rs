//! A device that does what it was told to do wrong: the test of the verifier, and of whoever else claims to notice.
//!
//! One lock serialises the calls: what happens is then decided by the order of the calls alone.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::fault_spec::{Call, Fault, Kind, When};
use super::{Compared, Device, Geometry, Promise};
use crate::verify::content::fold;

/// A sound device behind faults.
pub struct Faulty {
    inner: Arc<dyn Device>,
    state: Mutex<State>,
}

struct State {
    planned: Vec<Planned>,
    lies: bool,
    hurries: bool,
    splits: bool,
    dead: bool,
    /// What power loss would take: present when a power cut is planned, by 512-byte block.
    cache: Option<BTreeMap<u64, [u8; SECTOR]>>,
    /// What the last writes replaced, for stale reads.
    replaced: VecDeque<Extent>,
    /// A write that will be forgotten.
    forgetful: Option<Forgetful>,
    calls: u64,
}

struct Planned {
    fault: Fault,
    seen: u64,
    done: bool,
}

struct Extent {
    offset: u64,
    data: Vec<u8>,
}

struct Forgetful {
    before: Extent,
    returned: bool,
}

const SECTOR: usize = 512;
/// How long after its acknowledgement an early flush is begun.
const LATE: Duration = Duration::from_millis(20);
/// Zeros in a longer range do not go through the cache.
const MOST_CACHED: u64 = 1 << 20;
/// So many writes back a stale read may reach.
const REMEMBERED: usize = 64;

impl Faulty {
    /// Puts `faults` before `inner`.
    #[must_use]
    pub fn new(inner: Arc<dyn Device>, faults: Vec<Fault>) -> Self {
        let volatile = faults.iter().any(|fault| fault.kind == Kind::PowerCut);
        let planned = faults.into_iter().map(|fault| Planned { fault, seen: 0, done: false }).collect();
        let state = State {
            planned,
            lies: false,
            hurries: false,
            splits: false,
            dead: false,
            cache: volatile.then(BTreeMap::new),
            replaced: VecDeque::new(),
            forgetful: None,
            calls: 0,
        };
        Self { inner, state: Mutex::new(state) }
    }

    /// Keeps what was not flushed in a cache, which is lost with this value.
    #[must_use]
    pub fn volatile(mut self) -> Self {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        state.cache.get_or_insert_default();
        self
    }

    fn begin(&self) -> io::Result<MutexGuard<'_, State>> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.dead {
            return Err(io::Error::other("the device has no power (planted fault)"));
        }
        state.calls += 1;
        Ok(state)
    }

    fn sectors(offset: u64, len: usize) -> impl Iterator<Item = u64> {
        let first = offset / SECTOR as u64;
        first..first + (len / SECTOR) as u64
    }

    fn raw_read(&self, state: &State, offset: u64, data: &mut [u8]) -> io::Result<()> {
        self.inner.read(offset, data)?;
        if let Some(cache) = &state.cache {
            for (sector, part) in Self::sectors(offset, data.len()).zip(data.as_chunks_mut::<SECTOR>().0) {
                if let Some(cached) = cache.get(&sector) {
                    *part = *cached;
                }
            }
        }
        Ok(())
    }

    fn raw_write(&self, state: &mut State, offset: u64, data: &[u8], fua: bool) -> io::Result<()> {
        let Some(cache) = &mut state.cache else { return self.inner.write(offset, data, fua) };
        if fua {
            for sector in Self::sectors(offset, data.len()) {
                cache.remove(&sector);
            }
            return self.inner.write(offset, data, true);
        }
        for (sector, part) in Self::sectors(offset, data.len()).zip(data.as_chunks::<SECTOR>().0) {
            cache.insert(sector, *part);
        }
        Ok(())
    }

    /// Makes a range zeros in the cache; a long one at once on the disk, or the cache would hold all of it.
    fn cached_zero(&self, state: &mut State, offset: u64, len: u64) -> io::Result<()> {
        if len <= MOST_CACHED {
            return self.raw_write(state, offset, &vec![0; len as usize], false);
        }
        if let Some(cache) = &mut state.cache {
            let first = offset / SECTOR as u64;
            let behind = cache.split_off(&first).split_off(&(first + len / SECTOR as u64));
            cache.extend(behind);
        }
        self.inner.zero(offset, len)
    }

    /// Writes back what the cache holds: all of it, or at a power cut about half.
    fn write_back(&self, state: &mut State, keep: impl Fn(u64) -> bool) -> io::Result<()> {
        let block = self.inner.geometry().logical_block as usize;
        let Some(cache) = &mut state.cache else { return Ok(()) };
        for (sector, part) in std::mem::take(cache) {
            if keep(sector) {
                let at = sector * SECTOR as u64;
                let start = at / block as u64 * block as u64;
                let mut whole = vec![0; block];
                self.inner.read(start, &mut whole)?;
                whole[(at - start) as usize..][..SECTOR].copy_from_slice(&part);
                self.inner.write(start, &whole, false)?;
            }
        }
        Ok(())
    }

    fn before(&self, state: &State, offset: u64, len: usize) -> io::Result<Extent> {
        let mut data = vec![0; len];
        self.raw_read(state, offset, &mut data)?;
        Ok(Extent { offset, data })
    }

    fn bad_write(&self, state: &mut State, kind: Kind, offset: u64, data: &[u8], fua: bool) -> io::Result<()> {
        let size = self.inner.geometry().size;
        let block = u64::from(self.inner.geometry().logical_block);
        match kind {
            Kind::DropWrite | Kind::DropAllWrites => Ok(()),
            Kind::TearWrite => {
                let half = data.len() / 2;
                let mut torn = data.to_vec();
                let before = self.before(state, offset, data.len())?;
                torn[half..].copy_from_slice(&before.data[half..]);
                self.raw_write(state, offset, &torn, fua)
            }
            Kind::MisdirectWrite => {
                let room = size - data.len() as u64;
                let elsewhere = (offset + (size / 2).max(block)) % (room + 1) / block * block;
                self.raw_write(state, elsewhere, data, fua)
            }
            Kind::FlipBit => {
                let mut flipped = data.to_vec();
                flip(&mut flipped, offset);
                self.raw_write(state, offset, &flipped, fua)
            }
            Kind::ForgetUnflushed => {
                let before = self.before(state, offset, data.len())?;
                state.forgetful = Some(Forgetful { before, returned: false });
                self.raw_write(state, offset, data, false)
            }
            Kind::FailWrite => Err(io::Error::other("the write failed (planted fault)")),
            Kind::PowerCut => {
                self.raw_write(state, offset, data, fua)?;
                let salt = state.calls;
                self.write_back(state, |sector| survives(sector, salt))?;
                state.dead = true;
                Ok(())
            }
            _ => self.raw_write(state, offset, data, fua),
        }
    }
}

/// Whether a sector that was not flushed outlives a power cut: of each 4 KiB all, nothing, or about half.
fn survives(sector: u64, salt: u64) -> bool {
    match fold(sector / 8, salt) % 3 {
        0 => true,
        1 => false,
        _ => fold(sector, salt) & 1 == 0,
    }
}

/// Flips one bit whose place follows from the offset.
fn flip(data: &mut [u8], offset: u64) {
    let bit = fold(offset, data.len() as u64) % (data.len() as u64 * 8);
    data[(bit / 8) as usize] ^= 1 << (bit % 8);
}

impl State {
    /// The fault that befalls this call, if it is one's turn. `suits` holds a fault back until it can do harm.
    fn fault(&mut self, call: Call, offset: u64, len: usize, suits: impl Fn(&Self, Kind) -> bool) -> Option<Kind> {
        let mut due = Vec::new();
        for (index, planned) in self.planned.iter_mut().enumerate() {
            let Fault { kind, when } = planned.fault;
            if planned.done || kind.call() != call {
                continue;
            }
            let (counts, count) = match when {
                When::Count(count) => (true, count),
                When::Touching { lba, count } => (Faulty::sectors(offset, len).any(|sector| sector == lba), count),
            };
            planned.seen += u64::from(counts);
            if counts && planned.seen >= count {
                due.push((index, kind));
            }
        }
        let (index, kind) = due.into_iter().find(|(_, kind)| suits(self, *kind))?;
        self.planned[index].done = !kind.is_lasting();
        Some(kind)
    }

    /// What a read of this range returned before the last write to it, if that is remembered.
    fn stale(&self, offset: u64, data: &mut [u8]) -> bool {
        let end = offset + data.len() as u64;
        let overlaps = |old: &&Extent| old.offset < end && offset < old.offset + old.data.len() as u64;
        let Some(old) = self.replaced.iter().rev().find(overlaps) else { return false };
        let start = old.offset.max(offset);
        let stop = end.min(old.offset + old.data.len() as u64);
        let len = (stop - start) as usize;
        data[(start - offset) as usize..][..len].copy_from_slice(&old.data[(start - old.offset) as usize..][..len]);
        true
    }

    /// A range gets other data: a write there cannot be forgotten any more.
    fn replace(&mut self, offset: u64, len: usize) {
        if self.overlaps_forgetful(offset, len) {
            self.forgetful = None;
        }
    }

    fn overlaps_forgetful(&self, offset: u64, len: usize) -> bool {
        self.forgetful.as_ref().is_some_and(|forgetful| {
            let before = &forgetful.before;
            before.offset < offset + len as u64 && offset < before.offset + before.data.len() as u64
        })
    }
}

impl Device for Faulty {
    fn geometry(&self) -> Geometry {
        self.inner.geometry()
    }

    fn read(&self, offset: u64, data: &mut [u8]) -> io::Result<()> {
        let mut state = self.begin()?;
        if state.overlaps_forgetful(offset, data.len()) {
            match state.forgetful.take() {
                Some(forgetful) if forgetful.returned => {
                    self.raw_write(&mut state, forgetful.before.offset, &forgetful.before.data, false)?;
                }
                first => state.forgetful = first.map(|forgetful| Forgetful { returned: true, ..forgetful }),
            }
        }
        self.raw_read(&state, offset, data)?;
        let mut old = data.to_vec();
        let suits = |state: &State, kind| kind != Kind::StaleRead || state.stale(offset, &mut vec![0; data.len()]);
        match state.fault(Call::Read, offset, data.len(), suits) {
            Some(Kind::StaleRead) => {
                state.stale(offset, &mut old);
                data.copy_from_slice(&old);
            }
            Some(Kind::FlipRead) => flip(data, offset),
            Some(Kind::FailRead) => return Err(io::Error::other("the read failed (planted fault)")),
            _ => {}
        }
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8], fua: bool) -> io::Result<()> {
        let mut state = self.begin()?;
        state.replace(offset, data.len());
        if state.planned.iter().any(|planned| planned.fault.kind == Kind::StaleRead && !planned.done) {
            let before = self.before(&state, offset, data.len())?;
            if state.replaced.len() == REMEMBERED {
                state.replaced.pop_front();
            }
            state.replaced.push_back(before);
        }
        match state.fault(Call::Write, offset, data.len(), |_, _| true) {
            Some(kind) => self.bad_write(&mut state, kind, offset, data, fua),
            None => self.raw_write(&mut state, offset, data, fua),
        }
    }

    fn flush(&self) -> io::Result<()> {
        let mut state = self.begin()?;
        match state.fault(Call::Flush, 0, 0, |_, _| true) {
            Some(Kind::LieFlush) => state.lies = true,
            Some(Kind::EarlyFlush) => state.hurries = true,
            Some(Kind::FailFlush) => return Err(io::Error::other("the flush failed (planted fault)")),
            _ => {}
        }
        if state.lies {
            return Ok(());
        }
        state.forgetful = None;
        self.write_back(&mut state, |_| true)?;
        if !state.hurries {
            return self.inner.flush();
        }
        let inner = Arc::clone(&self.inner);
        std::thread::Builder::new().name("late-flush".to_owned()).spawn(move || {
            std::thread::sleep(LATE);
            if let Err(error) = inner.flush() {
                eprintln!("a flush that was acknowledged early failed: {error}");
            }
        })?;
        Ok(())
    }

    fn discard(&self, offset: u64, len: u64) -> io::Result<()> {
        let mut state = self.begin()?;
        if state.fault(Call::Discard, offset, len as usize, |_, _| true).is_some() {
            return Ok(());
        }
        state.replace(offset, len as usize);
        let Some(discard) = self.inner.geometry().discard else { return Err(io::ErrorKind::Unsupported.into()) };
        if state.cache.is_some() && discard.reads == Promise::Zeros {
            return self.cached_zero(&mut state, offset, len);
        }
        self.inner.discard(offset, len)
    }

    fn zero(&self, offset: u64, len: u64) -> io::Result<()> {
        let mut state = self.begin()?;
        state.replace(offset, len as usize);
        if state.cache.is_some() {
            return self.cached_zero(&mut state, offset, len);
        }
        self.inner.zero(offset, len)
    }

    fn compare_and_write(&self, offset: u64, expected: &[u8], new: &[u8]) -> io::Result<Compared> {
        let mut state = self.begin()?;
        let split = state.fault(Call::CompareAndWrite, offset, expected.len(), |_, _| true);
        state.splits |= split == Some(Kind::SplitCompareAndWrite);
        if !state.splits {
            return self.inner.compare_and_write(offset, expected, new);
        }
        drop(state);
        let mut found = vec![0; expected.len()];
        self.inner.read(offset, &mut found)?;
        if found != expected {
            return Ok(Compared::Miscompare);
        }
        std::thread::yield_now();
        self.inner.write(offset, new, false)?;
        Ok(Compared::Written)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::fault_spec;
    use crate::device::memory::Memory;

    fn faulty(faults: &str) -> (Arc<Memory>, Faulty) {
        let disk = Arc::new(Memory::new(1 << 20, 512));
        let faults = fault_spec::parse(&format!("{faults}:")).unwrap().0;
        (disk.clone(), Faulty::new(disk, faults))
    }

    fn read(device: &dyn Device, offset: u64, len: usize) -> Vec<u8> {
        let mut data = vec![0xee; len];
        device.read(offset, &mut data).unwrap();
        data
    }

    #[test]
    fn writes_go_wrong_as_planned() {
        let (_, device) = faulty("drop-write@2,tear-write@3,flip-bit@4");
        for value in 1..=5u8 {
            device.write(u64::from(value) * 4096, &[value; 2048], false).unwrap();
        }
        assert_eq!(read(&device, 4096, 2048), [1; 2048]);
        assert_eq!(read(&device, 2 * 4096, 2048), [0; 2048]);
        assert_eq!(read(&device, 3 * 4096, 2048), [vec![3; 1024], vec![0; 1024]].concat());
        let bits: u32 = read(&device, 4 * 4096, 2048).iter().map(|byte| (byte ^ 4).count_ones()).sum();
        assert_eq!(bits, 1);
        assert_eq!(read(&device, 5 * 4096, 2048), [5; 2048]);
    }

    #[test]
    fn a_misdirected_write_is_elsewhere() {
        let (_, device) = faulty("misdirect-write@lba=8");
        device.write(4096, &[9; 512], false).unwrap();
        assert_eq!(read(&device, 4096, 512), [0; 512]);
        assert!((0..2048).any(|sector| read(&device, sector * 512, 512) == [9; 512]));
    }

    #[test]
    fn reads_go_wrong_once() {
        let (_, device) = faulty("stale-read@2,flip-read@3,fail-read@4");
        device.write(0, &[1; 1024], false).unwrap();
        device.write(512, &[2; 512], false).unwrap();
        assert_eq!(read(&device, 512, 512), [2; 512]);
        assert_eq!(read(&device, 0, 1024), [1; 1024]);
        assert_ne!(read(&device, 512, 512), [2; 512]);
        assert!(device.read(0, &mut [0; 512]).is_err());
        assert_eq!(read(&device, 512, 512), [2; 512]);
    }

    #[test]
    fn an_unflushed_write_is_forgotten_after_it_was_seen() {
        for (flush, value) in [(false, 0), (true, 5)] {
            let (_, device) = faulty("forget-unflushed@1");
            device.write(0, &[5; 512], false).unwrap();
            assert_eq!(read(&device, 0, 512), [5; 512]);
            if flush {
                device.flush().unwrap();
            }
            assert_eq!(read(&device, 0, 512), [value; 512]);
        }
    }

    #[test]
    fn a_power_cut_keeps_what_was_flushed_and_half_of_the_rest() {
        for lie in [false, true] {
            let (disk, device) = faulty(if lie { "lie-flush@1,power-cut@4" } else { "power-cut@4" });
            device.write(0, &[1; 64 * 512], false).unwrap();
            device.flush().unwrap();
            device.write(65536, &[2; 64 * 512], false).unwrap();
            device.write(131_072, &[3; 512], true).unwrap();
            assert_eq!(read(&device, 65536, 512), [2; 512]);
            device.write(262_144, &[4; 512], false).unwrap();
            assert!(device.flush().is_err() && device.read(0, &mut [0; 512]).is_err());
            let kept = |offset: u64| (0..64).filter(|s| read(&*disk, offset + s * 512, 512) != [0; 512]).count();
            assert!((10..54).contains(&kept(65536)));
            assert_eq!(read(&*disk, 131_072, 512), [3; 512]);
            if lie {
                assert!((10..54).contains(&kept(0)));
            } else {
                assert_eq!(kept(0), 64);
            }
        }
    }

    #[test]
    fn an_early_flush_is_done_after_its_acknowledgement() {
        let (disk, inner) = faulty("fail-flush@2");
        let inner: Arc<dyn Device> = Arc::new(inner);
        let device = Faulty::new(Arc::clone(&inner), fault_spec::parse("early-flush@1:").unwrap().0);
        device.write(0, &[1; 512], false).unwrap();
        device.flush().unwrap();
        assert_eq!(read(&*disk, 0, 512), [1; 512]);
        // The second flush of the inner device fails: that is this one as soon as the early one has come.
        let limit = std::time::Instant::now() + Duration::from_secs(20);
        while Arc::strong_count(&inner) > 2 {
            assert!(std::time::Instant::now() < limit, "the early flush did not come");
            std::thread::sleep(Duration::from_millis(1));
        }
        assert!(inner.flush().is_err());
    }

    #[test]
    fn a_discard_is_ignored() {
        let (_, device) = faulty("ignore-discard@2");
        device.write(0, &[1; 1024], false).unwrap();
        device.discard(0, 512).unwrap();
        device.discard(512, 512).unwrap();
        assert_eq!(read(&device, 0, 1024), [vec![0; 512], vec![1; 512]].concat());
    }
}
