//! The Ethernet controller, its clock, its pads and its PHY.

use core::fmt::Write as _;

use bare::Register;
use imx::Ethernet;
use imxrt_enet::{Duplex, Enet, ReceiveBuffers, TransmitBuffers};
use imxrt_ral as ral;
use static_cell::{ConstStaticCell, StaticCell};
use teensy4_bsp::board::IPG_FREQUENCY;

use crate::machine::{MACHINE, serial};
use crate::phy::Dp83825;
use crate::pins::{give, iomuxc};

/// A register of those below.
const fn register(address: usize) -> Register {
    // SAFETY: registers of ENET (i.MX RT1060 Reference Manual, chapter 41), GPIO2 (12) and OCOTP (23). The driver uses the event
    // register for the MII bus alone, and masks all interrupts once, at its start; of GPIO2 only single bits are written.
    unsafe { Register::at(address) }
}

const EVENTS: Register = register(0x402d_8004);
const EVENT_MASK: Register = register(0x402d_8008);
const PIN_DIRECTION: Register = register(0x401b_c004);
const PIN_SET: Register = register(0x401b_c084);
const PIN_CLEAR: Register = register(0x401b_c088);
const ADDRESS: [Register; 2] = [register(0x401f_4620), register(0x401f_4630)];

/// A frame has come, or has left.
const FRAMES: u32 = 1 << 25 | 1 << 27;
/// GPIO2: the PHY's reset (low) and power.
const PHY_RESET: u32 = 1 << 14;
const PHY_POWER: u32 = 1 << 15;
/// Pads: fast, strong, with a pull-down or a pull-up of 100 kΩ; and that of a clock.
const PULL_DOWN: u32 = 0x30e9;
const PULL_UP: u32 = 0xb0e9;
const CLOCK: u32 = 0x0031;

/// Memory that the controller reaches and that no cache is before.
const DTCM: core::ops::Range<usize> = 0x2000_0000..0x2008_0000;
const RECEIVE_BUFFERS: usize = 8;
static RECEIVE: ConstStaticCell<ReceiveBuffers<RECEIVE_BUFFERS>> = ConstStaticCell::new(ReceiveBuffers::new());
static TRANSMIT: ConstStaticCell<TransmitBuffers<8>> = ConstStaticCell::new(TransmitBuffers::new());
static ETHERNET: StaticCell<Ethernet<Dp83825>> = StaticCell::new();

/// The frames that were announced are going to be looked at.
pub fn acknowledge() {
    EVENTS.write(FRAMES);
}

/// Starts PHY and controller; answers with the board's address, too, which is in its fuses.
pub fn begin(
    ccm: &mut ral::ccm::CCM,
    analog: &ral::ccm_analog::CCM_ANALOG,
    gpr: &ral::iomuxc_gpr::IOMUXC_GPR,
) -> (&'static mut Ethernet<Dp83825>, [u8; 6]) {
    let places = [(&raw const RECEIVE) as usize, (&raw const TRANSMIT) as usize];
    assert!(places.iter().all(|place| DTCM.contains(place)), "the buffers of Ethernet are to lie in DTCM: {places:x?}");
    start_clock(ccm, analog, gpr);
    start_phy();

    let [low, high] = ADDRESS.map(Register::read);
    let ([.., a, b], [c, d, e, f]) = (high.to_be_bytes(), low.to_be_bytes());
    let address = [a, b, c, d, e, f];
    // SAFETY: ENET1, and this is the only driver of it.
    let instance = unsafe { ral::enet::ENET1::instance() };
    let registers = &raw const *instance;
    let mut enet = Enet::new(instance, TRANSMIT.take().take(), RECEIVE.take().take(), IPG_FREQUENCY, &address);
    // SAFETY: the driver has set it up with these buffers, and it is enabled below.
    unsafe { imx::complete(registers, RECEIVE_BUFFERS) };
    enet.set_duplex(Duplex::Full);
    enet.enable_rmii_mode(true);
    let phy = Dp83825::begin(&mut enet);
    if !phy.answers() {
        let _ = writeln!(serial(), "Ethernet: the PHY does not answer: there is no network");
    }
    let ethernet = ETHERNET.init(Ethernet::new(enet, phy, address));
    EVENT_MASK.write(FRAMES);
    (ethernet, address)
}

