//! What the tests under load have in common: blocks that say which write they are from, what a block may hold, seeds.

use std::collections::BTreeSet;

pub const BLOCK: usize = 512;

/// A block that says which write it is from, in every part of it; 0 is an erased one.
pub fn block(tag: u32) -> [u8; BLOCK] {
    let mut data = [0; BLOCK];
    if tag != 0 {
        for (i, word) in data.as_chunks_mut::<4>().0.iter_mut().enumerate() {
            *word = (tag ^ (i as u32) << 24).to_be_bytes();
        }
    }
    data
}

/// Which write a block is from; `None` for one that is torn.
pub fn tag(data: &[u8]) -> Option<u32> {
    let tag = u32::from_be_bytes(*data.first_chunk()?);
    (data == block(tag)).then_some(tag)
}

/// What one block may hold.
#[derive(Clone, Default)]
pub struct Place {
    /// What it held at the last flush.
    pub durable: u32,
    /// What was written since then, acknowledged or not.
    pub since: BTreeSet<u32>,
    /// What it must hold as long as nothing fails: the last write, if it was acknowledged.
    pub latest: Option<u32>,
}

impl Place {
    pub fn settled(tag: u32) -> Self {
        Self { durable: tag, since: BTreeSet::new(), latest: Some(tag) }
    }

    pub fn is_allowed(&self, tag: u32) -> bool {
        self.durable == tag || self.since.contains(&tag)
    }
}

/// The variable that names other seeds: `5` for that one alone, `0..1000` for a range.
const VARIABLE: &str = "IESP_SEEDS";

/// Does something with each seed, from 0 to `count` or those that [`VARIABLE`] names; whether it was all of the first. What
/// fails is told with the command that repeats it, by the test's name in its program.
pub fn each_seed(count: u64, (program, test): (&str, &str), mut work: impl FnMut(u64)) -> bool {
    let named = std::env::var(VARIABLE).ok();
    let number = |text: &str| text.parse().expect("IESP_SEEDS is a number, or two with .. between them");
    let seeds = match named.as_deref().map(|text| text.split_once("..").ok_or(text)) {
        None => 0..count,
        Some(Ok((first, end))) => number(first)..number(end),
        Some(Err(one)) => number(one)..number(one) + 1,
    };
    for seed in seeds {
        let again = Again(seed, program, test);
        work(seed);
        drop(again);
    }
    named.is_none()
}

/// Tells how a seed is run again when it fails.
struct Again<'a>(u64, &'a str, &'a str);

impl Drop for Again<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let Self(seed, program, test) = self;
            eprintln!(
                "seed {seed} failed; again: {VARIABLE}={seed} cargo test -p iesp-simulator --test {program} -- --exact {test}"
            );
        }
    }
}
