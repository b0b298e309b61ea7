//! Where the time of a read through iesp goes, beside the disk's.

use super::Line;
use super::loads::Load;
use super::readers::Reader;
use crate::measure::Spread;

/// What of the machine's CPU time was used by whom while iesp was measured.
pub fn cpu_time(line: &Line, cpus: usize) -> String {
    let share = |cpu: Spread| 100.0 * cpu.median * line.operations_per_second.median / 1e6 / cpus as f64;
    let (own, initiator) = (share(line.cpu_us), share(line.initiator_cpu_us));
    format!(
        "{}: of {cpus} CPUs' time {own:.0} % is used by iesp, {initiator:.0} % by the initiator, {:.0} % by neither.",
        line.load,
        (100.0 - own - initiator).max(0.0)
    )
}

/// What a load's depth allows where each read waits for the disk as long as fio's do, and is as long on its way between
/// initiator and target as one that the page cache answers (J. D. C. Little: in flight = rate x time). `None` where one of
/// the three was not measured.
pub fn way(load: &Load, lines: &[Line]) -> Option<String> {
    let rate = |name: &str, reader: Reader| {
        let line = lines.iter().find(|line| line.load == name && line.reader == reader.name())?;
        Some(line.operations_per_second.median)
    };
    let disk = rate(load.name, Reader::Fio)?;
    let reached = rate(load.name, Reader::Iesp)?;
    let cached = rate(&format!("{}-cached", load.name), Reader::Iesp)?;
    let in_flight = f64::from(load.depth * load.threads);
    let (at_disk, on_the_way) = (in_flight / disk, in_flight / cached);
    let allowed = in_flight / (at_disk + on_the_way);
    Some(format!(
        "{}: {in_flight} in flight; each is {:.0} µs at the disk (fio) and {:.0} µs between initiator and target (iesp's page \
         cache): that allows {allowed:.0} op/s, {:.2} of fio's; iesp reached {:.2} of that.",
        load.name,
        at_disk * 1e6,
        on_the_way * 1e6,
        allowed / disk,
        reached / allowed
    ))
}

#[cfg(test)]
mod tests {
    use super::super::loads::LOADS;
    use super::*;

    fn line(load: &'static str, reader: Reader, rate: f64, [cpu, initiator]: [f64; 2]) -> Line {
        let spread = |value: f64| Spread::of([value]);
        Line {
            load,
            reader: reader.name(),
            operations_per_second: spread(rate),
            cpu_us: spread(cpu),
            initiator_cpu_us: spread(initiator),
            to_fio: spread(1.0),
            limit: None,
        }
    }

    #[test]
    fn a_line_says_who_uses_the_time() {
        let text = cpu_time(&line("4k-d32", Reader::Iesp, 50_000.0, [16.0, 12.0]), 2);
        assert_eq!(text, "4k-d32: of 2 CPUs' time 40 % is used by iesp, 30 % by the initiator, 30 % by neither.");
    }

    #[test]
    fn the_disk_and_the_way_make_the_rate() {
        let mut lines = vec![
            line("4k-d32", Reader::Fio, 80_000.0, [5.0, 0.0]),
            line("4k-d32", Reader::Iesp, 36_000.0, [8.0, 7.0]),
            line("4k-d32-cached", Reader::Fio, 400_000.0, [2.0, 0.0]),
        ];
        let load = &LOADS[0];
        assert_eq!(load.name, "4k-d32");
        assert_eq!(way(load, &lines), None);
        lines.push(line("4k-d32-cached", Reader::Iesp, 80_000.0, [6.0, 6.0]));
        let text = way(load, &lines).unwrap();
        let expected = "4k-d32: 32 in flight; each is 400 µs at the disk (fio) and 400 µs between initiator and target (iesp's \
                        page cache): that allows 40000 op/s, 0.50 of fio's; iesp reached 0.90 of that.";
        assert_eq!(text, expected);
    }
}
