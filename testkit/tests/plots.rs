//! The pictures, rendered and read back: their size, that there is something on them, and what their axes say.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use iesp_testkit::speed::results::{Cell, Latency, Report, Run};

fn report(label: &str, factor: f64, blocks: u32, threads: u32) -> Report {
    let cell = |block: u64, threads: u32| {
        let iops = factor * 100_000.0 * f64::from(threads) / (1.0 + block as f64 / 16384.0);
        let latency = Latency {
            min: 4000,
            mean: 9000.0,
            p50: 8000 + block,
            p90: 20_000 + block,
            p99: 90_000,
            p99_9: 1_000_000,
            p99_99: 4_000_000,
            max: 9_000_000,
        };
        let run = |iops: f64| Run {
            seconds: 1.0,
            operations: iops as u64,
            iops,
            bytes_per_second: iops * block as f64,
            cpu_seconds: 0.1,
            latency,
        };
        Cell { block_size: block, threads, depth: 1, runs: vec![run(iops * 0.9), run(iops * 1.1)] }
    };
    let cells = (0..blocks).flat_map(|step| (1..=threads).map(move |threads| cell(512 << step, threads))).collect();
    Report {
        tool: "block-speed-randread".to_owned(),
        label: label.to_owned(),
        device: "ram:1G".to_owned(),
        path: "one call at a time".to_owned(),
        order: "random".to_owned(),
        read_percent: 100,
        seed: 1,
        cells,
    }
}

fn plot(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_plot")).args(arguments).current_dir(folder).output().unwrap()
}

fn write(folder: &Path, name: &str, report: &Report) {
    fs::write(folder.join(name), serde_json::to_string(report).unwrap()).unwrap();
}

/// Reads a picture back: 1920x1080, mostly paper, and enough of other colours to show something.
fn look(path: &Path) -> BTreeMap<[u8; 3], usize> {
    let picture = image::open(path).unwrap().to_rgb8();
    assert_eq!(picture.dimensions(), (1920, 1080), "{}", path.display());
    let mut colours = BTreeMap::new();
    picture.pixels().for_each(|pixel| *colours.entry(pixel.0).or_insert(0) += 1);
    let paper = colours.get(&[255, 255, 255]).copied().unwrap_or(0);
    assert!((200_000..2_050_000).contains(&paper), "{}: {paper} of 2073600 pixels are blank", path.display());
    // Nothing may be cut off at the edges.
    for x in 0..1920 {
        assert_eq!(picture.get_pixel(x, 1079).0, [255; 3], "{}", path.display());
    }
    for y in 0..1080 {
        assert_eq!(picture.get_pixel(0, y).0, [255; 3], "{}", path.display());
        assert_eq!(picture.get_pixel(1919, y).0, [255; 3], "{}", path.display());
    }
    colours
}

/// The texts of an SVG.
fn texts(path: &Path) -> Vec<String> {
    let svg = fs::read_to_string(path).unwrap();
    assert!(svg.contains("width=\"1920\" height=\"1080\""), "{}", &svg[..200]);
    let texts = svg.split("<text").skip(1).filter_map(|part| {
        let text = part.split_once('>')?.1.split_once("</text>")?.0.trim();
        Some(text.to_owned())
    });
    texts.collect()
}

fn assert_has(texts: &[String], wanted: &[&str]) {
    for text in wanted {
        assert!(texts.iter().any(|found| found == text), "'{text}' is missing in {texts:?}");
    }
}

#[test]
fn one_run() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    write(folder.path(), "run.json", &report("the disk", 1.0, 6, 4));
    let output = plot(folder.path(), &["run.json", "-o", "out"]);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(String::from_utf8_lossy(&output.stdout).lines().count(), 10);

    for name in ["out-iops", "out-bw", "out-iops-heat", "out-bw-heat", "out-latency"] {
        let colours = look(&path(&format!("{name}.png")));
        assert!(colours.len() > 20, "{name}: {} colours", colours.len());
    }
    // 4 threads at 512 bytes: 400000 / (1 + 1/32) = 387878; one thread at 16 KiB: 50000.
    let heat = texts(&path("out-iops-heat.svg"));
    assert_has(&heat, &["IOPS: the disk", "512 B", "16 KiB", "1", "4", "388k", "50k", "block size", "threads"]);
    let values = heat.iter().filter(|text| text.ends_with('k')).count();
    assert!(values >= 24, "each of 24 cells has its number: {heat:?}");
    assert_has(&texts(&path("out-bw.svg")), &["0", "4000", "bandwidth (MiB/s)", "block size (logarithmic)", "threads"]);
    assert_has(
        &texts(&path("out-latency.svg")),
        &["Latency: the disk", "50 %", "99.99 %", "10 µs", "1 ms", "512 B", "latency (logarithmic)"],
    );
}

#[test]
fn two_runs_are_compared() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    write(folder.path(), "a.json", &report("first", 1.0, 5, 2));
    write(folder.path(), "b.json", &report("second", 2.5, 4, 3));
    let output = plot(folder.path(), &["a.json", "b.json"]);
    assert!(output.status.success(), "{output:?}");
    let texts = texts(&path("plot-iops-compare.svg"));
    assert_has(&texts, &["first", "second", "512 B", "4 KiB", "how many times first (up is faster)", "1×"]);
    assert_eq!(
        texts.iter().filter(|text| *text == "2.5").count(),
        4,
        "a ratio for each block size that both have: {texts:?}"
    );
    assert!(!texts.contains(&"8 KiB".to_owned()), "only one run has it");
    let colours = look(&path("plot-iops-compare.png"));
    // The bars: blue for the first run, vermilion for the second, which is 2.5 times as high and has the ratios, too.
    let (blue, vermilion) = (colours[&[0, 114, 178]], colours[&[213, 94, 0]]);
    assert!(blue > 10_000 && vermilion > 2 * blue, "{blue} {vermilion}");
}

