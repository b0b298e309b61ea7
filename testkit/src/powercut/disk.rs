//! A disk in memory whose last changes can be taken back.

use std::collections::BTreeMap;
use std::io;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::device::{Device, Discard, Geometry, Promise, check_range};

/// The unit in which changes are kept, in bytes.
pub const UNIT: usize = 512;

/// A disk that is zeros at first. What is written to it as a [`Device`] can be taken back; what is settled stays.
#[derive(Debug)]
pub struct Disk {
    size: u64,
    block: u32,
    state: RwLock<State>,
}

#[derive(Debug)]
struct State {
    settled: Vec<u8>,
    /// By the number of the unit.
    changes: BTreeMap<u64, [u8; UNIT]>,
}

impl Disk {
    /// A disk of `size` bytes with logical blocks of `block` bytes, both multiples of 512.
    #[must_use]
    pub fn new(size: u64, block: u32) -> Self {
        let state = State { settled: vec![0; size as usize], changes: BTreeMap::new() };
        Self { size, block, state: RwLock::new(state) }
    }

    /// Changes a range for good. Changes that can be taken back stay before it.
    ///
    /// # Errors
    /// [`io::ErrorKind::UnexpectedEof`] where the range passes the end.
    pub fn settle(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        check_range(self.size, offset, data.len() as u64)?;
        self.write_state().settled[offset as usize..][..data.len()].copy_from_slice(data);
        Ok(())
    }

    /// Takes back every change that was not settled.
    pub fn revert(&self) {
        self.write_state().changes.clear();
    }

    /// Makes the whole disk zeros, for good.
    pub fn clear(&self) {
        let mut state = self.write_state();
        state.changes.clear();
        state.settled = vec![0; self.size as usize];
    }

    fn write_state(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn read_state(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Device for Disk {
    fn geometry(&self) -> Geometry {
        Geometry {
            size: self.size,
            logical_block: self.block,
            physical_block: self.block,
            discard: Some(Discard { granularity: u64::from(self.block), reads: Promise::Zeros }),
            zero: true,
            compare_and_write: 0,
        }
    }

    fn read(&self, offset: u64, data: &mut [u8]) -> io::Result<()> {
        check_range(self.size, offset, data.len() as u64)?;
        let state = self.read_state();
        data.copy_from_slice(&state.settled[offset as usize..][..data.len()]);
        let first = offset / UNIT as u64;
        let units = data.as_chunks_mut::<UNIT>().0;
        for (unit, changed) in state.changes.range(first..first + units.len() as u64) {
            units[(unit - first) as usize] = *changed;
        }
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8], _fua: bool) -> io::Result<()> {
        check_range(self.size, offset, data.len() as u64)?;
        let first = offset / UNIT as u64;
        self.write_state().changes.extend((first..).zip(data.as_chunks::<UNIT>().0.iter().copied()));
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        Ok(())
    }

    fn discard(&self, offset: u64, len: u64) -> io::Result<()> {
        self.zero(offset, len)
    }

    fn zero(&self, offset: u64, len: u64) -> io::Result<()> {
        self.write(offset, &vec![0; len as usize], false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(disk: &Disk) -> Vec<u8> {
        let mut data = vec![0; disk.size as usize];
        disk.read(0, &mut data).unwrap();
        // One byte a unit.
        data.as_chunks::<UNIT>()
            .0
            .iter()
            .map(|unit| if unit.iter().all(|b| *b == unit[0]) { unit[0] } else { 255 })
            .collect()
    }

    #[test]
    fn what_is_written_can_be_taken_back_and_what_is_settled_stays() {
        let disk = Disk::new(8 * 512, 512);
        disk.settle(512, &[1; 1024]).unwrap();
        disk.write(1024, &[2; 1024], false).unwrap();
        assert_eq!(bytes(&disk), [0, 1, 2, 2, 0, 0, 0, 0]);
        disk.discard(512, 1024).unwrap();
        assert_eq!(bytes(&disk), [0, 0, 0, 2, 0, 0, 0, 0]);
        disk.revert();
        assert_eq!(bytes(&disk), [0, 1, 1, 0, 0, 0, 0, 0]);
        disk.clear();
        assert_eq!(bytes(&disk), [0; 8]);
    }

    #[test]
    fn the_end_is_the_end() {
        let disk = Disk::new(1024, 512);
        assert!(disk.settle(1024, &[0; 512]).is_err());
        assert!(disk.write(512, &[0; 1024], false).is_err());
        assert!(disk.read(u64::MAX - 511, &mut [0; 512]).is_err());
    }
}
