//! Answers that wait for company. An initiator that keeps many commands in flight and a target that is quicker than it fall into
//! step: each command is received by itself, and its answer sent by itself, and these calls cost more than the commands. So where
//! few of the writes that the initiator keeps in flight are here, their answers wait a moment for more of them, in one call that
//! ends when enough bytes have come. Some commands are never waited for: they keep the initiator busy meanwhile.

use std::io;
use std::os::fd::AsRawFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};
use rustix::time::Timespec;
use tokio::net::TcpStream;

use super::{Driver, TASKS, input};

/// Commands in flight from which on answers wait: an initiator with fewer would have nothing to do.
const FEWEST: u32 = 16;

/// So many commands at least are not waited for.
const LEFT: u32 = 8;

/// Answers that leave together at most because they waited: more make the calls no cheaper.
const MOST: u32 = 24;

/// Bytes of a command from which on data come with it. Without, an initiator sends them faster than they are carried out.
const SMALL: usize = 512;

/// Bytes of a command, its data and its answer from which on these cost more than the calls.
const LARGE: usize = 16 << 10;

/// The longest wait. The kernel adds up to 50 microseconds.
const LONGEST: Duration = Duration::from_micros(150);

/// One part in so many of what is waited for is company.
const PART: usize = 4;

/// So many waits in a row that ended without company are borne.
const VAIN: u32 = 3;

/// Most sends that follow such waits at once, as a power of two.
const SKIPPED: u32 = 10;

/// What a connection knows of the answers that wait.
#[derive(Debug, Default)]
pub struct Company {
    /// The StatSN of the first answer that has not left.
    first: u32,
    /// Bytes that came since the last one left.
    came: usize,
    /// These answers have waited already.
    waited: bool,
    /// Waits in a row without company.
    vain: u32,
    /// Sends that do not wait.
    skip: u32,
}

impl Company {
    /// Bytes came.
    #[inline]
    pub fn came(&mut self, bytes: usize) {
        self.came += bytes;
    }

    /// All answers before this StatSN have left.
    #[inline]
    pub fn left(&mut self, next: u32) {
        *self = Self { first: next, came: 0, waited: false, ..*self };
    }

    /// Bytes that are worth waiting for. `next` is the StatSN of the next answer, those before it have `going` bytes; the
    /// initiator keeps `flight` commands in flight.
    fn wanted(&mut self, next: u32, flight: u32, going: usize) -> Option<usize> {
        let here = next.wrapping_sub(self.first);
        // What an initiator acknowledges may be anything.
        if self.waited || here == 0 || !(FEWEST..=TASKS as u32).contains(&flight) {
            return None;
        }
        let missing = (flight - LEFT).min(MOST).checked_sub(here).filter(|missing| *missing > 0)?;
        let size = self.came / here as usize;
        if size < SMALL || size + going / here as usize > LARGE {
            return None;
        }
        if self.skip > 0 {
            self.skip -= 1;
            return None;
        }
        self.waited = true;
        Some(missing as usize * size)
    }

    /// A wait for so many bytes has ended with so many.
    fn met(&mut self, wanted: usize, bytes: usize) {
        self.came += bytes;
        self.vain = if bytes >= wanted / PART { 0 } else { self.vain + 1 };
        if self.vain > VAIN {
            self.skip = 1 << self.vain.min(SKIPPED);
        }
    }
}

impl Driver<'_> {
    /// Waits for company where that is worth it; whether any came. Only where the thread has nothing else to do.
    ///
    /// # Errors
    /// The system's.
    pub(super) fn wait_for_company(&mut self, stream: &TcpStream, need: usize) -> io::Result<bool> {
        if !self.pace.is_blocking() || self.outgoing.is_empty() || self.depends_on_others() {
            return Ok(false);
        }
        let going = self.outgoing.unsent().len();
        let (next, flight) = (self.protocol.next_stat_sn(), self.protocol.unacknowledged());
        let Some(wanted) = self.company.wanted(next, flight, going) else { return Ok(false) };
        wait_for_bytes(stream, wanted)?;
        let room = input::destination(&mut self.placing, &mut self.inbox, need);
        // The end of the stream, and what is wrong with it, is met again when the answers have left.
        let count = recv(stream, room, RecvFlags::DONTWAIT).map_or(0, |(_, count)| count);
        self.came(count);
        self.company.met(wanted, count);
        Ok(count > 0)
    }
}