/// Two runs of one device, or two files in one folder: their names alone say which is which.
#[test]
fn runs_of_the_same_name_are_called_by_their_files() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "before.json", &report("/dev/sdb", 1.0, 2, 1));
    write(folder.path(), "after.json", &report("/dev/sdb", 2.0, 2, 1));
    fs::write(folder.path().join("before.dat"), "512 1 10\n").unwrap();
    fs::write(folder.path().join("after.dat"), "512 1 20\n").unwrap();
    for files in [["before.json", "after.json"], ["before.dat", "after.dat"]] {
        assert!(plot(folder.path(), &files).status.success());
        let texts = texts(&folder.path().join("plot-iops-compare.svg"));
        assert_has(&texts, &["before", "after", "how many times before (up is faster)"]);
    }
    assert!(plot(folder.path(), &["before.json", "after.json", "--label", "old"]).status.success());
    assert_has(&texts(&folder.path().join("plot-iops-compare.svg")), &["old", "after"]);
}

#[test]
fn the_python_tools_files() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::write(path("plot-iops.dat"), "512\t1\t1000.0\n512\t2\t1900.0\n\n1024\t1\t900.0\n1024\t2\t1700.0\n\n").unwrap();
    fs::write(path("plot-bw-iop.dat"), "4096 100 409600 100.0 409600.0\n8192 90 737280 90.0 737280.0\n").unwrap();
    assert!(plot(folder.path(), &["plot-iops.dat", "-o", "random", "--label", "old"]).status.success());
    assert_has(&texts(&path("random-iops-heat.svg")), &["IOPS: old", "1000", "1900", "900", "1700"]);
    look(&path("random-iops.png"));
    assert!(plot(folder.path(), &["plot-bw-iop.dat", "-o", "sequential"]).status.success());
    look(&path("sequential-bw.png"));
    assert!(!path("sequential-latency.png").exists(), "these files have no latencies");
}

#[test]
fn odd_runs_draw_without_a_panic() {
    let folder = tempfile::tempdir().unwrap();
    for (name, blocks, threads) in [("one", 1, 1), ("row", 12, 1), ("column", 1, 16), ("many", 20, 32)] {
        let mut run = report(name, 1.0, blocks, threads);
        run.label = "a name that is far too long to fit the width of any picture ".repeat(4);
        write(folder.path(), "run.json", &run);
        let output = plot(folder.path(), &["run.json", "-o", name]);
        assert!(output.status.success(), "{name}: {output:?}");
        write(
            folder.path(),
            "zero.json",
            &Report { cells: vec![Cell { runs: vec![], ..run.cells[0].clone() }], ..run },
        );
        let output = plot(folder.path(), &["zero.json", "-o", name]);
        assert!(matches!(output.status.code(), Some(0 | 2)), "{name}: {output:?}");
    }
}

#[test]
fn what_cannot_be_drawn_is_said() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "a.json", &report("a", 1.0, 2, 2));
    fs::write(folder.path().join("junk.json"), "{").unwrap();
    for arguments in
        [&["none.json"][..], &["junk.json"], &["a.json", "--threads", "7"], &["a.json", "--label", "x", "--label", "y"]]
    {
        let output = plot(folder.path(), arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(String::from_utf8_lossy(&output.stderr).starts_with("plot: "), "{output:?}");
    }
    let output = plot(folder.path(), &["a.json", "-o", "none/a"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), said.lines().count()), (Some(2), 1));
    assert!(said.starts_with("plot: cannot draw none/a-iops.png: No such file or directory"), "{said}");
}

#[test]
fn a_bench_is_drawn_with_its_servers() {
    let folder = tempfile::tempdir().unwrap();
    let spread = |median: f64| serde_json::json!({"median": median, "min": median * 0.8, "max": median * 1.3});
    let server = |name: &str, factor: f64| {
        serde_json::json!({"server": name, "server_cpu_us": spread(3.0 * factor),
            "operations_per_second": spread(90_000.0 / factor), "p99_us": spread(200.0 * factor)})
    };
    let load =
        |name: &str| serde_json::json!({"load": name, "servers": [server("iesp", 1.0), server("tgt tuned", 5.0)]});
    let bench = serde_json::json!({"machine": {"cpus": 2, "model": "a CPU", "kernel": "6.1"}, "rounds": 3, "seconds": 1.0,
        "loads": [load("rr4k-1"), load("sw256k-8")]});
    fs::write(folder.path().join("bench.json"), bench.to_string()).unwrap();
    let output = plot(folder.path(), &["bench.json", "-o", "b"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    for name in ["b-cpu", "b-ops", "b-p99"] {
        let colours = look(&folder.path().join(format!("{name}.png")));
        // Both servers' bars.
        for colour in [[0, 114, 178], [213, 94, 0]] {
            assert!(colours.get(&colour).is_some_and(|count| *count > 10_000), "{name}");
        }
        let text = fs::read_to_string(folder.path().join(format!("{name}.svg"))).unwrap();
        assert!(text.contains("sw256k-8") || text.contains("<path"), "{name}");
    }
    fs::write(folder.path().join("bench.json"), r#"{"loads": [{}]}"#).unwrap();
    let output = plot(folder.path(), &["bench.json", "-o", "b"]);
    assert_eq!(output.status.code(), Some(2));
}
