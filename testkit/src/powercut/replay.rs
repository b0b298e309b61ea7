//! Makes the disk of a cut from the log.

use std::collections::HashMap;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use super::block_log::{BlockLog, DISCARD, Entry, FLUSH, FUA};
use super::cut::{Cut, Fate, Random};
use super::disk::Disk;
use crate::device::Device;
use crate::verify::content::fold;

/// A log, and the disk as a flush of it left the disk.
pub struct Replay {
    log: BlockLog,
    disk: Arc<Disk>,
    /// As many entries are settled on the disk.
    settled: usize,
    /// Decides what discarded sectors hold.
    seed: u64,
}

/// How a cut came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Made {
    /// How many entries no flush had covered.
    pub pending: usize,
    /// Of these how many got to the disk at least in part.
    pub kept: usize,
}

impl Replay {
    /// Makes disks of `size` bytes of the log. Writes are torn at the log's sectors.
    #[must_use]
    pub fn new(log: BlockLog, size: u64, seed: u64) -> Self {
        let disk = Arc::new(Disk::new(size, log.sector() as u32));
        Self { log, disk, settled: 0, seed }
    }

    /// The log.
    #[must_use]
    pub fn log(&self) -> &BlockLog {
        &self.log
    }

    /// The disk of the cut that was made last.
    #[must_use]
    pub fn disk(&self) -> &Arc<Disk> {
        &self.disk
    }

    /// Makes the disk of a cut. Cuts are quickest in the order of their entries.
    ///
    /// # Errors
    /// When the log cannot be read, or has a range beyond the disk's end.
    pub fn make(&mut self, cut: &Cut) -> io::Result<Made> {
        self.disk.revert();
        let cut_at = cut.entries.min(self.log.entries().len());
        let flush = self.log.entries()[..cut_at].iter().rposition(|entry| entry.is(FLUSH));
        // A flush that carries data flushes before it: its own data is not covered.
        let barrier = flush.map_or(0, |flush| flush + usize::from(self.log.entries()[flush].length == 0));
        if barrier < self.settled {
            self.disk.clear();
            self.settled = 0;
        }
        for number in self.settled..barrier {
            self.settle(number)?;
        }
        self.settled = barrier;
        self.spoil(barrier..cut_at, cut)
    }

    fn settle(&self, number: usize) -> io::Result<()> {
        let entry = self.log.entries()[number];
        if !entry.is(DISCARD) {
            return self.disk.settle(entry.offset, &self.log.data(&entry)?);
        }
        // A disk may drop a discard, of each sector by itself.
        for offset in self.sectors(&entry).filter(|offset| fold(self.seed ^ number as u64, *offset) & 1 == 0) {
            self.disk.settle(offset, &vec![0; self.log.sector() as usize])?;
        }
        Ok(())
    }

    /// Lets some of the entries that no flush covers get to the disk.
    fn spoil(&self, pending: Range<usize>, cut: &Cut) -> io::Result<Made> {
        let mut random = Random::new(cut.seed, 1);
        let fate = Fate::draw(&mut random);
        let entries = self.log.entries();
        // What was written with FUA holds against everything older, whenever that would have got there.
        let mut held: HashMap<u64, usize> = HashMap::new();
        for number in pending.clone().filter(|number| entries[*number].is(FUA)) {
            held.extend(self.sectors(&entries[number]).map(|sector| (sector, number)));
            self.disk.write(entries[number].offset, &self.log.data(&entries[number])?, true)?;
        }
        let order = fate.order(pending.clone(), &mut random);
        for number in &order {
            let entry = entries[*number];
            let data = if entry.is(DISCARD) { vec![0; entry.length as usize] } else { self.log.data(&entry)? };
            let sector = self.log.sector() as usize;
            let keep = fate.sectors(data.len() / sector, &mut random);
            let parts = self.sectors(&entry).zip(data.chunks(sector)).zip(keep);
            for ((offset, part), _) in parts.filter(|(_, keep)| *keep) {
                if held.get(&offset).is_none_or(|holds| holds <= number) {
                    self.disk.write(offset, part, false)?;
                }
            }
        }
        Ok(Made { pending: pending.len(), kept: order.len() })
    }

