//! A plain NBD server (fixed newstyle, simple replies) for one device, on a Unix socket; for tests alone.

use std::io::{self, BufReader, ErrorKind, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::thread;

use crate::device::{Device, Promise, check_range};

const MAGIC: &[u8; 8] = b"NBDMAGIC";
const OPTION_MAGIC: &[u8; 8] = b"IHAVEOPT";
const OPTION_REPLY: u64 = 0x0003_e889_0455_65a9;
const REQUEST: u32 = 0x2560_9513;
const SIMPLE_REPLY: u32 = 0x6744_6698;

/// FIXED_NEWSTYLE and NO_ZEROES.
const HANDSHAKE_FLAGS: u16 = 0b11;
const NO_ZEROES: u32 = 0b10;
/// HAS_FLAGS, SEND_FLUSH, SEND_FUA, SEND_WRITE_ZEROES.
const EXPORT_FLAGS: u16 = 1 | 1 << 2 | 1 << 3 | 1 << 6;

const OPTION_EXPORT_NAME: u32 = 1;
const OPTION_ABORT: u32 = 2;
const OPTION_INFO: u32 = 6;
const OPTION_GO: u32 = 7;
const REPLY_ACK: u32 = 1;
const REPLY_INFO: u32 = 3;
const REPLY_UNSUPPORTED: u32 = 0x8000_0001;
const INFO_EXPORT: u16 = 0;
const INFO_BLOCK_SIZE: u16 = 3;

const READ: u16 = 0;
const WRITE: u16 = 1;
const DISCONNECT: u16 = 2;
const FLUSH: u16 = 3;
const WRITE_ZEROES: u16 = 6;
const FUA: u16 = 1;

/// Most bytes of a request or an option.
const MOST: u32 = 32 << 20;
const EIO: u32 = 5;
const EINVAL: u32 = 22;

/// Serves `device` at `socket` for as long as the process lives, each connection in a thread of its own.
///
/// # Errors
/// When there is no such socket or no thread.
pub fn serve(socket: &Path, device: Arc<dyn Device>) -> io::Result<()> {
    let listener = UnixListener::bind(socket)?;
    thread::Builder::new().name("nbd".to_owned()).spawn(move || {
        for stream in listener.incoming().flatten() {
            let device = Arc::clone(&device);
            let spawned = thread::Builder::new().name("nbd-client".to_owned()).spawn(move || {
                match serve_one(stream, &*device) {
                    Ok(()) => {}
                    // A client that was killed.
                    Err(error) if matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::BrokenPipe) => {}
                    Err(error) => eprintln!("faulty-target: an NBD connection: {error}"),
                }
            });
            if let Err(error) = spawned {
                eprintln!("faulty-target: no thread for an NBD connection: {error}");
            }
        }
    })?;
    Ok(())
}

fn serve_one(stream: UnixStream, device: &dyn Device) -> io::Result<()> {
    let mut from = BufReader::new(stream.try_clone()?);
    let mut to = stream;
    if handshake(&mut from, &mut to, device)? { transmission(&mut from, &mut to, device) } else { Ok(()) }
}

/// Whether the transmission phase follows.
fn handshake(from: &mut impl Read, to: &mut impl Write, device: &dyn Device) -> io::Result<bool> {
    to.write_all(&[&MAGIC[..], OPTION_MAGIC, &HANDSHAKE_FLAGS.to_be_bytes()].concat())?;
    let client_flags = u32::from_be_bytes(take(from)?);
    let size = device.geometry().size;
    loop {
        if take::<8>(from)? != *OPTION_MAGIC {
            return Err(io::Error::new(ErrorKind::InvalidData, "no option"));
        }
        let (option, length) = (u32::from_be_bytes(take(from)?), u32::from_be_bytes(take(from)?));
        // The default export is the only one, whatever its name: names and wishes are not looked at.
        skip(from, length)?;
        let mut reply = |kind: u32, data: &[u8]| {
            let (option, length) = (option.to_be_bytes(), (data.len() as u32).to_be_bytes());
            to.write_all(&[&OPTION_REPLY.to_be_bytes()[..], &option, &kind.to_be_bytes(), &length, data].concat())
        };
        match option {
            OPTION_INFO | OPTION_GO => {
                let export = [&INFO_EXPORT.to_be_bytes()[..], &size.to_be_bytes(), &EXPORT_FLAGS.to_be_bytes()];
                reply(REPLY_INFO, &export.concat())?;
                let block = device.geometry().logical_block.to_be_bytes();
                let preferred = 4096_u32.to_be_bytes();
                let sizes = [&INFO_BLOCK_SIZE.to_be_bytes()[..], &block, &preferred, &MOST.to_be_bytes()];
                reply(REPLY_INFO, &sizes.concat())?;
                reply(REPLY_ACK, &[])?;
                if option == OPTION_GO {
                    return Ok(true);
                }
            }
            OPTION_EXPORT_NAME => {
                to.write_all(&[&size.to_be_bytes()[..], &EXPORT_FLAGS.to_be_bytes()].concat())?;
                if client_flags & NO_ZEROES == 0 {
                    to.write_all(&[0; 124])?;
                }
                return Ok(true);
            }
            OPTION_ABORT => {
                reply(REPLY_ACK, &[])?;
                return Ok(false);
            }
            _ => reply(REPLY_UNSUPPORTED, &[])?,
        }
    }
}

