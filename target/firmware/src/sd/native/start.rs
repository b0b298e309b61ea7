//! From power-up to a card that transfers blocks over four lines, at the highest clock that works (Physical Layer
//! Simplified Specification 4.2.3, figure 4-2).

use super::super::command::{acmd, cmd};
use super::super::crc::crc7_and_end_bit;
use super::super::register::CsdError;
use super::super::start::{CLASS_SWITCH, DEFAULT_SPEED_HZ, IF_COND, LADDER_HZ, OCR_3V3, OCR_CCS, OCR_POWERED, PROBES};
use super::super::{BLOCK, Cid, Csd, Erased, Error, Unsupported, limit};
use super::{Answer, Command, Fault, Lines, NativeCard, NativeInfo, Response, SdHost, error_of};
use crate::Clock;

/// CMD8 is the first command that a card answers: so often it may stay silent until there is no card.
const SILENT_TRIES: usize = 3;

impl<H: SdHost, K: Clock> NativeCard<H, K> {
    /// Initialises whatever card is there, with no clock above that of `rung` in [`LADDER_HZ`].
    pub(super) async fn identify(&mut self, rung: usize) -> Result<NativeInfo, Error> {
        self.host.reset().await.map_err(|_| Error::Bus)?;
        self.check_interface().await?;
        self.leave_idle().await?;

        let cid = self.register(cmd::ALL_SEND_CID, 0).await?;
        let cid = Cid::parse(cid).ok_or(Error::Crc)?;
        // 4.9.5: the address in the upper half, then status bits.
        let rca = self.short(cmd::SEND_RELATIVE_ADDR, 0, Response::Short).await? & 0xffff_0000;
        let csd = Csd::parse(self.register(cmd::SEND_CSD, rca).await?).map_err(|error| match error {
            CsdError::Crc => Error::Crc,
            CsdError::Structure(version) => Error::Unsupported(Unsupported::Csd(version)),
        })?;
        let selected = self.command_status(cmd::SELECT_CARD, rca, Response::ShortBusy).await?;
        super::checked(cmd::SELECT_CARD, selected)?;

        // Before four lines: the registers of the card that is being started, by its own address.
        let scr = self.scr(rca).await?;
        self.app_command_to(rca, acmd::SET_BUS_WIDTH, 2).await?;
        self.host.set_lines(Lines::Four);
        let fastest = if csd.classes() & CLASS_SWITCH != 0 && self.switch_to_high_speed().await? {
            u32::MAX
        } else {
            DEFAULT_SPEED_HZ
        };
        let (rung, clock_hz) = self.climb_down(rung, fastest).await?;
        Ok(NativeInfo { cid, csd, erased: Erased::from_scr(scr), clock_hz, rca, rung })
    }

    /// CMD0 and CMD8: version 2 or later, 3.3 V, and a line that carries bits.
    async fn check_interface(&mut self) -> Result<(), Error> {
        let mut heard = Err(Error::Absent);
        for _ in 0..SILENT_TRIES {
            let idle = Command { index: cmd::GO_IDLE_STATE, argument: 0, response: Response::None };
            self.host.command(idle).await.map_err(|fault| error_of(fault, cmd::GO_IDLE_STATE))?;
            heard = match self.short(cmd::SEND_IF_COND, IF_COND, Response::Short).await {
                Ok(echo) => Ok(echo),
                Err(Error::NoResponse(_)) => Err(Error::Absent),
                Err(error) => return Err(error),
            };
            if heard.is_ok() {
                break;
            }
            self.clock.sleep_us(1_000).await;
        }
        let echo = match heard {
            Ok(echo) => echo & 0xfff,
            // Silent, or a card that does not know CMD8: that answers CMD55.
            Err(error) => {
                let older = self.short(cmd::APP_CMD, 0, Response::Short).await.is_ok();
                return Err(if older { Error::Unsupported(Unsupported::Version1) } else { error });
            }
        };
        match (echo & 0xff == IF_COND & 0xff, echo >> 8) {
            (true, 1) => Ok(()),
            (true, _) => Err(Error::Unsupported(Unsupported::Voltage)),
            (false, _) => Err(Error::Crc),
        }
    }

