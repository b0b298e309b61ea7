//! Device registers by address.

/// A 32-bit device register.
#[derive(Clone, Copy, Debug)]
pub struct Register(*mut u32);

impl Register {
    /// The register at this address.
    ///
    /// # Safety
    /// There is a device register at the address, and whoever uses this value may drive that device.
    pub const unsafe fn at(address: usize) -> Self {
        Register(address as *mut u32)
    }

    /// Reads it.
    pub fn read(self) -> u32 {
        // SAFETY: a device register, by the contract of `at`.
        unsafe { self.0.read_volatile() }
    }

    /// Writes it.
    pub fn write(self, value: u32) {
        // SAFETY: a device register, by the contract of `at`.
        unsafe { self.0.write_volatile(value) }
    }

    /// Sets these bits.
    pub fn set(self, bits: u32) {
        self.write(self.read() | bits);
    }

    /// Clears these bits.
    pub fn clear(self, bits: u32) {
        self.write(self.read() & !bits);
    }
}

// SAFETY: an address; a board has one core and takes no interrupts.
unsafe impl Send for Register {}
// SAFETY: as above.
unsafe impl Sync for Register {}
