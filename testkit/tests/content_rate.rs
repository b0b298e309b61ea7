//! How fast blocks are filled and compared. A measurement: `cargo test --release -p iesp-testkit --test content_rate -- --ignored --nocapture`.

use std::hint::black_box;
use std::time::Instant;

use iesp_testkit::verify::content::Content;

#[test]
#[ignore = "a measurement, which says something only in a release build on an idle machine"]
fn unique_blocks_at_memory_speed() {
    const BLOCK: usize = 4096;
    let mut data = vec![0; 64 * BLOCK];
    let mut rate = |what: &str, work: &mut dyn FnMut(&mut [u8], u64)| {
        let (started, rounds) = (Instant::now(), 4000);
        for round in 0..rounds {
            for (index, block) in data.chunks_exact_mut(BLOCK).enumerate() {
                work(block, (round * 64 + index as u64) * BLOCK as u64);
            }
        }
        let bytes = (rounds * 64 * BLOCK as u64) as f64;
        let rate = bytes / started.elapsed().as_secs_f64() / 1e9;
        println!("{what}: {rate:.2} GB/s");
        rate
    };
    let content = Content::Unique { generation: 5 };
    let fill = rate("fill", &mut |block, offset| content.fill(1, offset, black_box(block)));
    let mut same = vec![0; BLOCK];
    content.fill(1, 0, &mut same);
    let check = rate("compare", &mut |_, _| assert!(content.matches(1, 0, black_box(&same))));
    assert!(fill > 1.0 && check > 1.0, "a core should fill and compare more than 1 GB/s");
}
