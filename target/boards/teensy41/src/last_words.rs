//! What a panic leaves for the next start: near the end of OCRAM, which a reset leaves as it is. The boot loader uses the beginning
//! of it, so the record lies at an address of its own, behind all that the linker puts there.

use iesp_firmware::last_words::LastWords;

/// OCRAM ends at 0x2028_0000; the linker puts the heap there alone (build.rs, `.uninit`), from the beginning on.
const PLACE: *const LastWords = 0x2027_f000 as *const LastWords;

/// The record. What is written there goes through the cache at once (memory.rs).
pub fn record() -> &'static LastWords {
    // SAFETY: RAM that is there for ever and that nothing else uses; any bits are a value of `LastWords`, which is made of atomics.
    unsafe { &*PLACE }
}
