//! SD cards on a host controller of the SD bus (Physical Layer Simplified Specification, chapter 4): SDHC and SDXC over four
//! lines.
//!
//! A write is programmed when it is acknowledged: its CMD25 has ended, and the card is no longer busy. So nothing that was
//! acknowledged can be lost later, and [`NativeCard::flush`] has nothing to do.
//!
//! Errors are met as in SPI mode: three tries, the card initialised again where driver and card do not agree, one clock
//! lower the last time; a card that was put back goes on, another one is [`Error::Changed`].

mod host;
mod start;
mod status;
#[cfg(test)]
mod tests;

pub use host::{Answer, Command, Fault, Lines, Response, SdHost};

use super::command::{acmd, cmd};
use super::transfer::ERASE_BLOCKS;
use super::{BLOCK, Cid, Csd, Erased, Error, TRIES, limit};
use crate::Clock;
use crate::card::{Card, Facts};
use status::{State, Status};

/// Most blocks of one transfer: the controllers' counters have 16 bits.
const TRANSFER_BLOCKS: usize = 65_535;

/// What is known of a card that is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NativeInfo {
    /// Which card it is.
    pub cid: Cid,
    /// Its size and abilities.
    pub csd: Csd,
    /// What erased blocks read as.
    pub erased: Erased,
    /// The clock in Hz.
    pub clock_hz: u32,
    /// Its address on the bus, in the upper half as commands take it.
    rca: u32,
    /// Index in [`LADDER_HZ`](super::LADDER_HZ) of the clock that was asked for.
    rung: usize,
}

/// A card in a slot with a host controller.
#[derive(Debug)]
pub struct NativeCard<H, K> {
    host: H,
    clock: K,
    /// The card that was started; stays when it is removed.
    info: Option<NativeInfo>,
    /// The card has to be initialised before the next command.
    stale: bool,
    /// A request began and did not end: its future was dropped.
    under_way: bool,
}

impl<H: SdHost, K: Clock> NativeCard<H, K> {
    /// Takes the controller and a clock; sends nothing.
    pub fn new(host: H, clock: K) -> Self {
        NativeCard { host, clock, info: None, stale: true, under_way: false }
    }

    /// Initialises the card that is in the slot, whichever it is.
    ///
    /// # Errors
    /// When no card answers, when it is of a kind that is not served, and when three tries failed.
    pub async fn start(&mut self) -> Result<NativeInfo, Error> {
        self.info = None;
        let mut result = Err(Error::Absent);
        for _ in 0..TRIES {
            result = self.initialise(0).await;
            match result {
                Err(error) if error.is_transient() => {}
                _ => break,
            }
        }
        self.under_way = false;
        result
    }

    /// The card that was started last, also when it is out of the slot.
    pub fn info(&self) -> Option<&NativeInfo> {
        self.info.as_ref()
    }

    /// Where the request before this one was left in the middle, nobody knows what the card is doing.
    fn begin(&mut self) {
        if core::mem::replace(&mut self.under_way, true) {
            self.stale = true;
        }
    }

    fn check(&self, first: u32, bytes: usize) -> Result<(), Error> {
        if bytes == 0 || !bytes.is_multiple_of(BLOCK) {
            return Err(Error::Length);
        }
        let info = self.info.as_ref().ok_or(Error::Absent)?;
        let count = u64::try_from(bytes / BLOCK).map_err(|_| Error::OutOfRange)?;
        match u64::from(first).checked_add(count) {
            Some(end) if end <= info.csd.blocks() => Ok(()),
            _ => Err(Error::OutOfRange),
        }
    }

    fn check_writable(&self) -> Result<(), Error> {
        match &self.info {
            Some(info) if info.csd.is_write_protected() => Err(Error::WriteProtected),
            _ => Ok(()),
        }
    }

    async fn read_tries(&mut self, first: u32, data: &mut [u8]) -> Result<(), Error> {
        let mut result = Ok(());
        for attempt in 1..=TRIES {
            result = match self.ready(attempt).await {
                Ok(()) => self.try_read(first, data).await,
                Err(error) => Err(error),
            };
            if self.is_settled(result, attempt).await {
                break;
            }
        }
        result
    }

    async fn write_tries(&mut self, first: u32, data: &[u8]) -> Result<(), Error> {
        let mut result = Ok(());
        for attempt in 1..=TRIES {
            result = match self.ready(attempt).await {
                Ok(()) => self.try_write(first, data).await,
                Err(error) => Err(error),
            };
            if self.is_settled(result, attempt).await {
                break;
            }
        }
        result
    }