    /// The offsets of an entry's sectors.
    fn sectors(&self, entry: &Entry) -> impl Iterator<Item = u64> + use<> {
        (entry.offset..entry.offset + entry.length).step_by(self.log.sector() as usize)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::super::block_log::Writer;
    use super::*;

    const SECTORS: u64 = 12;
    const SECTOR: usize = 512;

    /// A request to a disk: first sector, sectors, flags.
    type Request = (u64, u64, u64);

    fn requests() -> impl Strategy<Value = Vec<Request>> {
        let request = (0..SECTORS, 1..5_u64, 0..20_u32).prop_map(|(first, sectors, kind)| {
            let sectors = sectors.min(SECTORS - first);
            match kind {
                0..=2 => (0, 0, FLUSH),
                3 => (first, sectors, FLUSH),
                4 => (first, sectors, FLUSH | FUA),
                5..=6 => (first, sectors, FUA),
                7..=8 => (first, sectors, DISCARD),
                _ => (first, sectors, 0),
            }
        });
        proptest::collection::vec(request, 1..40)
    }

    /// Each request's data is its own number, from 1; nothing and zeros are 0.
    fn replay(requests: &[Request], seed: u64) -> Replay {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let mut writer = Writer::create(&path, 512).unwrap();
        for ((first, sectors, flags), number) in requests.iter().zip(1..) {
            let data = if flags & DISCARD == 0 { vec![number; *sectors as usize * SECTOR] } else { Vec::new() };
            writer.add(first * 512, sectors * 512, *flags, &data).unwrap();
        }
        Replay::new(BlockLog::open(&path).unwrap(), SECTORS * 512, seed)
    }

    fn found(replay: &Replay) -> Vec<u8> {
        let mut data = vec![0; SECTORS as usize * SECTOR];
        replay.disk().read(0, &mut data).unwrap();
        let sectors = data.as_chunks::<SECTOR>().0.iter();
        sectors.map(|sector| if sector.iter().all(|byte| *byte == sector[0]) { sector[0] } else { 255 }).collect()
    }

    /// What each sector may hold after a cut at `entries`, by the rules alone.
    fn allowed(requests: &[Request], entries: usize) -> Vec<BTreeSet<u8>> {
        let mut sectors = vec![BTreeSet::from([0]); SECTORS as usize];
        // What has been flushed, and each write since; a discard leaves what was there, or zeros.
        let mut newest: Vec<BTreeSet<u8>> = sectors.clone();
        for ((first, count, flags), number) in requests[..entries].iter().zip(1..) {
            if flags & FLUSH != 0 {
                sectors.clone_from(&newest);
            }
            for sector in *first as usize..(first + count) as usize {
                if flags & DISCARD != 0 {
                    newest[sector].insert(0);
                    sectors[sector].insert(0);
                } else {
                    newest[sector] = [number].into();
                    sectors[sector].insert(number);
                }
                if flags & FUA != 0 {
                    sectors[sector] = [number].into();
                }
            }
        }
        sectors
    }

    proptest! {
        #[test]
        fn a_cut_leaves_what_was_flushed_and_any_of_what_was_not(
            requests in requests(), seed in any::<u64>(), cuts in proptest::collection::vec(any::<(usize, u64)>(), 1..12),
        ) {
            let mut replay = replay(&requests, seed);
            for (entries, seed) in cuts {
                let entries = entries % (requests.len() + 1);
                replay.make(&Cut { entries, seed }).unwrap();
                for (sector, (found, allowed)) in found(&replay).iter().zip(allowed(&requests, entries)).enumerate() {
                    prop_assert!(allowed.contains(found), "sector {sector} holds {found}, not {allowed:?}");
                }
            }
        }

        #[test]
        fn a_cut_does_not_depend_on_those_before_it(
            requests in requests(), seed in any::<u64>(), cuts in proptest::collection::vec(any::<(usize, u64)>(), 1..12),
        ) {
            let mut one = replay(&requests, seed);
            for (entries, cut_seed) in cuts {
                let cut = Cut { entries: entries % (requests.len() + 1), seed: cut_seed };
                let mut other = replay(&requests, seed);
                prop_assert_eq!(one.make(&cut).unwrap(), other.make(&cut).unwrap());
                prop_assert_eq!(found(&one), found(&other));
                // What a file system's recovery writes is gone with the next cut.
                one.disk().write(0, &[99; 1024], false).unwrap();
            }
        }
    }

    #[test]
    fn everything_that_may_be_left_is_left_by_some_cut() {
        let requests = [(0, 4, 0), (0, 0, FLUSH), (0, 4, 0), (1, 2, 0), (2, 1, FUA), (2, 2, 0), (3, 1, DISCARD)];
        let mut replay = replay(&requests, 1);
        let mut seen = vec![BTreeSet::new(); SECTORS as usize];
        for seed in 0..400 {
            replay.make(&Cut { entries: requests.len(), seed }).unwrap();
            found(&replay).iter().zip(&mut seen).for_each(|(found, seen)| _ = seen.insert(*found));
        }
        assert_eq!(seen, allowed(&requests, requests.len()));
        assert_eq!(seen[..4], [[1, 3].into(), [1, 3, 4].into(), [5, 6].into(), BTreeSet::from([0, 1, 3, 6])]);
    }

    #[test]
    fn torn_and_reordered_writes_are_among_the_cuts() {
        let requests = [(0, 8, 0), (0, 8, 0)];
        let mut replay = replay(&requests, 1);
        let mut disks = BTreeSet::new();
        for seed in 0..400 {
            replay.make(&Cut { entries: 2, seed }).unwrap();
            disks.insert(found(&replay)[..8].to_vec());
        }
        assert!([vec![0; 8], vec![1; 8], vec![2; 8]].iter().all(|whole| disks.contains(whole)));
        assert!(disks.iter().any(|disk| disk.contains(&1) && disk.contains(&2)));
        assert!(disks.len() > 100, "{}", disks.len());
    }

    #[test]
    fn a_range_behind_the_end_is_an_error() {
        let mut replay = replay(&[(0, 1, 0), (0, 0, FLUSH)], 1);
        replay = Replay::new(replay.log, 256, 1);
        assert!(replay.make(&Cut { entries: 2, seed: 1 }).is_err());
    }
}
