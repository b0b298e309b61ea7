//! What a board's SD host controller does for the driver.

/// What answers a command (Physical Layer Simplified Specification 4.9).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Response {
    /// Nothing.
    None,
    /// R1, R6 or R7: 32 bits, with the command's index and a checksum.
    Short,
    /// R1b: the same, then busy. The controller need not wait for the end of busy.
    ShortBusy,
    /// R3: 32 bits without index and checksum.
    ShortUnchecked,
    /// R2: 120 bits of a register, with a checksum.
    Long,
}

/// A command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Command {
    /// Its index.
    pub index: u8,
    /// Its argument.
    pub argument: u32,
    /// What answers it.
    pub response: Response,
}

/// What came as an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// To [`Response::None`].
    None,
    /// The 32 bits of a short response.
    Short(u32),
    /// The bits 127 to 8 of a long one, the most significant byte first.
    Long([u8; 15]),
}

/// What the controller saw go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// No response in time.
    NoResponse,
    /// A response with a wrong checksum, index or end bit.
    Response,
    /// No data in time, or busy for too long after a block.
    DataTimeout,
    /// Data with a wrong checksum or end bit; of written data, the card says so.
    DataCrc,
    /// The controller itself.
    Controller,
}

/// How many data lines carry data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lines {
    /// DAT0.
    One,
    /// DAT0 to DAT3.
    Four,
}

/// An SD host controller. It stops the card's clock while it has no room or no data, so that nothing overruns.
#[allow(async_fn_in_trait, reason = "one executor thread: nobody needs these futures to be Send")]
pub trait SdHost {
    /// Begins anew: one line, at most 400 kHz, and the 74 clocks that a card needs before its first command.
    ///
    /// # Errors
    /// When the controller does not do it.
    async fn reset(&mut self) -> Result<(), Fault>;

    /// Sets the clock to at most `hz` and tells what it is now, in Hz.
    fn set_clock(&mut self, hz: u32) -> u32;

    /// Takes as many data lines from now on.
    fn set_lines(&mut self, lines: Lines);

    /// A command without data.
    ///
    /// # Errors
    /// What went wrong.
    async fn command(&mut self, command: Command) -> Result<Answer, Fault>;

    /// A command after which the card sends `data`, in blocks of `block` bytes.
    ///
    /// # Errors
    /// What went wrong; the card may still be sending.
    async fn read(&mut self, command: Command, block: usize, data: &mut [u8]) -> Result<Answer, Fault>;

    /// A command after which the card takes `data`, in blocks of 512 bytes.
    ///
    /// # Errors
    /// What went wrong; the card may still be waiting for data.
    async fn write(&mut self, command: Command, data: &[u8]) -> Result<Answer, Fault>;
}
