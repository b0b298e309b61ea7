//! Which controller has which pad, and how it is driven (i.MX RT1060 Reference Manual, chapter 11).

use imxrt_ral as ral;

/// Pads of Ethernet and of the SD slot are given to their controllers once; nothing else writes their registers.
pub fn iomuxc() -> ral::iomuxc::IOMUXC {
    // SAFETY: by the promise above. The pins of `teensy4-bsp` are others.
    unsafe { ral::iomuxc::IOMUXC::instance() }
}

/// Gives pads to a controller: the pad's name, its function, how it is driven.
macro_rules! give {
    ($iomuxc:expr, $($mux:ident = $function:expr, $pad:ident = $drive:expr;)*) => {
        $(
            ral::write_reg!(ral::iomuxc, $iomuxc, $pad, $drive);
            ral::write_reg!(ral::iomuxc, $iomuxc, $mux, $function);
        )*
    };
}
pub(crate) use give;
