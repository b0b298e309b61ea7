//! Differences that are meant.

use serde::Deserialize;

use super::{Difference, TranscriptError};

/// Differences that a change of the target is meant to make, each with its reason.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expected {
    #[serde(default)]
    difference: Vec<Entry>,
}

/// One kind of difference; what is left out may be anything.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    scenario: Option<String>,
    event: Option<usize>,
    pdu: Option<String>,
    field: Option<String>,
    recorded: Option<String>,
    found: Option<String>,
    reason: String,
}

impl Entry {
    fn covers(&self, difference: &Difference) -> bool {
        let same = |wanted: &Option<String>, is: &str| wanted.as_ref().is_none_or(|wanted| wanted == is);
        same(&self.field, &difference.field)
            && same(&self.scenario, &difference.scenario)
            && self.event.is_none_or(|event| event == difference.event)
            && same(&self.pdu, &difference.pdu)
            && same(&self.recorded, &difference.recorded)
            && same(&self.found, &difference.found)
    }
}

impl Expected {
    /// Reads them: `[[difference]]` tables with a `reason`, a `field` or an `event` of a `scenario`, and, as needed, `pdu`,
    /// `recorded`, `found`.
    ///
    /// # Errors
    /// The text is no TOML, has other keys, or an entry that covers more than a field or an event.
    pub fn parse(text: &str) -> Result<Self, TranscriptError> {
        let expected: Self = toml::from_str(text)?;
        let is_narrow = |entry: &Entry| entry.field.is_some() || (entry.event.is_some() && entry.scenario.is_some());
        match expected.difference.iter().find(|entry| !is_narrow(entry)) {
            None => Ok(expected),
            Some(entry) => Err(TranscriptError::Broad(entry.reason.clone())),
        }
    }

    /// Takes away what is expected: what is left, and the reasons of entries that nothing needed.
    #[must_use]
    pub fn apply(&self, differences: Vec<Difference>) -> (Vec<Difference>, Vec<String>) {
        let unused = self.difference.iter().filter(|entry| !differences.iter().any(|found| entry.covers(found)));
        let unused = unused.map(|entry| entry.reason.clone()).collect();
        let is_new = |difference: &Difference| !self.difference.iter().any(|entry| entry.covers(difference));
        (differences.into_iter().filter(is_new).collect(), unused)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn difference(field: &str, found: &str) -> Difference {
        Difference {
            scenario: "reads".to_owned(),
            event: 7,
            connection: 0,
            pdu: "SCSI Response".to_owned(),
            itt: Some(5),
            field: field.to_owned(),
            recorded: "1".to_owned(),
            found: found.to_owned(),
        }
    }

    #[test]
    fn only_what_an_entry_names_is_expected() {
        let text = "[[difference]]\nscenario = 'reads'\nfield = 'Status'\nfound = '2'\nreason = 'because'\n\
                    [[difference]]\nfield = 'LUN'\nreason = 'nothing'\n";
        let all = vec![difference("Status", "2"), difference("Status", "3"), difference("Response", "2")];
        let (left, unused) = Expected::parse(text).unwrap().apply(all.clone());
        assert_eq!(left, all[1..]);
        assert_eq!(unused, ["nothing"]);
        assert!(Expected::parse("[[difference]]\nfield = 'LUN'\n").is_err(), "a reason is needed");
        assert!(Expected::parse("[[difference]]\nevent = 7\nreason = 'x'\n").is_err(), "of which scenario?");
        let event = "[[difference]]\nscenario = 'reads'\nevent = 7\nreason = 'all of it'\n";
        assert_eq!(Expected::parse(event).unwrap().apply(all).0, []);
    }
}
