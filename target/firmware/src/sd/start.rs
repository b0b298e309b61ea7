//! From power-up to a card that transfers blocks, at the highest clock that works (Physical Layer Simplified
//! Specification 7.2.1, figure 7-2).

use embedded_hal::digital::OutputPin;

use super::command::{R1, acmd, cmd};
use super::link::{Link, limit};
use super::register::CsdError;
use super::{BLOCK, CardBus, Cid, Csd, Erased, Error, Info, Unsupported};
use crate::Clock;

/// 7.2.1: at most 400 kHz until the card is initialised.
const IDENTIFICATION_HZ: u32 = 400_000;
/// 7.2.1: at least 74 clocks before CMD0.
const WAKE_BYTES: usize = 10;
/// How often CMD0 is sent until there is no card.
const CMD0_TRIES: usize = 6;
/// Clocks that are tried, from the highest.
pub const LADDER_HZ: &[u32] = &[50_000_000, 40_000_000, 33_000_000, 25_000_000, 20_000_000, 16_000_000, 14_000_000];
/// 4.3.10: above this the card must be switched to high speed by CMD6.
pub const DEFAULT_SPEED_HZ: u32 = 25_000_000;
/// Blocks that must be read without an error for a clock to be good.
pub const PROBES: u32 = 4;
/// OCR: powered up; CCS, blocks are addressed by number; 3.2-3.4 V.
pub const OCR_POWERED: u32 = 1 << 31;
pub const OCR_CCS: u32 = 1 << 30;
pub const OCR_3V3: u32 = 0b11 << 20;
/// CMD8: 2.7-3.6 V, and a pattern that comes back.
pub const IF_COND: u32 = 0x1aa;
/// CSD: class 10, switch function.
pub const CLASS_SWITCH: u16 = 1 << 10;

impl<B: CardBus, S: OutputPin, K: Clock> Link<B, S, K> {
    /// Initialises whatever card is there, with no clock above that of `rung` in [`LADDER_HZ`].
    pub async fn initialise(&mut self, rung: usize) -> Result<Info, Error> {
        let result = self.identify(rung).await;
        let released = self.deselect().await;
        let info = result?;
        released?;
        Ok(info)
    }

    async fn identify(&mut self, rung: usize) -> Result<Info, Error> {
        self.bus.set_clock(IDENTIFICATION_HZ);
        self.reset().await?;
        self.check_interface().await?;
        let r1 = self.command(cmd::CRC_ON_OFF, 1).await?;
        if r1.is_error() {
            return Err(Error::Rejected(cmd::CRC_ON_OFF, r1));
        }
        self.leave_idle().await?;
        let ocr = self.check_ocr().await?;

        let csd = Csd::parse(self.register(cmd::SEND_CSD).await?).map_err(|error| match error {
            CsdError::Crc => Error::Crc,
            CsdError::Structure(version) => Error::Unsupported(Unsupported::Csd(version)),
        })?;
        let cid = Cid::parse(self.register(cmd::SEND_CID).await?).ok_or(Error::Crc)?;
        self.app_command_ok(acmd::SEND_SCR, 0).await?;
        let mut scr = [0; 8];
        self.read_data(&mut scr).await?;
        let fastest = if csd.classes() & CLASS_SWITCH != 0 && self.switch_to_high_speed().await? {
            u32::MAX
        } else {
            DEFAULT_SPEED_HZ
        };
        let (rung, clock_hz) = self.climb_down(rung, fastest).await?;
        Ok(Info { cid, csd, erased: Erased::from_scr(scr), clock_hz, ocr, rung })
    }

