//! The SD host controller, polled (i.MX RT1060 Reference Manual, chapter 26; i.MX 6UltraLite's is the same block).

use embassy_futures::yield_now;
use iesp_firmware::sd::native::{Answer, Command, Fault, Lines, Response, SdHost};
use imxrt_ral as ral;
use ral::usdhc::RegisterBlock;

/// INT_STATUS.
mod event {
    pub const COMMAND_COMPLETE: u32 = 1;
    pub const TRANSFER_COMPLETE: u32 = 1 << 1;
    pub const WRITE_READY: u32 = 1 << 4;
    pub const READ_READY: u32 = 1 << 5;
    pub const COMMAND_TIMEOUT: u32 = 1 << 16;
    pub const COMMAND_CRC: u32 = 1 << 17;
    pub const COMMAND_END_BIT: u32 = 1 << 18;
    pub const COMMAND_INDEX: u32 = 1 << 19;
    pub const DATA_TIMEOUT: u32 = 1 << 20;
    pub const DATA_CRC: u32 = 1 << 21;
    pub const DATA_END_BIT: u32 = 1 << 22;
    pub const COMMAND_ERRORS: u32 = COMMAND_TIMEOUT | COMMAND_CRC | COMMAND_END_BIT | COMMAND_INDEX;
    pub const DATA_ERRORS: u32 = DATA_TIMEOUT | DATA_CRC | DATA_END_BIT;
}

/// PRES_STATE.
mod present {
    pub const COMMAND_INHIBIT: u32 = 1;
    pub const DATA_INHIBIT: u32 = 1 << 1;
    pub const CLOCK_STABLE: u32 = 1 << 3;
}

/// SYS_CTRL.
mod system {
    pub const RESET_ALL: u32 = 1 << 24;
    pub const RESET_COMMAND: u32 = 1 << 25;
    pub const RESET_DATA: u32 = 1 << 26;
    pub const INIT_ACTIVE: u32 = 1 << 27;
    /// The longest that the counter knows: 2^29 clocks of the card.
    pub const DATA_TIMEOUT: u32 = 0xf << 16;
    /// Bits 3 to 0 are to be written as ones.
    pub const ALWAYS: u32 = 0xf;
}

/// CMD_XFR_TYP.
mod transfer {
    pub const RESPONSE_136: u32 = 1 << 16;
    pub const RESPONSE_48: u32 = 2 << 16;
    pub const RESPONSE_48_BUSY: u32 = 3 << 16;
    pub const CHECK_CRC: u32 = 1 << 19;
    pub const CHECK_INDEX: u32 = 1 << 20;
    pub const DATA: u32 = 1 << 21;
}

/// MIX_CTRL.
mod mix {
    pub const COUNT_BLOCKS: u32 = 1 << 1;
    pub const READ: u32 = 1 << 4;
    pub const MULTIPLE: u32 = 1 << 5;
    /// What a transfer sets anew.
    pub const OF_TRANSFER: u32 = 0x7f;
    /// Bit 31 reads as one and stays.
    pub const ALWAYS: u32 = 1 << 31;
}

const IDENTIFICATION_HZ: u32 = 400_000;
const BLOCK: usize = 512;
/// Polls between two looks of the other tasks: a command takes some microseconds at a card's clock.
const EAGER: u32 = 2_000;
/// Polls until the controller is given up: its own time limits are far shorter.
const PATIENCE: u32 = 100_000_000;

/// The controller.
pub struct Usdhc {
    registers: &'static RegisterBlock,
    source_hz: u32,
}

impl core::fmt::Debug for Usdhc {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Usdhc").field("source_hz", &self.source_hz).finish_non_exhaustive()
    }
}

impl Usdhc {
    /// Takes the controller; its clock runs at `source_hz`.
    ///
    /// # Safety
    /// The pointer is a uSDHC, clocked and with its pins, and nothing else drives it.
    pub unsafe fn new(registers: *const RegisterBlock, source_hz: u32) -> Self {
        // SAFETY: device registers, by this function's contract; they are there for ever.
        Usdhc { registers: unsafe { &*registers }, source_hz }
    }