    /// Initialises the card where that is needed; before the last try one clock lower than what failed.
    async fn ready(&mut self, attempt: usize) -> Result<(), Error> {
        if !self.stale {
            return Ok(());
        }
        let rung = self.info.as_ref().map_or(0, |info| info.rung);
        let rung = if attempt == TRIES { (rung + 1).min(super::LADDER_HZ.len() - 1) } else { rung };
        self.initialise(rung).await.map(drop)
    }

    async fn initialise(&mut self, rung: usize) -> Result<NativeInfo, Error> {
        self.stale = true;
        let info = self.identify(rung).await?;
        if self.info.is_some_and(|before| before.cid != info.cid) {
            return Err(Error::Changed);
        }
        self.info = Some(info);
        self.stale = false;
        Ok(info)
    }

    /// After a try: whether its result is the request's. Otherwise driver and card agree again, or the card is going to
    /// be initialised.
    async fn is_settled(&mut self, result: Result<(), Error>, attempt: usize) -> bool {
        let Err(error) = result else { return true };
        if !self.stale && self.stop().await.is_err() {
            self.stale = true;
        }
        attempt == TRIES || !error.is_transient()
    }

    async fn try_read(&mut self, first: u32, data: &mut [u8]) -> Result<(), Error> {
        let blocks = blocks_of(data.len());
        let single = blocks == 1;
        let index = if single { cmd::READ_SINGLE_BLOCK } else { cmd::READ_MULTIPLE_BLOCK };
        let command = Command { index, argument: first, response: Response::Short };
        let answer = self.host.read(command, BLOCK, data).await.map_err(|fault| error_of(fault, index))?;
        checked(index, status_in(answer))?;
        if single {
            return Ok(());
        }
        let status = self.command_status(cmd::STOP_TRANSMISSION, 0, Response::ShortBusy).await?;
        let is_end = self.info.is_some_and(|info| info.csd.blocks() == u64::from(first) + u64::from(blocks));
        checked(cmd::STOP_TRANSMISSION, if is_end { status.forgiving_end() } else { status })
    }

    async fn try_write(&mut self, first: u32, data: &[u8]) -> Result<(), Error> {
        let blocks = blocks_of(data.len());
        let single = blocks == 1;
        let index = if single { cmd::WRITE_BLOCK } else { cmd::WRITE_MULTIPLE_BLOCK };
        if !single {
            // 4.3.4: the card may erase ahead what is going to be written.
            self.app_command(acmd::SET_WR_BLK_ERASE_COUNT, blocks).await?;
        }
        let command = Command { index, argument: first, response: Response::Short };
        let answer = self.host.write(command, data).await.map_err(|fault| match fault {
            Fault::DataCrc => Error::Write(0x0b),
            Fault::DataTimeout => Error::BusyTimeout,
            other => error_of(other, index),
        })?;
        checked(index, status_in(answer))?;
        if !single {
            let status = self.command_status(cmd::STOP_TRANSMISSION, 0, Response::ShortBusy).await?;
            checked(cmd::STOP_TRANSMISSION, status)?;
        }
        self.wait_ready(limit::WRITE_US).await
    }

    async fn try_erase(&mut self, first: u32, count: u32) -> Result<(), Error> {
        let mut next = first;
        let mut left = count;
        while left > 0 {
            let now = left.min(ERASE_BLOCKS);
            self.command_ok(cmd::ERASE_WR_BLK_START_ADDR, next).await?;
            self.command_ok(cmd::ERASE_WR_BLK_END_ADDR, next.wrapping_add(now - 1)).await?;
            let status = self.command_status(cmd::ERASE, 0, Response::ShortBusy).await?;
            checked(cmd::ERASE, status)?;
            self.wait_ready(limit::ERASE_US).await?;
            next = next.wrapping_add(now);
            left -= now;
        }
        Ok(())
    }

    /// Brings the card back to where it takes commands, whatever transfer it is in.
    async fn stop(&mut self) -> Result<(), Error> {
        // The first answer tells of the errors that led here, and clears them.
        let status = self.status().await?;
        if matches!(status.state(), State::Sending | State::Receiving) {
            self.command_status(cmd::STOP_TRANSMISSION, 0, Response::ShortBusy).await?;
        }
        self.wait_ready(limit::WRITE_US).await
    }

