//! The Ethernet controller for `embassy-net`, by way of `imxrt-enet`.

use core::task::Context;

use embassy_net_driver::{Capabilities, Driver, HardwareAddress, LinkState, RxToken, TxToken};
use imxrt_enet::Enet;
use imxrt_enet::smoltcp::phy::{Device, RxToken as _, TxToken as _};
use imxrt_enet::smoltcp::time::Instant;
use imxrt_ral as ral;

/// Most bytes of a frame, without its checksum.
const FRAME: usize = 1514;

/// The other end of the MII bus.
pub trait Phy {
    /// Whether the cable is connected. Asked often: an answer may be some time old.
    fn is_up(&mut self, enet: &mut Enet) -> bool;
}

/// QEMU's: always connected.
#[derive(Clone, Copy, Debug, Default)]
pub struct QemuPhy;

impl Phy for QemuPhy {
    fn is_up(&mut self, _: &mut Enet) -> bool {
        true
    }
}

/// The controller, its PHY, and a copy of the frame that is looked at.
pub struct Ethernet<P> {
    enet: Enet,
    phy: P,
    address: [u8; 6],
    frame: [u8; FRAME],
}

impl<P> core::fmt::Debug for Ethernet<P> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Ethernet").field("address", &self.address).finish_non_exhaustive()
    }
}

impl<P: Phy> Ethernet<P> {
    /// Takes a controller that is set up, and enables it.
    pub fn new(mut enet: Enet, phy: P, address: [u8; 6]) -> Self {
        enet.enable_mac(true);
        Ethernet { enet, phy, address, frame: [0; FRAME] }
    }
}

/// Completes what `imxrt-enet` has set up, before the controller is enabled:
///
/// - Each frame that comes is announced (EIR, RXF): of enhanced descriptors the controller does so for those that ask for it, and the
///   driver's do not.
/// - Frames to any group are let in (GAUR, GALR: a bit for each hash of an address): mDNS has one, and the network stack knows
///   which are for it.
/// - Checksums are the network stack's (TACC): the controller adds none but to frames whose descriptors ask for it, the driver's do
///   not, and QEMU's controller cannot.
///
/// # Safety
/// The registers are an ENET's that `imxrt-enet` has set up with `descriptors` receive buffers and not enabled yet.
pub unsafe fn complete(registers: *const ral::enet::RegisterBlock, descriptors: usize) {
    /// Bytes of a descriptor, where its second word of flags is, and the flag INT there (i.MX RT1060 Reference Manual, 41.4.2).
    const LENGTH: usize = 32;
    const FLAGS: usize = 8;
    const INTERRUPT: u32 = 1 << 23;
    // SAFETY: by this function's contract.
    let ring = unsafe { ral::read_reg!(ral::enet, registers, RDSR) } as usize;
    for index in 0..descriptors {
        let word = (ring + index * LENGTH + FLAGS) as *mut u32;
        // SAFETY: a descriptor of the ring; neither the driver nor the controller, which is off, uses it now.
        unsafe { word.write_volatile(word.read_volatile() | INTERRUPT) };
    }
    // SAFETY: by this function's contract.
    unsafe {
        ral::write_reg!(ral::enet, registers, GAUR, u32::MAX);
        ral::write_reg!(ral::enet, registers, GALR, u32::MAX);
        ral::write_reg!(ral::enet, registers, TACC, 0);
    }
}

/// The controller has no clock.
const NOW: Instant = Instant::ZERO;

impl<P: Phy> Driver for &'static mut Ethernet<P> {
    type RxToken<'a> = Receive<'a>;
    type TxToken<'a> = Transmit<'a>;

    fn receive(&mut self, context: &mut Context<'_>) -> Option<(Receive<'_>, Transmit<'_>)> {
        let _ = context;
        let this = &mut **self;
        let (receive, transmit) = this.enet.receive(NOW)?;
        Some((Receive { token: receive, frame: &mut this.frame }, Transmit(transmit)))
    }

    fn transmit(&mut self, _: &mut Context<'_>) -> Option<Transmit<'_>> {
        self.enet.transmit(NOW).map(Transmit)
    }

    fn link_state(&mut self, _: &mut Context<'_>) -> LinkState {
        let this = &mut **self;
        if this.phy.is_up(&mut this.enet) { LinkState::Up } else { LinkState::Down }
    }

    fn capabilities(&self) -> Capabilities {
        let mut capabilities = Capabilities::default();
        capabilities.max_transmission_unit = FRAME;
        capabilities.max_burst_size = self.enet.capabilities().max_burst_size;
        capabilities
    }

    fn hardware_address(&self) -> HardwareAddress {
        HardwareAddress::Ethernet(self.address)
    }
}

/// A frame that came.
pub struct Receive<'a> {
    token: <Enet as Device>::RxToken<'a>,
    frame: &'a mut [u8; FRAME],
}

impl RxToken for Receive<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, f: F) -> R {
        let frame = self.frame;
        let length = self.token.consume(|bytes| {
            // QEMU leaves the checksum behind the frame: IP knows its own length.
            let length = bytes.len().min(FRAME);
            frame[..length].copy_from_slice(&bytes[..length]);
            length
        });
        f(&mut frame[..length])
    }
}

/// Room for a frame.
pub struct Transmit<'a>(<Enet as Device>::TxToken<'a>);

impl TxToken for Transmit<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        self.0.consume(len, f)
    }
}