    /// CMD0, until the card says that it is idle and in SPI mode.
    async fn reset(&mut self) -> Result<(), Error> {
        let mut answered = None;
        for attempt in 0..CMD0_TRIES {
            self.deselect().await?;
            self.clock.sleep_us(1_000).await;
            self.skip(WAKE_BYTES).await?;
            self.select().await?;
            if attempt > 0 {
                self.unwedge().await?;
            }
            match self.command_at_once(cmd::GO_IDLE_STATE, 0).await {
                Ok(R1(0x01)) => return Ok(()),
                Ok(other) => answered = Some(other),
                Err(Error::NoResponse(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Err(answered.map_or(Error::Absent, |r1| Error::Rejected(cmd::GO_IDLE_STATE, r1)))
    }

    /// CMD8: version 2 or later, 3.3 V, and a line that carries bits.
    async fn check_interface(&mut self) -> Result<(), Error> {
        let r1 = self.command(cmd::SEND_IF_COND, IF_COND).await?;
        if r1.is_illegal() {
            return Err(Error::Unsupported(Unsupported::Version1));
        }
        if r1.is_error() {
            return Err(Error::Rejected(cmd::SEND_IF_COND, r1));
        }
        let echo = self.rest_of_response().await? & 0xfff;
        match (echo & 0xff == IF_COND & 0xff, echo >> 8) {
            (true, 1) => Ok(()),
            (true, _) => Err(Error::Unsupported(Unsupported::Voltage)),
            (false, _) => Err(Error::Crc),
        }
    }

    /// ACMD41 until the card has initialised itself.
    async fn leave_idle(&mut self) -> Result<(), Error> {
        let start = self.clock.now_us();
        loop {
            let late = self.clock.now_us().saturating_sub(start) > limit::INIT_US;
            let r1 = self.app_command(acmd::SD_SEND_OP_COND, OCR_CCS).await?;
            if r1.is_error() {
                return Err(Error::Rejected(acmd::SD_SEND_OP_COND, r1));
            }
            if !r1.is_idle() {
                return Ok(());
            }
            if late {
                return Err(Error::NotReady);
            }
            self.clock.sleep_us(1_000).await;
        }
    }

    /// CMD58: a card of high capacity at 3.3 V.
    async fn check_ocr(&mut self) -> Result<u32, Error> {
        let ocr = self.ocr().await?;
        if ocr & OCR_POWERED == 0 {
            return Err(Error::NotReady);
        }
        if ocr & OCR_CCS == 0 {
            return Err(Error::Unsupported(Unsupported::StandardCapacity));
        }
        if ocr & OCR_3V3 == 0 {
            return Err(Error::Unsupported(Unsupported::Voltage));
        }
        Ok(ocr)
    }

    /// CMD9 and CMD10.
    async fn register(&mut self, command: u8) -> Result<[u8; 16], Error> {
        self.command_ok(command, 0).await?;
        let mut register = [0; 16];
        self.read_data(&mut register).await?;
        Ok(register)
    }

    /// CMD6 (4.3.10): whether the card is in high-speed mode now.
    async fn switch_to_high_speed(&mut self) -> Result<bool, Error> {
        // Mode 1 (set), function 1 of group 1; 0xf leaves a group as it is.
        self.command_ok(cmd::SWITCH_FUNC, 0x80ff_fff1).await?;
        let mut status = [0; 64];
        self.read_data(&mut status).await?;
        // Bits 379:376 are the function of group 1 that was taken; eight clocks later the new timing holds.
        self.skip(8).await?;
        Ok(status[16] & 0x0f == 1)
    }

    /// The highest clock from `rung` on, not above `fastest`, at which blocks arrive whole.
    async fn climb_down(&mut self, rung: usize, fastest: u32) -> Result<(usize, u32), Error> {
        let mut last = Error::Crc;
        for (rung, &hz) in LADDER_HZ.iter().enumerate().skip(rung).filter(|(_, hz)| **hz <= fastest) {
            let actual = self.bus.set_clock(hz.min(self.limit_hz));
            match self.probe().await {
                Ok(()) => return Ok((rung, actual)),
                // A disturbed line shows in any of these ways; only a dead bus is no reason to go slower.
                Err(Error::Bus) => return Err(Error::Bus),
                Err(error) => last = error,
            }
            if last == Error::ReadTimeout {
                // The card is still in the read.
                let r1 = self.command_at_once(cmd::STOP_TRANSMISSION, 0).await?;
                if r1.is_error() {
                    return Err(Error::Rejected(cmd::STOP_TRANSMISSION, r1));
                }
            }
            // What is left of a block that the card may still be sending.
            self.skip(BLOCK + 8).await?;
        }
        Err(last)
    }

    async fn probe(&mut self) -> Result<(), Error> {
        let mut block = [0; BLOCK];
        for address in 0..PROBES {
            self.command_ok(cmd::READ_SINGLE_BLOCK, address).await?;
            match self.read_data(&mut block).await {
                // A block that the card cannot read says nothing about the line.
                Ok(()) | Err(Error::Read(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}