/// Until so many bytes have come, or the connection's end, or for [`LONGEST`].
fn wait_for_bytes(stream: &TcpStream, count: usize) -> io::Result<()> {
    set_low_water(stream, count)?;
    let limit = Timespec { tv_sec: 0, tv_nsec: i64::from(LONGEST.subsec_nanos()) };
    let ready = poll(&mut [PollFd::new(stream, PollFlags::IN)], Some(&limit));
    // All other waits are for anything.
    set_low_water(stream, 1)?;
    match ready {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// So many bytes make the socket ready to be read (SO_RCVLOWAT).
fn set_low_water(stream: &TcpStream, bytes: usize) -> io::Result<()> {
    let bytes = bytes as libc::c_int;
    let size = size_of_val(&bytes) as libc::socklen_t;
    // SAFETY: the descriptor is open as long as `stream`, and the kernel reads `size` bytes of a value that is there; no crate in
    // use here has this option.
    let set = unsafe {
        libc::setsockopt(stream.as_raw_fd(), libc::SOL_SOCKET, libc::SO_RCVLOWAT, (&raw const bytes).cast(), size)
    };
    if set == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of `here` commands of 4 KiB that came since the last send.
    fn with(here: u32) -> (Company, u32) {
        let mut company = Company::default();
        company.left(u32::MAX - 1);
        company.came(here as usize * 4096);
        (company, (u32::MAX - 1).wrapping_add(here))
    }

    #[test]
    fn answers_wait_for_most_of_what_is_in_flight() {
        let wanted = |here, flight| {
            let (mut company, next) = with(here);
            company.wanted(next, flight, 0).map(|bytes| bytes / 4096)
        };
        assert_eq!((wanted(1, 32), wanted(20, 32), wanted(23, 32)), (Some(23), Some(4), Some(1)));
        assert_eq!((wanted(24, 32), wanted(32, 32), wanted(0, 32)), (None, None, None));
        assert_eq!((wanted(1, 1), wanted(1, 15), wanted(1, 16), wanted(8, 16)), (None, None, Some(7), None));
        assert_eq!((wanted(1, 100), wanted(24, 100)), (Some(23), None), "not for all of many");
        assert_eq!((wanted(1, TASKS as u32 + 1), wanted(1, u32::MAX)), (None, None), "numbers that cannot be");
    }

    #[test]
    fn they_wait_once_and_for_commands_with_a_little_data() {
        let (mut company, next) = with(1);
        assert!(company.wanted(next, 32, 0).is_some());
        assert!(company.wanted(next, 32, 0).is_none());
        let mut wanted = |bytes, going| {
            company.left(next);
            company.came(bytes);
            company.wanted(next.wrapping_add(1), 32, going).is_some()
        };
        assert_eq!((wanted(48, 0), wanted(560, 48), wanted(LARGE, 0)), (false, true, true));
        assert_eq!((wanted(LARGE, 1), wanted(4096, LARGE), wanted(LARGE + 1, 0)), (false, false, false));
    }

    #[test]
    fn where_no_company_comes_they_wait_ever_more_seldom() {
        let (mut company, mut next) = with(0);
        let mut waits = |company: &mut Company, sends, bytes| {
            let mut waits = 0;
            for _ in 0..sends {
                company.left(next);
                company.came(4096);
                next = next.wrapping_add(1);
                if let Some(wanted) = company.wanted(next, 32, 0) {
                    waits += 1;
                    company.met(wanted, bytes);
                }
            }
            waits
        };
        let vain = waits(&mut company, 100_000, 4096);
        assert!((90..150).contains(&vain), "{vain}");
        assert!(waits(&mut company, 2 << SKIPPED, 8 * 4096) > 900, "it came once, and may come again");
        assert_eq!(waits(&mut company, 100, 8 * 4096), 100);
    }
}