fn transmission(from: &mut impl Read, to: &mut impl Write, device: &dyn Device) -> io::Result<()> {
    loop {
        if u32::from_be_bytes(take(from)?) != REQUEST {
            return Err(io::Error::new(ErrorKind::InvalidData, "no request"));
        }
        let (flags, kind) = (u16::from_be_bytes(take(from)?), u16::from_be_bytes(take(from)?));
        let cookie: [u8; 8] = take(from)?;
        let (offset, length) = (u64::from_be_bytes(take(from)?), u32::from_be_bytes(take(from)?));
        if kind == DISCONNECT {
            return Ok(());
        }
        if matches!(kind, READ | WRITE) && length > MOST {
            return Err(io::Error::new(ErrorKind::InvalidData, "a request that is too long"));
        }
        let mut data = vec![0; if matches!(kind, READ | WRITE) { length as usize } else { 0 }];
        if kind == WRITE {
            from.read_exact(&mut data)?;
        }
        let done = perform(device, kind, flags & FUA != 0, offset, length, &mut data);
        let error = match &done {
            Ok(()) => 0_u32,
            Err(error) if error.kind() == ErrorKind::InvalidInput => EINVAL,
            Err(_) => EIO,
        };
        to.write_all(&[&SIMPLE_REPLY.to_be_bytes()[..], &error.to_be_bytes(), &cookie].concat())?;
        if kind == READ && done.is_ok() {
            to.write_all(&data)?;
        }
    }
}

fn perform(device: &dyn Device, kind: u16, fua: bool, offset: u64, length: u32, data: &mut [u8]) -> io::Result<()> {
    let block = u64::from(device.geometry().logical_block);
    let in_blocks = offset.is_multiple_of(block) && u64::from(length).is_multiple_of(block);
    if kind != FLUSH && (!in_blocks || check_range(device.geometry().size, offset, u64::from(length)).is_err()) {
        return Err(ErrorKind::InvalidInput.into());
    }
    match kind {
        READ => device.read(offset, data),
        WRITE => device.write(offset, data, fua),
        FLUSH => device.flush(),
        WRITE_ZEROES => {
            // A hole takes no space, whether or not one was asked for; not everywhere does it read as zeros.
            let reads_as_zeros = device.geometry().discard.is_some_and(|discard| discard.reads == Promise::Zeros);
            if !reads_as_zeros || device.discard(offset, u64::from(length)).is_err() {
                device.zero(offset, u64::from(length))?;
            }
            if fua { device.flush() } else { Ok(()) }
        }
        _ => Err(ErrorKind::InvalidInput.into()),
    }
}

fn take<const N: usize>(from: &mut impl Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    from.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn skip(from: &mut impl Read, length: u32) -> io::Result<()> {
    if length > MOST {
        return Err(io::Error::new(ErrorKind::InvalidData, "an option that is too long"));
    }
    io::copy(&mut from.take(u64::from(length)), &mut io::sink()).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::memory::Memory;
    use crate::device::{Discard, Geometry};

    /// A disk whose discards leave anything.
    struct Careless(Memory);

    impl Device for Careless {
        fn geometry(&self) -> Geometry {
            Geometry { discard: Some(Discard { granularity: 512, reads: Promise::Anything }), ..self.0.geometry() }
        }

        fn read(&self, offset: u64, data: &mut [u8]) -> io::Result<()> {
            self.0.read(offset, data)
        }

        fn write(&self, offset: u64, data: &[u8], fua: bool) -> io::Result<()> {
            self.0.write(offset, data, fua)
        }

        fn flush(&self) -> io::Result<()> {
            self.0.flush()
        }

        fn discard(&self, _: u64, _: u64) -> io::Result<()> {
            Ok(())
        }

        fn zero(&self, offset: u64, len: u64) -> io::Result<()> {
            self.0.zero(offset, len)
        }
    }

    #[test]
    fn zeros_are_zeros_where_a_discard_promises_none() {
        let device = Careless(Memory::new(4096, 512));
        perform(&device, WRITE, false, 0, 1024, &mut [7; 1024]).unwrap();
        perform(&device, WRITE_ZEROES, false, 0, 512, &mut []).unwrap();
        let mut data = [1; 1024];
        perform(&device, READ, false, 0, 1024, &mut data).unwrap();
        assert_eq!(data, *[[0; 512], [7; 512]].as_flattened());
    }
}
