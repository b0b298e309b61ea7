//! What must not be overwritten by mistake: a disk that is in use, or that holds something.

use std::io;

pub use iesp_inspect::who_uses;

use super::Device;
use super::buffer::Buffer;

/// Why a disk should not be overwritten, in words for the user; `None` when nothing speaks against it.
///
/// # Errors
/// What reading the beginning of the disk met.
pub fn what_it_holds(device: &dyn Device) -> io::Result<Option<String>> {
    let geometry = device.geometry();
    let block = u64::from(geometry.logical_block);
    let len = (iesp_inspect::LOOKED_AT as u64).min(geometry.size) / block * block;
    let mut data = Buffer::new(len as usize);
    device.read(0, &mut data)?;
    Ok(iesp_inspect::signature(&data).map(|name| format!("it holds {name}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::memory::Memory;

    #[test]
    fn what_a_disk_holds_is_seen() -> io::Result<()> {
        let mut start = vec![0; iesp_inspect::LOOKED_AT];
        start[..4].copy_from_slice(b"XFSB");
        let disk = Memory::new(1 << 20, 512);
        disk.write(0, &start, false)?;
        assert_eq!(what_it_holds(&disk)?, Some("it holds an XFS file system".to_owned()));
        Ok(())
    }

    #[test]
    fn an_empty_disk_and_a_tiny_one_are_free() -> io::Result<()> {
        assert_eq!(what_it_holds(&Memory::new(1 << 20, 4096))?, None);
        assert_eq!(what_it_holds(&Memory::new(512, 512))?, None);
        Ok(())
    }
}
