use std::vec;
use std::vec::Vec;

use super::*;
use crate::tests::Fixed;

fn names(values: &Fixed) -> Vec<Vec<u32>> {
    let mut names = Vec::new();
    let mut at = vec![];
    while let Some(variable) = next(&at, values, |_| true) {
        at = variable.name().collect();
        names.push(at.clone());
    }
    names
}

#[test]
fn a_walk_meets_every_variable_once_in_order() {
    let objects = || GROUPS.iter().flat_map(|group| group.objects);
    for (disks, sessions) in [(0, 0), (1, 1), (2, 3), (255, 64)] {
        let values = Fixed::new(disks, sessions);
        let names = names(&values);
        assert!(names.is_sorted_by(|a, b| a < b), "{names:?}");
        let count = objects().map(|object| match object.instances {
            Instances::One(_) => 1,
            Instances::Rows(table) => values.rows(table).len(),
        });
        assert_eq!(names.len(), count.sum::<usize>());
        for name in &names {
            assert_eq!(find(name, &values).expect("it is there").name().collect::<Vec<_>>(), *name);
        }
    }
}

/// `next` gives what a search through all names gives, from places that are no variables, too.
#[test]
fn the_next_one_from_anywhere() {
    let values = Fixed::new(3, 2);
    let names = names(&values);
    let mut places = names.clone();
    for name in &names {
        places.extend((0..name.len()).map(|len| name[..len].to_vec()));
        let beside = |step: fn(u32) -> u32| {
            let mut other = name.clone();
            if let Some(last) = other.last_mut() {
                *last = step(*last);
            }
            other
        };
        places.extend([beside(|last| last.saturating_sub(1)), beside(|last| last + 1), beside(|_| u32::MAX)]);
        places.push([&name[..], &[0]].concat());
        places.push([&name[..], &[u32::MAX, 1]].concat());
    }
    for place in places {
        let expected = names.iter().find(|name| **name > place);
        let found = next(&place, &values, |_| true).map(|variable| variable.name().collect::<Vec<_>>());
        assert_eq!(found.as_ref(), expected, "behind {place:?}");
    }
}

#[test]
fn what_is_absent() {
    let (one, two) = (Fixed::new(1, 1), Fixed::new(2, 0));
    let descr = [1, 3, 6, 1, 2, 1, 1, 1];
    assert_eq!(find(&[&descr[..], &[0]].concat(), &one).map(|found| found.object.source), Ok(Source::Description));
    assert_eq!(find(&descr, &one), Err(Absent::Instance));
    assert_eq!(find(&[&descr[..], &[1]].concat(), &one), Err(Absent::Instance));
    assert_eq!(find(&descr[..7], &one), Err(Absent::Object));
    assert_eq!(find(&[1, 3, 6, 1, 2, 1, 1, 9, 0], &one), Err(Absent::Object));
    assert_eq!(find(&[], &one), Err(Absent::Object));
    let percent = [1, 3, 6, 1, 4, 1, 2021, 9, 1, 9];
    for (row, there) in [(0, false), (1, true), (2, true), (3, false), (u32::MAX, false)] {
        assert_eq!(find(&[&percent[..], &[row]].concat(), &two).is_ok(), there);
    }
}

/// The names and types of iESP's that people have dashboards on, written out once more.
#[test]
fn iesps_objects_are_where_they_were() {
    use Kind::{Counter32, Counter64, Integer, Text, TimeTicks};
    for (name, kind, source) in [
        ("1.3.6.1.2.1.1.1.0", Text, Source::Description),
        ("1.3.6.1.2.1.1.3.0", TimeTicks, Source::UpTime),
        ("1.3.6.1.2.1.1.4.0", Text, Source::Contact),
        ("1.3.6.1.2.1.1.5.0", Text, Source::Name),
        ("1.3.6.1.2.1.1.6.0", Text, Source::Location),
        ("1.3.6.1.2.1.1.7.0", Integer, Source::Fixed(72)),
        ("1.3.6.1.2.1.1.8.0", TimeTicks, Source::Fixed(0)),
        ("1.3.6.1.2.1.142.1.10.2.1.1", Counter32, Source::Units),
        ("1.3.6.1.2.1.142.1.10.2.1.3", Counter64, Source::DataIn),
        ("1.3.6.1.2.1.142.1.10.2.1.4", Counter64, Source::DataOut),
        ("1.3.6.1.2.1.142.1.1.1.1.10", Counter32, Source::SessionFailures),
        ("1.3.6.1.2.1.142.1.1.2.1.1", Counter32, Source::DigestErrors),
        ("1.3.6.1.2.1.142.1.1.2.1.3", Counter32, Source::FormatErrors),
        ("1.3.6.1.2.1.142.1.6.2.1.1", Counter32, Source::Logins),
        ("1.3.6.1.2.1.142.1.6.3.1.1", Counter32, Source::Logouts),
        ("1.3.6.1.4.1.2021.100.1", Integer, Source::Fixed(1)),
        ("1.3.6.1.4.1.2021.100.2", Text, Source::Version),
        ("1.3.6.1.4.1.2021.100.3", Text, Source::BuildDate),
        ("1.3.6.1.4.1.2021.11.54", Counter32, Source::IoWait),
        ("1.3.6.1.4.1.2021.11.9.0", Integer, Source::CpuUse),
        ("1.3.6.1.4.1.2021.13.15.1.1.2", Text, Source::DiskName),
        ("1.3.6.1.4.1.2021.13.15.1.1.3", Counter64, Source::BytesRead),
        ("1.3.6.1.4.1.2021.13.15.1.1.4", Counter64, Source::BytesWritten),
        ("1.3.6.1.4.1.2021.13.15.1.1.5", Counter64, Source::Reads),
        ("1.3.6.1.4.1.2021.13.15.1.1.6", Counter64, Source::Writes),
        ("1.3.6.1.4.1.2021.4.11.0", Integer, Source::FreeRam),
        ("1.3.6.1.4.1.2021.9.1.9.1", Integer, Source::DiskFree),
    ] {
        let numbers: Vec<u32> = name.split('.').map(|number| number.parse().expect("a number")).collect();
        let object = find(&numbers, &Fixed::new(1, 0)).expect(name).object;
        assert_eq!((object.kind, object.source), (kind, source), "{name}");
    }
}
