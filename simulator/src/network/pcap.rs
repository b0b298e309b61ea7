//! A capture file that Wireshark and tcpdump read (libpcap's format, version 2.4).

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

/// LINKTYPE_ETHERNET.
const ETHERNET: u32 = 1;

/// A file of frames.
pub struct Pcap(BufWriter<File>);

impl Pcap {
    /// Makes the file.
    ///
    /// # Errors
    /// When that cannot be done.
    pub fn create(path: &Path) -> io::Result<Self> {
        let mut file = BufWriter::new(File::create(path)?);
        // Magic for microseconds, version, zone, accuracy, longest frame, kind.
        let header = [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 65_535, ETHERNET];
        for word in header {
            file.write_all(&word.to_ne_bytes())?;
        }
        file.flush()?;
        Ok(Self(file))
    }

    /// Appends a frame; a file that cannot be written any more is no reason to end a simulation.
    pub fn frame(&mut self, now_us: u64, frame: &[u8]) {
        let len = frame.len() as u32;
        let header = [(now_us / 1_000_000) as u32, (now_us % 1_000_000) as u32, len, len];
        let bytes: Vec<u8> = header.iter().flat_map(|word| word.to_ne_bytes()).chain(frame.iter().copied()).collect();
        let _ = self.0.write_all(&bytes).and_then(|()| self.0.flush());
    }
}
