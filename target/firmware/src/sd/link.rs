//! Bytes between the board and a card: commands, responses, data blocks, busy (Physical Layer Simplified
//! Specification 7.2, 7.5).

use embedded_hal::digital::OutputPin;

use super::command::{R1, acmd, cmd, frame};
use super::crc::crc16;
use super::{BLOCK, CardBus, Error};
use crate::Clock;

/// What an idle line reads as, and what goes out while the card speaks.
const IDLE: u8 = 0xff;
/// Before a block of CMD9, 10, 17, 18 and 24 (7.3.3.2).
const START_BLOCK: u8 = 0xfe;
/// Before each block of CMD25.
const START_MULTIPLE: u8 = 0xfc;
/// Ends CMD25.
const STOP_TRAN: u8 = 0xfd;
/// N_CR: a response begins within eight bytes (7.5.4).
const RESPONSE_BYTES: usize = 8;

/// Times that a card has (4.6.2); the card's own limits are shorter, but cards that clean up exceed them.
pub mod limit {
    /// From a read command or a block to the next one: 100 ms by the book.
    pub const READ_US: u64 = 300_000;
    /// Busy after a block: 250 ms (SDHC) or 500 ms (SDXC) by the book.
    pub const WRITE_US: u64 = 1_000_000;
    /// Busy after an erase of at most [`ERASE_BLOCKS`](super::super::transfer::ERASE_BLOCKS).
    pub const ERASE_US: u64 = 10_000_000;
    /// From the first ACMD41 to the end of initialisation: 1 s by the book.
    pub const INIT_US: u64 = 1_500_000;
    /// Polling is eager for so long, then with pauses in which other tasks run.
    pub const EAGER_US: u64 = 1_000;
    /// Such a pause.
    pub const PAUSE_US: u32 = 100;
}

/// Which transfer a written block belongs to.
#[derive(Clone, Copy)]
pub enum Writing {
    /// CMD24.
    Single,
    /// CMD25.
    Multiple,
}

pub struct Link<B, S, K> {
    pub bus: B,
    pub select: S,
    pub clock: K,
    /// Highest clock, in Hz.
    pub limit_hz: u32,
}

impl<B: CardBus, S: OutputPin, K: Clock> Link<B, S, K> {
    /// Chip select low: the card listens.
    pub async fn select(&mut self) -> Result<(), Error> {
        self.select.set_low().map_err(|_| Error::Bus)
    }

    /// Chip select high, and eight clocks in which the card lets go of its line (7.5.1.1).
    pub async fn deselect(&mut self) -> Result<(), Error> {
        self.bus.flush().await.map_err(|_| Error::Bus)?;
        self.select.set_high().map_err(|_| Error::Bus)?;
        self.skip(1).await
    }

    /// Clocks `bytes` bytes through and ignores what comes.
    pub async fn skip(&mut self, bytes: usize) -> Result<(), Error> {
        for _ in 0..bytes {
            self.byte().await?;
        }
        Ok(())
    }

    /// Sends a command to a card that is ready for one and waits for its response.
    pub async fn command(&mut self, index: u8, argument: u32) -> Result<R1, Error> {
        self.wait_ready(limit::WRITE_US).await?;
        self.command_at_once(index, argument).await
    }

    /// As [`command`](Self::command), for what is allowed while the card is busy or sends: CMD0 and CMD12.
    pub async fn command_at_once(&mut self, index: u8, argument: u32) -> Result<R1, Error> {
        self.send(&frame(index, argument)).await?;
        if index == cmd::STOP_TRANSMISSION {
            // 7.3.1.3: a stuff byte, which may be the rest of the data that was under way.
            self.skip(1).await?;
        }
        for _ in 0..=RESPONSE_BYTES {
            let byte = self.byte().await?;
            if byte & 0x80 == 0 {
                return Ok(R1(byte));
            }
        }
        Err(Error::NoResponse(index))
    }

    /// A command that must be answered without an error bit by a card that is initialised.
    pub async fn command_ok(&mut self, index: u8, argument: u32) -> Result<(), Error> {
        match self.command(index, argument).await? {
            R1(0) => Ok(()),
            other => Err(Error::Rejected(index, other)),
        }
    }

    /// CMD55 and an application command.
    pub async fn app_command(&mut self, index: u8, argument: u32) -> Result<R1, Error> {
        let r1 = self.command(cmd::APP_CMD, 0).await?;
        if r1.is_error() {
            return Err(Error::Rejected(cmd::APP_CMD, r1));
        }
        self.command(index, argument).await
    }

    /// An application command that must be answered without an error bit by a card that is initialised.
    pub async fn app_command_ok(&mut self, index: u8, argument: u32) -> Result<(), Error> {
        match self.app_command(index, argument).await? {
            R1(0) => Ok(()),
            other => Err(Error::Rejected(index, other)),
        }
    }

