//! A disk in RAM: the reference for tests, with COMPARE AND WRITE.

use std::io;
use std::sync::{Mutex, PoisonError};

use super::{Compared, Device, Discard, Geometry, Promise, check_range};

/// A disk in RAM that does everything right. Gone when it is dropped.
pub struct Memory {
    geometry: Geometry,
    data: Mutex<Vec<u8>>,
}

impl Memory {
    /// A zeroed disk of `size` bytes with logical blocks of `block` bytes; a rest shorter than a block is left out.
    #[must_use]
    pub fn new(size: u64, block: u32) -> Self {
        let size = size - size % u64::from(block);
        let geometry = Geometry {
            size,
            logical_block: block,
            physical_block: block,
            discard: Some(Discard { granularity: u64::from(block), reads: Promise::Zeros }),
            zero: true,
            compare_and_write: 64 * block,
        };
        Self { geometry, data: Mutex::new(vec![0; size as usize]) }
    }

    /// Runs `f` on the bytes of `[offset, offset + len)`.
    fn with<T>(&self, offset: u64, len: usize, f: impl FnOnce(&mut [u8]) -> T) -> io::Result<T> {
        check_range(self.geometry.size, offset, len as u64)?;
        let mut data = self.data.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(f(&mut data[offset as usize..][..len]))
    }
}

impl Device for Memory {
    fn geometry(&self) -> Geometry {
        self.geometry
    }

    fn read(&self, offset: u64, data: &mut [u8]) -> io::Result<()> {
        self.with(offset, data.len(), |bytes| data.copy_from_slice(bytes))
    }

    fn write(&self, offset: u64, data: &[u8], _fua: bool) -> io::Result<()> {
        self.with(offset, data.len(), |bytes| bytes.copy_from_slice(data))
    }

    fn flush(&self) -> io::Result<()> {
        Ok(())
    }

    fn discard(&self, offset: u64, len: u64) -> io::Result<()> {
        self.zero(offset, len)
    }

    fn zero(&self, offset: u64, len: u64) -> io::Result<()> {
        self.with(offset, len as usize, |bytes| bytes.fill(0))
    }

    fn compare_and_write(&self, offset: u64, expected: &[u8], new: &[u8]) -> io::Result<Compared> {
        self.with(offset, expected.len(), |bytes| {
            if bytes == expected {
                bytes.copy_from_slice(new);
                Compared::Written
            } else {
                Compared::Miscompare
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_was_written() -> io::Result<()> {
        let disk = Memory::new(10_000, 512);
        assert_eq!(disk.geometry().size, 9728);
        disk.write(512, &[7; 1024], false)?;
        let mut data = [1; 1536];
        disk.read(0, &mut data)?;
        assert!(data[..512].iter().all(|&b| b == 0) && data[512..].iter().all(|&b| b == 7));
        disk.discard(1024, 512)?;
        disk.read(0, &mut data)?;
        assert!(data[1024..].iter().all(|&b| b == 0));
        Ok(())
    }

    #[test]
    fn the_end_is_the_end() {
        let disk = Memory::new(4096, 512);
        assert!(disk.read(4096 - 512, &mut [0; 512]).is_ok());
        assert_eq!(disk.read(4096, &mut [0; 512]).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        assert!(disk.write(u64::MAX - 511, &[0; 512], false).is_err());
    }

    #[test]
    fn compare_and_write_is_all_or_nothing() -> io::Result<()> {
        let disk = Memory::new(4096, 512);
        assert_eq!(disk.compare_and_write(0, &[0; 512], &[1; 512])?, Compared::Written);
        assert_eq!(disk.compare_and_write(0, &[0; 512], &[2; 512])?, Compared::Miscompare);
        let mut data = [0; 512];
        disk.read(0, &mut data)?;
        assert_eq!(data, [1; 512]);
        Ok(())
    }
}
