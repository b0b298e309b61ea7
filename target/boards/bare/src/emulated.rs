//! What is special about boards that QEMU emulates.

use iesp_firmware::board::Random;
use iesp_firmware::card::{Card, Facts};
use iesp_firmware::sd::{Erased, Error};

/// QEMU's card. It says that erased blocks read as zeros (SCR), and fills them with ones.
#[derive(Debug)]
pub struct EmulatedCard<C>(pub C);

impl<C: Card> Card for EmulatedCard<C> {
    async fn start(&mut self) -> Result<Facts, Error> {
        Ok(Facts { erased: Erased::Ones, ..self.0.start().await? })
    }

    async fn read(&mut self, first: u32, data: &mut [u8]) -> Result<(), Error> {
        self.0.read(first, data).await
    }

    async fn write(&mut self, first: u32, data: &[u8]) -> Result<(), Error> {
        self.0.write(first, data).await
    }

    async fn erase(&mut self, first: u32, count: u32) -> Result<(), Error> {
        self.0.erase(first, count).await
    }

    async fn flush(&mut self) -> Result<(), Error> {
        self.0.flush().await
    }

    fn forget_loss(&mut self) {
        self.0.forget_loss();
    }
}

/// A generator (xorshift64*) for machines without a random source. Whoever knows when the machine was started can foretell
/// it: good for port numbers, and no protection for CHAP.
#[derive(Debug)]
pub struct WeakRandom(u64);

impl WeakRandom {
    /// From a number that differs between starts, such as a clock's.
    pub const fn new(seed: u64) -> Self {
        WeakRandom(seed ^ 0x9e37_79b9_7f4a_7c15 | 1)
    }

    /// The next number.
    pub fn draw(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
}

impl Random for WeakRandom {
    fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            let next = self.draw().to_le_bytes();
            chunk.iter_mut().zip(next).for_each(|(to, from)| *to = from);
        }
    }
}