    /// The four bytes behind R1 in R3 and R7.
    pub async fn rest_of_response(&mut self) -> Result<u32, Error> {
        let mut bytes = [IDLE; 4];
        self.exchange(&mut bytes).await?;
        Ok(u32::from_be_bytes(bytes))
    }

    /// CMD58: the operation conditions register.
    pub async fn ocr(&mut self) -> Result<u32, Error> {
        let r1 = self.command(cmd::READ_OCR, 0).await?;
        if r1.is_error() {
            return Err(Error::Rejected(cmd::READ_OCR, r1));
        }
        self.rest_of_response().await
    }

    /// CMD13: both bytes of R2, 0 when all is well.
    pub async fn status(&mut self) -> Result<u16, Error> {
        let first = self.command(cmd::SEND_STATUS, 0).await?;
        let second = self.byte().await?;
        Ok(u16::from_be_bytes([first.0, second]))
    }

    /// ACMD22: how many blocks of the last CMD25 were written well.
    pub async fn well_written(&mut self) -> Result<u32, Error> {
        self.app_command_ok(acmd::SEND_NUM_WR_BLOCKS, 0).await?;
        let mut count = [0; 4];
        self.read_data(&mut count).await?;
        Ok(u32::from_be_bytes(count))
    }

    /// Waits until the card is not busy: it holds its line low until then.
    pub async fn wait_ready(&mut self, limit_us: u64) -> Result<(), Error> {
        self.poll(limit_us, |byte| byte == IDLE).await?.map(drop).ok_or(Error::BusyTimeout)
    }

    /// Receives a data block with its token and checksum (7.3.3.2).
    pub async fn read_data(&mut self, data: &mut [u8]) -> Result<(), Error> {
        match self.poll(limit::READ_US, |byte| byte != IDLE).await? {
            Some(START_BLOCK) => {}
            // 7.3.3.3: a data error token has its upper bits clear.
            Some(token) if token & 0xf0 == 0 => return Err(Error::Read(token)),
            // Anything else is no token: the line is disturbed.
            Some(_) => return Err(Error::Crc),
            None => return Err(Error::ReadTimeout),
        }
        data.fill(IDLE);
        self.exchange(data).await?;
        let mut crc = [IDLE; 2];
        self.exchange(&mut crc).await?;
        if u16::from_be_bytes(crc) == crc16(data) { Ok(()) } else { Err(Error::Crc) }
    }

    /// Sends a data block to a card that is not busy; it is busy afterwards.
    pub async fn write_data(&mut self, writing: Writing, data: &[u8; BLOCK]) -> Result<(), Error> {
        let token = match writing {
            Writing::Single => START_BLOCK,
            Writing::Multiple => START_MULTIPLE,
        };
        // 7.5.2.1: N_WR, at least one byte between response or busy and the token.
        self.send(&[IDLE, token]).await?;
        self.send(data).await?;
        self.send(&crc16(data).to_be_bytes()).await?;
        for _ in 0..RESPONSE_BYTES {
            let byte = self.byte().await?;
            // 7.3.3.1: xxx0sss1.
            match byte & 0x1f {
                0x05 => return Ok(()),
                0x1f => {}
                response => return Err(Error::Write(response)),
            }
        }
        Err(Error::Write(IDLE))
    }

    /// Ends CMD25 on a card that is not busy; it is busy afterwards.
    pub async fn stop_writing(&mut self) -> Result<(), Error> {
        // 7.5.2.1: N_WR before the token, and N_BR, one byte, before busy shows.
        self.send(&[IDLE, STOP_TRAN, IDLE]).await
    }

    /// For a card that may be in the middle of what a driver before this one began: a block's worth of clocks ends a
    /// block that it waits for or sends, and the token a CMD25.
    pub async fn unwedge(&mut self) -> Result<(), Error> {
        self.skip(BLOCK + 8).await?;
        self.stop_writing().await?;
        self.skip(8).await
    }

    /// Takes bytes until one is as wanted, or the time is over.
    async fn poll(&mut self, limit_us: u64, wanted: impl Fn(u8) -> bool) -> Result<Option<u8>, Error> {
        let start = self.clock.now_us();
        loop {
            // Before the byte: a task that was late looks once more.
            let waited = self.clock.now_us().saturating_sub(start);
            let byte = self.byte().await?;
            if wanted(byte) {
                return Ok(Some(byte));
            }
            if waited > limit_us {
                return Ok(None);
            }
            if waited > limit::EAGER_US {
                self.clock.sleep_us(limit::PAUSE_US).await;
            }
        }
    }

    async fn byte(&mut self) -> Result<u8, Error> {
        let mut byte = [IDLE];
        self.exchange(&mut byte).await?;
        Ok(byte[0])
    }

    async fn exchange(&mut self, bytes: &mut [u8]) -> Result<(), Error> {
        self.bus.transfer_in_place(bytes).await.map_err(|_| Error::Bus)
    }

    async fn send(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.bus.write(bytes).await.map_err(|_| Error::Bus)
    }
}
