//! The card's slot, on uSDHC1.

use imx::Usdhc;
use imxrt_ral as ral;
use teensy4_bsp::board::USDHC1_FREQUENCY;

use crate::pins::{give, iomuxc};

/// Keeper on, the second fastest of speeds, driven by the strongest: as it is for SD at 50 MHz.
const CLOCK: u32 = 1 << 12 | 2 << 6 | 7 << 3;
/// The same, pulled up by 47 kΩ: the slot has no resistors.
const DATA: u32 = CLOCK | 1 << 13 | 1 << 14;

/// The controller, with its pads.
pub fn host(usdhc: ral::usdhc::USDHC1) -> Usdhc {
    let iomuxc = iomuxc();
    give!(iomuxc,
        SW_MUX_CTL_PAD_GPIO_SD_B0_00 = 0, SW_PAD_CTL_PAD_GPIO_SD_B0_00 = DATA;
        SW_MUX_CTL_PAD_GPIO_SD_B0_01 = 0, SW_PAD_CTL_PAD_GPIO_SD_B0_01 = CLOCK;
        SW_MUX_CTL_PAD_GPIO_SD_B0_02 = 0, SW_PAD_CTL_PAD_GPIO_SD_B0_02 = DATA;
        SW_MUX_CTL_PAD_GPIO_SD_B0_03 = 0, SW_PAD_CTL_PAD_GPIO_SD_B0_03 = DATA;
        SW_MUX_CTL_PAD_GPIO_SD_B0_04 = 0, SW_PAD_CTL_PAD_GPIO_SD_B0_04 = DATA;
        SW_MUX_CTL_PAD_GPIO_SD_B0_05 = 0, SW_PAD_CTL_PAD_GPIO_SD_B0_05 = DATA;
    );
    // SAFETY: uSDHC1, which `teensy4-bsp` has clocked, and which is handed over here.
    unsafe { Usdhc::new(&raw const *usdhc, USDHC1_FREQUENCY) }
}
