//! A serial console.

use core::fmt::{self, Write};

use iesp_firmware::board::Panel;

use crate::Register;

/// A serial line that is set up: bytes are sent one by one.
#[derive(Clone, Copy, Debug)]
pub struct Serial {
    /// Takes a byte.
    pub data: Register,
    /// Says whether it does.
    pub status: Register,
    /// Whether this status says so.
    pub takes: fn(u32) -> bool,
}

impl Serial {
    fn put(self, byte: u8) {
        while !(self.takes)(self.status.read()) {}
        self.data.write(u32::from(byte));
    }
}

impl Write for Serial {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            // Terminals want a carriage return before a line feed.
            if byte == b'\n' {
                self.put(b'\r');
            }
            self.put(byte);
        }
        Ok(())
    }
}

/// For a board that has nothing else to show.
impl Panel for Serial {
    fn line(&mut self, text: fmt::Arguments<'_>) {
        // A console that takes nothing is nobody's trouble.
        let _ = writeln!(self, "{text}");
    }
}
