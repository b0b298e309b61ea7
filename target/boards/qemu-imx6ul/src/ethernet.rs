//! The first Ethernet controller.

#![expect(clippy::undocumented_unsafe_blocks, reason = "registers have one reason together")]

use bare::Register;
use imx::{Ethernet, QemuPhy};
use imxrt_enet::{Duplex, Enet, ReceiveBuffers, TransmitBuffers};
use imxrt_ral as ral;
use static_cell::{ConstStaticCell, StaticCell};

const BASE: usize = 0x0218_8000;
// SAFETY (all of these): registers of ENET1 (i.MX 6UltraLite Reference Manual, chapter 22). The driver uses the event
// register for the MII bus alone, and masks all interrupts once, at its start.
const EVENTS: Register = unsafe { Register::at(BASE + 0x004) };
const EVENT_MASK: Register = unsafe { Register::at(BASE + 0x008) };
const ADDRESS: [Register; 2] = unsafe { [Register::at(BASE + 0x0e4), Register::at(BASE + 0x0e8)] };

/// A frame has come, or has left.
const FRAMES: u32 = 1 << 25 | 1 << 27;
/// The clock of the bus.
const IPG_HZ: u32 = 66_000_000;

const RECEIVE_BUFFERS: usize = 8;
static RECEIVE: ConstStaticCell<ReceiveBuffers<RECEIVE_BUFFERS>> = ConstStaticCell::new(ReceiveBuffers::new());
static TRANSMIT: ConstStaticCell<TransmitBuffers<8>> = ConstStaticCell::new(TransmitBuffers::new());
static ETHERNET: StaticCell<Ethernet<QemuPhy>> = StaticCell::new();

/// The frames that were announced are going to be looked at.
pub fn acknowledge() {
    EVENTS.write(FRAMES);
}

/// Starts the controller with the address that QEMU gave it; answers with that, too.
pub fn begin() -> (&'static mut Ethernet<QemuPhy>, [u8; 6]) {
    let [low, high] = ADDRESS.map(Register::read);
    let ([a, b, c, d], [e, f, ..]) = (low.to_be_bytes(), high.to_be_bytes());
    let address = [a, b, c, d, e, f];
    let registers = BASE as *const ral::enet::RegisterBlock;
    // SAFETY: the block at this address is an ENET, and this is the only driver of it.
    let instance = unsafe { ral::enet::Instance::<1>::new(registers) };
    let mut enet = Enet::new(instance, TRANSMIT.take().take(), RECEIVE.take().take(), IPG_HZ, &address);
    // SAFETY: the driver has set it up with these buffers, and it is enabled below.
    unsafe { imx::complete(registers, RECEIVE_BUFFERS) };
    enet.set_duplex(Duplex::Full);
    enet.enable_rmii_mode(true);
    let ethernet = ETHERNET.init(Ethernet::new(enet, QemuPhy, address));
    EVENT_MASK.write(FRAMES);
    (ethernet, address)
}
