//! The Ethernet controller, polled: frames go through its FIFO word by word.

#![expect(clippy::undocumented_unsafe_blocks, reason = "registers have one reason together")]

use core::task::Context;

use bare::Register;
use embassy_net_driver::{Capabilities, Driver, HardwareAddress, LinkState, RxToken, TxToken};

// SAFETY (all of these): registers of the Ethernet controller (LM3S6965 data sheet, chapter 14), which this file alone
// drives.
const INTERRUPT: Register = unsafe { Register::at(0x4004_8000) };
const MASK: Register = unsafe { Register::at(0x4004_8004) };
const RECEIVE_CONTROL: Register = unsafe { Register::at(0x4004_8008) };
const TRANSMIT_CONTROL: Register = unsafe { Register::at(0x4004_800c) };
const DATA: Register = unsafe { Register::at(0x4004_8010) };
const ADDRESS: [Register; 2] = unsafe { [Register::at(0x4004_8014), Register::at(0x4004_8018)] };
const FRAMES: Register = unsafe { Register::at(0x4004_8034) };
const START: Register = unsafe { Register::at(0x4004_8038) };

/// Interrupt of a received frame.
const RECEIVED: u32 = 1;
/// Most bytes of a frame, without its checksum.
const FRAME: usize = 1514;
/// Bytes of a frame's header.
const HEADER: usize = 14;
/// Bytes around a frame in the receive FIFO: its length before it, its checksum behind it.
const LENGTH: usize = 2;
const CHECKSUM: usize = 4;

/// The controller with a buffer for a frame each way.
pub struct Ethernet {
    address: [u8; 6],
    receive: [u8; FRAME],
    transmit: [u8; FRAME],
}

impl Ethernet {
    /// Not started.
    pub const fn new() -> Self {
        Ethernet { address: [0; 6], receive: [0; FRAME], transmit: [0; FRAME] }
    }

    /// Starts the controller with the address that it has; answers with that.
    pub fn begin(&mut self) -> [u8; 6] {
        let [low, high] = ADDRESS.map(Register::read);
        let [a, b, c, d] = low.to_le_bytes();
        let [e, f, ..] = high.to_le_bytes();
        self.address = [a, b, c, d, e, f];
        // Drop frames with a wrong checksum, take multicast; pad, add checksums, full duplex.
        RECEIVE_CONTROL.write(1 << 4);
        RECEIVE_CONTROL.write(1 | 1 << 1 | 1 << 3);
        TRANSMIT_CONTROL.write(1 | 1 << 1 | 1 << 2 | 1 << 4);
        MASK.write(RECEIVED);
        self.address
    }
}

/// The frames that were announced are going to be looked at.
pub fn acknowledge() {
    INTERRUPT.write(RECEIVED);
}

impl Driver for &'static mut Ethernet {
    type RxToken<'a> = Receive<'a>;
    type TxToken<'a> = Transmit<'a>;

    fn receive(&mut self, _: &mut Context<'_>) -> Option<(Receive<'_>, Transmit<'_>)> {
        (FRAMES.read() != 0).then_some((Receive(&mut self.receive), Transmit(&mut self.transmit)))
    }

    fn transmit(&mut self, _: &mut Context<'_>) -> Option<Transmit<'_>> {
        // A frame leaves as soon as it is started.
        Some(Transmit(&mut self.transmit))
    }

    fn link_state(&mut self, _: &mut Context<'_>) -> LinkState {
        // QEMU's PHY has no registers.
        LinkState::Up
    }

    fn capabilities(&self) -> Capabilities {
        let mut capabilities = Capabilities::default();
        capabilities.max_transmission_unit = FRAME;
        capabilities.max_burst_size = Some(1);
        capabilities
    }

    fn hardware_address(&self) -> HardwareAddress {
        HardwareAddress::Ethernet(self.address)
    }
}

/// The frame at the front of the receive FIFO.
pub struct Receive<'a>(&'a mut [u8; FRAME]);

impl RxToken for Receive<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, f: F) -> R {
        // The first word has the length of it all and the first two bytes.
        let [low, high, a, b] = DATA.read().to_le_bytes();
        let whole = usize::from(u16::from_le_bytes([low, high]));
        let length = whole.saturating_sub(LENGTH + CHECKSUM);
        let words = whole.div_ceil(4).saturating_sub(1);
        self.0[..2].copy_from_slice(&[a, b]);
        let mut chunks = self.0[2..].chunks_mut(4);
        for _ in 0..words {
            let word = DATA.read().to_le_bytes();
            // What is behind the buffer is the checksum, or belongs to a frame that is too long.
            if let Some(chunk) = chunks.next() {
                let count = chunk.len();
                chunk.copy_from_slice(&word[..count]);
            }
        }
        let length = if length <= FRAME { length } else { 0 };
        f(&mut self.0[..length])
    }
}

/// Room for a frame.
pub struct Transmit<'a>(&'a mut [u8; FRAME]);

impl TxToken for Transmit<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let frame = &mut self.0[..len];
        let result = f(frame);
        // The first word has the length of what is behind the header and the first two bytes.
        let [low, high] = u16::try_from(len.saturating_sub(HEADER)).unwrap_or(0).to_le_bytes();
        let (first, rest) = frame.split_at(2.min(len));
        let byte = |bytes: &[u8], index: usize| bytes.get(index).copied().unwrap_or(0);
        DATA.write(u32::from_le_bytes([low, high, byte(first, 0), byte(first, 1)]));
        for word in rest.chunks(4) {
            DATA.write(u32::from_le_bytes([0, 1, 2, 3].map(|index| byte(word, index))));
        }
        START.write(1);
        result
    }
}
