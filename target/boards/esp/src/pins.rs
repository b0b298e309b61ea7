//! Pins by their numbers.

use esp_hal::gpio::AnyPin;

/// The pin of a number that `iesp_firmware::pins` let pass: the chip has it.
///
/// # Safety
/// Nothing else drives it.
pub unsafe fn pin(number: u8) -> AnyPin<'static> {
    // SAFETY: by the contract of this function.
    unsafe { AnyPin::steal(number) }
}