    /// ACMD41 until the card has initialised itself, and is one of high capacity at 3.3 V.
    async fn leave_idle(&mut self) -> Result<(), Error> {
        let start = self.clock.now_us();
        loop {
            let late = self.clock.now_us().saturating_sub(start) > limit::INIT_US;
            let status = self.command_status(cmd::APP_CMD, 0, Response::Short).await?;
            super::checked(cmd::APP_CMD, status)?;
            let ocr = self.short(acmd::SD_SEND_OP_COND, OCR_CCS | OCR_3V3, Response::ShortUnchecked).await?;
            if ocr & OCR_POWERED != 0 {
                return match (ocr & OCR_CCS, ocr & OCR_3V3) {
                    (0, _) => Err(Error::Unsupported(Unsupported::StandardCapacity)),
                    (_, 0) => Err(Error::Unsupported(Unsupported::Voltage)),
                    _ => Ok(()),
                };
            }
            if late {
                return Err(Error::NotReady);
            }
            self.clock.sleep_us(1_000).await;
        }
    }

    /// CMD2 and CMD9. The controller has checked the checksum and does not tell it.
    async fn register(&mut self, index: u8, argument: u32) -> Result<[u8; 16], Error> {
        let command = Command { index, argument, response: Response::Long };
        let answer = self.host.command(command).await.map_err(|fault| match fault {
            Fault::NoResponse => Error::NoResponse(index),
            other => error_of(other, index),
        })?;
        let Answer::Long(bits) = answer else { return Err(Error::NoResponse(index)) };
        let mut register = [0; 16];
        if let Some((last, rest)) = register.split_last_mut() {
            rest.copy_from_slice(&bits);
            *last = crc7_and_end_bit(rest);
        }
        Ok(register)
    }

    async fn app_command_to(&mut self, rca: u32, index: u8, argument: u32) -> Result<(), Error> {
        self.command_ok(cmd::APP_CMD, rca).await?;
        self.command_ok(index, argument).await
    }

    /// ACMD51.
    async fn scr(&mut self, rca: u32) -> Result<[u8; 8], Error> {
        self.command_ok(cmd::APP_CMD, rca).await?;
        let mut scr = [0; 8];
        self.small_data(acmd::SEND_SCR, 0, &mut scr).await?;
        Ok(scr)
    }

    /// CMD6 (4.3.10): whether the card is in high-speed mode now.
    async fn switch_to_high_speed(&mut self) -> Result<bool, Error> {
        // Mode 1 (set), function 1 of group 1; 0xf leaves a group as it is.
        let mut status = [0; 64];
        self.small_data(cmd::SWITCH_FUNC, 0x80ff_fff1, &mut status).await?;
        // Bits 379:376 are the function of group 1 that was taken.
        Ok(status[16] & 0x0f == 1)
    }

    /// A command with one block of data that is no sector.
    async fn small_data(&mut self, index: u8, argument: u32, data: &mut [u8]) -> Result<(), Error> {
        let command = Command { index, argument, response: Response::Short };
        let length = data.len();
        let answer = self.host.read(command, length, data).await.map_err(|fault| error_of(fault, index))?;
        super::checked(index, super::status_in(answer))
    }

    /// The highest clock from `rung` on, not above `fastest`, at which blocks arrive whole.
    async fn climb_down(&mut self, rung: usize, fastest: u32) -> Result<(usize, u32), Error> {
        let mut last = Error::Crc;
        for (rung, &hz) in LADDER_HZ.iter().enumerate().skip(rung).filter(|(_, hz)| **hz <= fastest) {
            let actual = self.host.set_clock(hz);
            match self.probe().await {
                Ok(()) => return Ok((rung, actual)),
                // A disturbed line shows in any of these ways; only a dead controller is no reason to go slower.
                Err(Error::Bus) => return Err(Error::Bus),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    async fn probe(&mut self) -> Result<(), Error> {
        let mut block = [0; BLOCK];
        for address in 0..PROBES {
            let index = cmd::READ_SINGLE_BLOCK;
            let command = Command { index, argument: address, response: Response::Short };
            // An answer with an error bit says nothing about the line: a block that the card cannot read.
            self.host.read(command, BLOCK, &mut block).await.map_err(|fault| error_of(fault, index))?;
        }
        Ok(())
    }
}