/// 50 MHz of PLL6, for controller and PHY.
fn start_clock(ccm: &mut ral::ccm::CCM, analog: &ral::ccm_analog::CCM_ANALOG, gpr: &ral::iomuxc_gpr::IOMUXC_GPR) {
    // Of the controller, and of the fuses.
    ral::modify_reg!(ral::ccm, ccm, CCGR1, CG5: 3);
    ral::modify_reg!(ral::ccm, ccm, CCGR2, CG6: 3);
    // Past the PLL until it has settled. DIV_SELECT 1 is 50 MHz.
    ral::modify_reg!(ral::ccm_analog, analog, PLL_ENET,
        BYPASS: 1, POWERDOWN: 0, ENABLE: 1, ENET_25M_REF_EN: 1, DIV_SELECT: 1, ENET2_DIV_SELECT: 0);
    while ral::read_reg!(ral::ccm_analog, analog, PLL_ENET, LOCK == 0) {}
    ral::modify_reg!(ral::ccm_analog, analog, PLL_ENET, BYPASS: 0);
    // The clock goes out by its pad, and from there to the controller.
    ral::modify_reg!(ral::iomuxc_gpr, gpr, GPR1, ENET1_CLK_SEL: 0, ENET_IPG_CLK_S_EN: 0, ENET1_TX_CLK_DIR: 1);
}

/// Power, clock and reset, with its strap pins as they are to be: address 0, RMII by the clock that comes, crossed cables found.
fn start_phy() {
    let iomuxc = iomuxc();
    give!(iomuxc,
        SW_MUX_CTL_PAD_GPIO_B0_14 = 5, SW_PAD_CTL_PAD_GPIO_B0_14 = PULL_DOWN;
        SW_MUX_CTL_PAD_GPIO_B0_15 = 5, SW_PAD_CTL_PAD_GPIO_B0_15 = PULL_UP;
    );
    PIN_CLEAR.write(PHY_RESET);
    PIN_SET.write(PHY_POWER);
    PIN_DIRECTION.set(PHY_RESET | PHY_POWER);
    give!(iomuxc,
        // RXD0, RXD1, CRS_DV, RXER: straps.
        SW_MUX_CTL_PAD_GPIO_B1_04 = 3, SW_PAD_CTL_PAD_GPIO_B1_04 = PULL_DOWN;
        SW_MUX_CTL_PAD_GPIO_B1_05 = 3, SW_PAD_CTL_PAD_GPIO_B1_05 = PULL_UP;
        SW_MUX_CTL_PAD_GPIO_B1_06 = 3, SW_PAD_CTL_PAD_GPIO_B1_06 = PULL_DOWN;
        SW_MUX_CTL_PAD_GPIO_B1_11 = 3, SW_PAD_CTL_PAD_GPIO_B1_11 = PULL_DOWN;
        // TXD0, TXD1, TXEN.
        SW_MUX_CTL_PAD_GPIO_B1_07 = 3, SW_PAD_CTL_PAD_GPIO_B1_07 = PULL_UP;
        SW_MUX_CTL_PAD_GPIO_B1_08 = 3, SW_PAD_CTL_PAD_GPIO_B1_08 = PULL_UP;
        SW_MUX_CTL_PAD_GPIO_B1_09 = 3, SW_PAD_CTL_PAD_GPIO_B1_09 = PULL_UP;
        // The clock: out by the pad, and back from it (SION).
        SW_MUX_CTL_PAD_GPIO_B1_10 = 0x16, SW_PAD_CTL_PAD_GPIO_B1_10 = CLOCK;
        // MDC, MDIO.
        SW_MUX_CTL_PAD_GPIO_B1_14 = 0, SW_PAD_CTL_PAD_GPIO_B1_14 = PULL_UP;
        SW_MUX_CTL_PAD_GPIO_B1_15 = 0, SW_PAD_CTL_PAD_GPIO_B1_15 = PULL_UP;
    );
    // From which of several pads the controller takes it.
    ral::write_reg!(ral::iomuxc, iomuxc, ENET_MDIO_SELECT_INPUT, 2);
    ral::write_reg!(ral::iomuxc, iomuxc, ENET0_RXDATA_SELECT_INPUT, 1);
    ral::write_reg!(ral::iomuxc, iomuxc, ENET1_RXDATA_SELECT_INPUT, 1);
    ral::write_reg!(ral::iomuxc, iomuxc, ENET_RXEN_SELECT_INPUT, 1);
    ral::write_reg!(ral::iomuxc, iomuxc, ENET_RXERR_SELECT_INPUT, 1);
    ral::write_reg!(ral::iomuxc, iomuxc, ENET_IPG_CLK_RMII_SELECT_INPUT, 1);
    // SNLS638 6.6: 50 ms from power on, 25 µs of reset, 2 ms until the MII bus is there.
    MACHINE.wait_us(50_000);
    PIN_SET.write(PHY_RESET);
    MACHINE.wait_us(2_000);
}
