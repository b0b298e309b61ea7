//! Random bytes: ChaCha12, which the chip's true random number generator gives its key. That one takes some milliseconds for each
//! eight bytes, during which nothing else would go on.

use core::task::Poll;

use iesp_firmware::board::Random;
use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use teensy4_bsp::hal::trng::Trng;

/// Tries until the source is given up: it tests itself, and an error of one try is nothing.
const TRIES: u32 = 32;

/// The generator.
pub struct Generator(ChaCha12Rng);

impl Generator {
    /// Takes its key from the source.
    ///
    /// # Panics
    /// Where the source does not work: whoever could foretell CHAP's challenges could log in.
    pub fn begin(mut source: Trng) -> Self {
        let mut key = [0; 32];
        for word in key.as_chunks_mut::<4>().0 {
            *word = true_random(&mut source).to_le_bytes();
        }
        Self(ChaCha12Rng::from_seed(key))
    }

    /// For port numbers.
    pub fn seed(&mut self) -> u64 {
        self.0.next_u64()
    }
}

fn true_random(source: &mut Trng) -> u32 {
    let mut failures = 0;
    loop {
        match source.next_u32() {
            Poll::Ready(Ok(word)) => return word,
            Poll::Ready(Err(_)) if failures < TRIES => failures += 1,
            Poll::Ready(Err(_)) => panic!("the random number generator fails its own tests"),
            Poll::Pending => {}
        }
    }
}

impl Random for Generator {
    fn fill(&mut self, bytes: &mut [u8]) {
        self.0.fill_bytes(bytes);
    }
}