    fn set_divider(&mut self, hz: u32) -> u32 {
        // SDCLKFS divides by a power of two (2 to 256; 0 is 1), DVS by 1 to 16.
        let wanted = self.source_hz.div_ceil(hz.max(1)).clamp(1, 256 * 16);
        let mut prescaler = 1;
        while wanted.div_ceil(prescaler) > 16 {
            prescaler *= 2;
        }
        let divider = wanted.div_ceil(prescaler);
        let control = ral::read_reg!(ral::usdhc, self.registers, SYS_CTRL) & !0x000f_fff0;
        let bits = (prescaler >> 1) << 8 | (divider - 1) << 4 | system::DATA_TIMEOUT | system::ALWAYS;
        // 26.8: the card's clock is off while it is changed (FRC_SDCLK_ON is clear).
        ral::write_reg!(ral::usdhc, self.registers, SYS_CTRL, control | bits);
        let mut patience = PATIENCE;
        while ral::read_reg!(ral::usdhc, self.registers, PRES_STATE) & present::CLOCK_STABLE == 0 && patience > 0 {
            patience -= 1;
        }
        self.source_hz / (prescaler * divider)
    }

    /// Waits until one of the bits is set in INT_STATUS; answers with the register.
    async fn wait(&mut self, bits: u32) -> Result<u32, Fault> {
        for poll in 1..PATIENCE {
            let status = ral::read_reg!(ral::usdhc, self.registers, INT_STATUS);
            if status & bits != 0 {
                return Ok(status);
            }
            if poll.is_multiple_of(EAGER) {
                yield_now().await;
            }
        }
        Err(Fault::Controller)
    }

    /// Resets the command or data part after an error.
    async fn reset_part(&mut self, bits: u32) {
        let control = ral::read_reg!(ral::usdhc, self.registers, SYS_CTRL);
        ral::write_reg!(ral::usdhc, self.registers, SYS_CTRL, control | bits | system::ALWAYS);
        for poll in 1..PATIENCE {
            if ral::read_reg!(ral::usdhc, self.registers, SYS_CTRL) & bits == 0 {
                return;
            }
            if poll.is_multiple_of(EAGER) {
                yield_now().await;
            }
        }
    }

    /// Sends a command and takes its response; `mixed` and `flags` are those of its data.
    async fn send(&mut self, command: Command, mixed: u32, flags: u32) -> Result<Answer, Fault> {
        let inhibit = present::COMMAND_INHIBIT | if flags == 0 { 0 } else { present::DATA_INHIBIT };
        let mut poll = 0;
        while ral::read_reg!(ral::usdhc, self.registers, PRES_STATE) & inhibit != 0 {
            poll += 1;
            if poll == PATIENCE {
                return Err(Fault::Controller);
            }
            if poll.is_multiple_of(EAGER) {
                yield_now().await;
            }
        }
        ral::write_reg!(ral::usdhc, self.registers, INT_STATUS, u32::MAX);
        let kept = ral::read_reg!(ral::usdhc, self.registers, MIX_CTRL) & !mix::OF_TRANSFER;
        ral::write_reg!(ral::usdhc, self.registers, MIX_CTRL, kept | mixed | mix::ALWAYS);
        ral::write_reg!(ral::usdhc, self.registers, CMD_ARG, command.argument);
        let checked = transfer::CHECK_CRC | transfer::CHECK_INDEX;
        let response = match command.response {
            Response::None => 0,
            Response::Short => transfer::RESPONSE_48 | checked,
            Response::ShortBusy => transfer::RESPONSE_48_BUSY | checked,
            Response::ShortUnchecked => transfer::RESPONSE_48,
            Response::Long => transfer::RESPONSE_136 | transfer::CHECK_CRC,
        };
        let word = u32::from(command.index) << 24 | response | flags;
        ral::write_reg!(ral::usdhc, self.registers, CMD_XFR_TYP, word);

        let status = self.wait(event::COMMAND_COMPLETE | event::COMMAND_ERRORS).await?;
        if status & event::COMMAND_ERRORS != 0 {
            self.reset_part(system::RESET_COMMAND | if flags == 0 { 0 } else { system::RESET_DATA }).await;
            let silent = status & event::COMMAND_TIMEOUT != 0;
            return Err(if silent { Fault::NoResponse } else { Fault::Response });
        }
        Ok(match command.response {
            Response::None => Answer::None,
            Response::Long => Answer::Long(self.long_response()),
            _ => Answer::Short(ral::read_reg!(ral::usdhc, self.registers, CMD_RSP0)),
        })
    }

