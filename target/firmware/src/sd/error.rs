//! What can go wrong with a card.

use core::fmt;

use super::command::R1;

/// Why a card could not do what it was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// The SPI bus, the chip select pin or the host controller failed.
    Bus,
    /// No card answers.
    Absent,
    /// A card that this driver does not serve.
    Unsupported(Unsupported),
    /// Another card than the one that was started: see [`SdCard::start`](super::SdCard::start).
    Changed,
    /// The range does not lie on the card.
    OutOfRange,
    /// The buffer is not a whole number of blocks, or empty.
    Length,
    /// The card is write-protected.
    WriteProtected,
    /// Nothing in the time that the card has for a response to this command.
    NoResponse(u8),
    /// A response with an error bit to this command.
    Rejected(u8, R1),
    /// No data in time.
    ReadTimeout,
    /// Busy for too long.
    BusyTimeout,
    /// Data or a register arrived with a wrong checksum.
    Crc,
    /// The card could not read: its data error token (7.3.3.3).
    Read(u8),
    /// The card did not take a block: its data response token (7.3.3.1); 0xff when there was none.
    Write(u8),
    /// The card's status after writing or erasing (R2, 7.3.2.3).
    Status(u16),
    /// A response with error bits of the card status to this command (4.10.1).
    CardStatus(u8, u32),
    /// The card did not end its initialisation in time.
    NotReady,
    /// Writes that were acknowledged, and not flushed, are lost.
    Lost,
}

/// What a card must be to be served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsupported {
    /// A card of version 1 or no SD card: it does not know CMD8.
    Version1,
    /// A card of standard capacity (SDSC, up to 2 GB): SDHC or SDXC is needed.
    StandardCapacity,
    /// The card does not run at 3.3 V.
    Voltage,
    /// A register layout that came after SDXC (SDUC).
    Csd(u8),
}

impl Error {
    /// Whether trying once more may help.
    pub(super) fn is_transient(self) -> bool {
        !matches!(
            self,
            Self::Absent
                | Self::Unsupported(_)
                | Self::Changed
                | Self::OutOfRange
                | Self::Length
                | Self::WriteProtected
                | Self::Lost
        )
    }

    /// Whether card and driver still agree on where a transfer stands, so that stopping it is enough.
    pub(super) fn is_of_one_block(self) -> bool {
        matches!(self, Self::Crc | Self::Read(_) | Self::Write(0x0b | 0x0d))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Bus => f.write_str("the bus to the card failed"),
            Self::Absent => f.write_str("no card answers"),
            Self::Unsupported(Unsupported::Version1) => f.write_str("the card is older than SD 2.0: use SDHC or SDXC"),
            Self::Unsupported(Unsupported::StandardCapacity) => {
                f.write_str("the card is of standard capacity (up to 2 GB): use SDHC or SDXC")
            }
            Self::Unsupported(Unsupported::Voltage) => f.write_str("the card does not run at 3.3 V"),
            Self::Unsupported(Unsupported::Csd(version)) => {
                write!(f, "the card's CSD register is of structure {version}: use SDHC or SDXC")
            }
            Self::Changed => f.write_str("another card was inserted"),
            Self::OutOfRange => f.write_str("the range does not lie on the card"),
            Self::Length => f.write_str("the buffer is not a whole number of blocks"),
            Self::WriteProtected => f.write_str("the card is write-protected"),
            Self::NoResponse(command) => write!(f, "no response to CMD{command}"),
            Self::Rejected(command, R1(bits)) => write!(f, "CMD{command} was answered {bits:#04x}"),
            Self::ReadTimeout => f.write_str("no data in time"),
            Self::BusyTimeout => f.write_str("busy for too long"),
            Self::Crc => f.write_str("wrong checksum"),
            Self::Read(token) => write!(f, "the card could not read (token {token:#04x})"),
            Self::Write(token) => write!(f, "the card did not take a block (response {token:#04x})"),
            Self::Status(bits) => write!(f, "the card's status is {bits:#06x}"),
            Self::CardStatus(command, bits) => write!(f, "CMD{command} was answered with status {bits:#010x}"),
            Self::NotReady => f.write_str("the card did not end its initialisation"),
            Self::Lost => f.write_str("acknowledged writes were lost before they were flushed"),
        }
    }
}

impl core::error::Error for Error {}