    /// CMD13, until the card takes the next command with data.
    async fn wait_ready(&mut self, limit_us: u64) -> Result<(), Error> {
        let start = self.clock.now_us();
        loop {
            // Before the question: a task that was late asks once more.
            let waited = self.clock.now_us().saturating_sub(start);
            let status = self.status().await?;
            checked(cmd::SEND_STATUS, status)?;
            if status.is_ready() {
                return Ok(());
            }
            if waited > limit_us {
                return Err(Error::BusyTimeout);
            }
            if waited > limit::EAGER_US {
                self.clock.sleep_us(limit::PAUSE_US).await;
            }
        }
    }

    async fn status(&mut self) -> Result<Status, Error> {
        let rca = self.info.map_or(0, |info| info.rca);
        self.command_status(cmd::SEND_STATUS, rca, Response::Short).await
    }

    async fn command_status(&mut self, index: u8, argument: u32, response: Response) -> Result<Status, Error> {
        self.short(index, argument, response).await.map(Status)
    }

    async fn command_ok(&mut self, index: u8, argument: u32) -> Result<(), Error> {
        let status = self.command_status(index, argument, Response::Short).await?;
        checked(index, status)
    }

    /// CMD55 and an application command.
    async fn app_command(&mut self, index: u8, argument: u32) -> Result<(), Error> {
        let rca = self.info.map_or(0, |info| info.rca);
        self.command_ok(cmd::APP_CMD, rca).await?;
        self.command_ok(index, argument).await
    }

    async fn short(&mut self, index: u8, argument: u32, response: Response) -> Result<u32, Error> {
        let command = Command { index, argument, response };
        match self.host.command(command).await.map_err(|fault| error_of(fault, index))? {
            Answer::Short(bits) => Ok(bits),
            _ => Err(Error::NoResponse(index)),
        }
    }
}

impl<H: SdHost, K: Clock> Card for NativeCard<H, K> {
    async fn start(&mut self) -> Result<Facts, Error> {
        let info = NativeCard::start(self).await?;
        Ok(Facts::new(&info.csd, info.cid, info.erased, info.clock_hz))
    }

    async fn read(&mut self, first: u32, data: &mut [u8]) -> Result<(), Error> {
        self.check(first, data.len())?;
        self.begin();
        let mut next = first;
        let mut result = Ok(());
        for part in data.chunks_mut(TRANSFER_BLOCKS * BLOCK) {
            result = self.read_tries(next, part).await;
            if result.is_err() {
                break;
            }
            next = next.wrapping_add(blocks_of(part.len()));
        }
        self.under_way = false;
        result
    }

    async fn write(&mut self, first: u32, data: &[u8]) -> Result<(), Error> {
        self.check(first, data.len())?;
        self.check_writable()?;
        self.begin();
        let mut next = first;
        let mut result = Ok(());
        for part in data.chunks(TRANSFER_BLOCKS * BLOCK) {
            result = self.write_tries(next, part).await;
            if result.is_err() {
                break;
            }
            next = next.wrapping_add(blocks_of(part.len()));
        }
        self.under_way = false;
        result
    }

    async fn erase(&mut self, first: u32, count: u32) -> Result<(), Error> {
        self.check(first, usize::try_from(count).unwrap_or(usize::MAX).saturating_mul(BLOCK))?;
        self.check_writable()?;
        self.begin();
        let mut result = Ok(());
        for attempt in 1..=TRIES {
            result = match self.ready(attempt).await {
                Ok(()) => self.try_erase(first, count).await,
                Err(error) => Err(error),
            };
            if self.is_settled(result, attempt).await {
                break;
            }
        }
        self.under_way = false;
        result
    }

    /// Everything is durable already.
    async fn flush(&mut self) -> Result<(), Error> {
        Ok(())
    }

    fn forget_loss(&mut self) {}
}

fn blocks_of(bytes: usize) -> u32 {
    u32::try_from(bytes / BLOCK).unwrap_or(u32::MAX)
}

fn status_in(answer: Answer) -> Status {
    match answer {
        Answer::Short(bits) => Status(bits),
        _ => Status(0),
    }
}

/// An error bit in the answer to a command.
fn checked(index: u8, status: Status) -> Result<(), Error> {
    match status.errors() {
        0 => Ok(()),
        bits => Err(Error::CardStatus(index, bits)),
    }
}

fn error_of(fault: Fault, index: u8) -> Error {
    match fault {
        Fault::NoResponse => Error::NoResponse(index),
        Fault::Response | Fault::DataCrc => Error::Crc,
        Fault::DataTimeout => Error::ReadTimeout,
        Fault::Controller => Error::Bus,
    }
}