    /// Bits 127 to 8 of the response lie in bits 119 to 0 of the registers.
    fn long_response(&self) -> [u8; 15] {
        let words = [
            ral::read_reg!(ral::usdhc, self.registers, CMD_RSP3),
            ral::read_reg!(ral::usdhc, self.registers, CMD_RSP2),
            ral::read_reg!(ral::usdhc, self.registers, CMD_RSP1),
            ral::read_reg!(ral::usdhc, self.registers, CMD_RSP0),
        ];
        let mut bits = [0; 15];
        let bytes = words.into_iter().flat_map(u32::to_be_bytes).skip(1);
        bits.iter_mut().zip(bytes).for_each(|(to, from)| *to = from);
        bits
    }

    async fn data_ready(&mut self, ready: u32) -> Result<(), Fault> {
        let status = self.wait(ready | event::DATA_ERRORS).await?;
        if status & event::DATA_ERRORS == 0 {
            ral::write_reg!(ral::usdhc, self.registers, INT_STATUS, ready);
            return Ok(());
        }
        self.reset_part(system::RESET_DATA).await;
        Err(if status & event::DATA_TIMEOUT != 0 { Fault::DataTimeout } else { Fault::DataCrc })
    }

    /// Block length and count, and how full the buffer is when it is told: a whole block.
    fn prepare(&mut self, block: usize, count: usize) {
        let words = (block / 4) as u32;
        ral::write_reg!(ral::usdhc, self.registers, BLK_ATT, (count as u32) << 16 | block as u32);
        // Bursts of eight words.
        ral::write_reg!(ral::usdhc, self.registers, WTMK_LVL, 8 << 24 | words << 16 | 8 << 8 | words);
    }
}

fn mixed(count: usize) -> u32 {
    mix::COUNT_BLOCKS | if count > 1 { mix::MULTIPLE } else { 0 }
}

impl SdHost for Usdhc {
    async fn reset(&mut self) -> Result<(), Fault> {
        self.reset_part(system::RESET_ALL).await;
        ral::write_reg!(ral::usdhc, self.registers, INT_SIGNAL_EN, 0);
        ral::write_reg!(ral::usdhc, self.registers, INT_STATUS_EN, u32::MAX);
        // Little endian, one line; no DMA.
        ral::write_reg!(ral::usdhc, self.registers, PROT_CTRL, 2 << 4);
        ral::write_reg!(ral::usdhc, self.registers, MIX_CTRL, mix::ALWAYS);
        self.set_divider(IDENTIFICATION_HZ);
        // 80 clocks.
        self.reset_part(system::INIT_ACTIVE).await;
        Ok(())
    }

    fn set_clock(&mut self, hz: u32) -> u32 {
        self.set_divider(hz)
    }

    fn set_lines(&mut self, lines: Lines) {
        let width = match lines {
            Lines::One => 0,
            Lines::Four => 1,
        };
        ral::modify_reg!(ral::usdhc, self.registers, PROT_CTRL, DTW: width);
    }

    async fn command(&mut self, command: Command) -> Result<Answer, Fault> {
        self.send(command, 0, 0).await
    }

    async fn read(&mut self, command: Command, block: usize, data: &mut [u8]) -> Result<Answer, Fault> {
        let count = data.len() / block;
        self.prepare(block, count);
        let answer = self.send(command, mixed(count) | mix::READ, transfer::DATA).await?;
        for block in data.chunks_exact_mut(block) {
            self.data_ready(event::READ_READY).await?;
            for word in block.as_chunks_mut::<4>().0 {
                *word = ral::read_reg!(ral::usdhc, self.registers, DATA_BUFF_ACC_PORT).to_le_bytes();
            }
        }
        self.data_ready(event::TRANSFER_COMPLETE).await?;
        Ok(answer)
    }

    async fn write(&mut self, command: Command, data: &[u8]) -> Result<Answer, Fault> {
        let count = data.len() / BLOCK;
        self.prepare(BLOCK, count);
        let answer = self.send(command, mixed(count), transfer::DATA).await?;
        for block in data.as_chunks::<BLOCK>().0 {
            self.data_ready(event::WRITE_READY).await?;
            for word in block.as_chunks::<4>().0 {
                ral::write_reg!(ral::usdhc, self.registers, DATA_BUFF_ACC_PORT, u32::from_le_bytes(*word));
            }
        }
        self.data_ready(event::TRANSFER_COMPLETE).await?;
        Ok(answer)
    }
}
