//! What the tests under load have in common: blocks that say which write they are from, what a block may hold, seeds.

use std::collections::BTreeSet;
use std::process::Command;

use iesp_simulator::card::Plant;

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
const SEEDS: &str = "IESP_SEEDS";
/// The variable that plants a fault into the cards: the runs have to find it.
const PLANT: &str = "IESP_PLANT";

/// Does something with each seed, from 0 to `count` or those that [`SEEDS`] names; whether it was all of the first. What
/// fails is told with the command that repeats it, by the test's name in its program.
pub fn each_seed(count: u64, (program, test): (&str, &str), mut work: impl FnMut(u64) + Send) -> bool {
    let named = std::env::var(SEEDS).ok();
    let number = |text: &str| text.parse().expect("IESP_SEEDS is a number, or two with .. between them");
    let seeds = match named.as_deref().map(|text| text.split_once("..").ok_or(text)) {
        None => 0..count,
        Some(Ok((first, end))) => number(first)..number(end),
        Some(Err(one)) => number(one)..number(one) + 1,
    };
    let plant = std::env::var(PLANT).map_or(String::new(), |plant| format!("{PLANT}={plant} "));
    for seed in seeds {
        // In a thread of its own the time begins at 0: whether it is run alone or behind others, it is the same run.
        if let Err(panic) = std::thread::scope(|scope| scope.spawn(|| work(seed)).join()) {
            let again = format!("{plant}{SEEDS}={seed} cargo test -p iesp-simulator --test {program}");
            eprintln!("seed {seed} failed; again: {again} -- --exact {test}");
            std::panic::resume_unwind(panic);
        }
    }
    named.is_none()
}

/// What [`PLANT`] says.
pub fn planted() -> Option<Plant> {
    match std::env::var(PLANT).as_deref() {
        Err(_) => None,
        Ok("forget") => Some(Plant::Forget),
        Ok("corrupt") => Some(Plant::Corrupt),
        Ok(other) => panic!("{PLANT}={other}: it is forget or corrupt"),
    }
}

/// Has one of these tests run with a fault, as its user would: it fails, and says which seed did; that seed alone fails in the
/// same way, word for word, each time.
pub fn assert_found(plant: &str, test: &str) {
    let run = |seed: Option<&str>| {
        let mut command = Command::new(std::env::current_exe().expect("this program"));
        command.args(["--exact", test, "--nocapture"]).env("RUST_BACKTRACE", "0").env(PLANT, plant).env_remove(SEEDS);
        command.envs(seed.map(|seed| (SEEDS, seed)));
        let output = command.output().expect("it runs");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success(), "{plant} is not found by {test}: {said}");
        said
    };
    let words = |said: &str| {
        let (_, panic) = said.split_once("panicked at ").expect("a panic");
        panic.split("\nnote: ").next().unwrap_or_default().split("\nseed ").next().unwrap_or_default().to_owned()
    };
    let said = run(None);
    let command = said.split_once("again: ").expect("how to run it again").1;
    let seed = command.split_once(&format!("{PLANT}={plant} {SEEDS}=")).expect("its seed").1.split(' ').next();
    for _ in 0..2 {
        assert_eq!(words(&run(seed)), words(&said));
    }
}
