//! A table of a configuration file, from which keys are taken; what is not taken is unknown.

use std::cell::RefCell;
use std::fmt::Display;
use std::ops::{Range, RangeInclusive};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::document::Document;
use crate::size;

/// A value, and where it stands.
#[derive(Debug, Clone)]
pub struct Spot<T> {
    /// The value.
    pub value: T,
    /// Where, in bytes.
    pub span: Range<usize>,
}

/// A table.
pub struct Section<'a> {
    document: &'a Document,
    table: &'a DeTable<'a>,
    /// Its header, or all of it where it has none.
    pub span: Range<usize>,
    /// What it is called in messages.
    name: String,
    asked: RefCell<Vec<&'static str>>,
}

impl<'a> Section<'a> {
    /// The whole file.
    pub fn root(document: &'a Document, table: &'a DeTable<'a>) -> Self {
        Self { document, table, span: 0..0, name: String::new(), asked: RefCell::default() }
    }

    /// What it is called in messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A place for a message.
    pub fn locate(&self, span: &Range<usize>) -> String {
        self.document.locate(span.start)
    }

    /// Something is wrong.
    pub fn report(&self, span: Range<usize>, message: impl Into<String>) {
        self.document.report(span, message);
    }

    /// The value of a key, which is known from now on.
    fn get(&self, key: &'static str) -> Option<&'a Spanned<DeValue<'a>>> {
        self.asked.borrow_mut().push(key);
        let (_, value) = self.table.iter().find(|(name, _)| name.get_ref().as_ref() == key)?;
        Some(value)
    }

    /// Whether it has this key; asking does not make it known.
    pub fn has(&self, key: &str) -> bool {
        self.key_span(key).is_some()
    }

    /// Where a key stands.
    pub fn key_span(&self, key: &str) -> Option<Range<usize>> {
        self.table.iter().find(|(name, _)| name.get_ref().as_ref() == key).map(|(name, _)| name.span())
    }

    /// The value of a key that must be there.
    pub fn required<T>(&self, value: Option<T>, key: &str, what: &str) -> Option<T> {
        if value.is_none() && !self.has(key) {
            let place = if self.name.is_empty() { "the file".to_owned() } else { format!("[{}]", self.name) };
            self.report(self.span.clone(), format!("{place} has no '{key}': add {what}"));
        }
        value
    }

    fn wrong_type(&self, key: &str, value: &Spanned<DeValue<'_>>, wanted: &str) {
        let is = match value.get_ref() {
            DeValue::String(_) => "text",
            DeValue::Integer(_) => "a number",
            DeValue::Float(_) => "a number with a fraction",
            DeValue::Boolean(_) => "true or false",
            DeValue::Datetime(_) => "a date",
            DeValue::Array(_) => "a list",
            DeValue::Table(_) => "a table",
        };
        self.report(value.span(), format!("{key}: this is {is}: give {wanted}"));
    }

    /// Text.
    pub fn text(&self, key: &'static str, wanted: &str) -> Option<Spot<&'a str>> {
        let value = self.get(key)?;
        match value.get_ref().as_str() {
            Some(text) => Some(Spot { value: text, span: value.span() }),
            None => {
                self.wrong_type(key, value, wanted);
                None
            }
        }
    }

    /// Text of which something is made.
    pub fn parse<T, E: Display>(
        &self,
        key: &'static str,
        wanted: &str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<Spot<T>> {
        let Spot { value, span } = self.text(key, wanted)?;
        match parse(value) {
            Ok(value) => Some(Spot { value, span }),
            Err(error) => {
                let error = error.to_string();
                let quoted = format!("'{value}'");
                let message = if error.contains(&quoted) {
                    format!("{key}: {error}")
                } else {
                    format!("{key} = \"{value}\": {error}")
                };
                self.report(span, message);
                None
            }
        }
    }

    /// One of several words.
    pub fn choice<T: Copy>(&self, key: &'static str, choices: &[(&str, T)]) -> Option<T> {
        let words = choices.iter().map(|(word, _)| format!("\"{word}\"")).collect::<Vec<_>>().join(", ");
        let text = self.text(key, &format!("one of {words}"))?;
        let found = choices.iter().find(|(word, _)| *word == text.value);
        if found.is_none() {
            let near = nearest(text.value, choices.iter().map(|(word, _)| *word));
            let hint = near.map_or(String::new(), |near| format!(" (did you mean \"{near}\"?)"));
            self.report(text.span, format!("{key} = \"{}\": give one of {words}{hint}", text.value));
        }
        found.map(|(_, choice)| *choice)
    }

    /// A whole number within a range.
    pub fn number<T: TryFrom<u64>>(
        &self,
        key: &'static str,
        range: RangeInclusive<u64>,
        unit: &str,
    ) -> Option<Spot<T>> {
        let wanted = format!("a number{unit} from {} to {}", range.start(), range.end());
        let value = self.get(key)?;
        let Some(integer) = value.get_ref().as_integer() else {
            self.wrong_type(key, value, &wanted);
            return None;
        };
        let number =
            u64::from_str_radix(integer.as_str(), integer.radix()).ok().filter(|number| range.contains(number));
        let number = number.and_then(|number| T::try_from(number).ok());
        if number.is_none() {
            self.report(value.span(), format!("{key} = {integer}: give {wanted}"));
        }
        Some(Spot { value: number?, span: value.span() })
    }

    /// One of several numbers.
    pub fn number_of(&self, key: &'static str, choices: &[u32]) -> Option<Spot<u32>> {
        let words = choices.iter().map(u32::to_string).collect::<Vec<_>>().join(" or ");
        let value = self.get(key)?;
        let Some(integer) = value.get_ref().as_integer() else {
            self.wrong_type(key, value, &words);
            return None;
        };
        let number = u32::from_str_radix(integer.as_str(), integer.radix()).ok().filter(|n| choices.contains(n));
        if number.is_none() {
            self.report(value.span(), format!("{key} = {integer}: give {words}"));
        }
        Some(Spot { value: number?, span: value.span() })
    }

    /// True or false.
    pub fn boolean(&self, key: &'static str) -> Option<Spot<bool>> {
        let value = self.get(key)?;
        match value.get_ref().as_bool() {
            Some(boolean) => Some(Spot { value: boolean, span: value.span() }),
            None => {
                self.wrong_type(key, value, "true or false");
                None
            }
        }
    }

    /// Text, or else true or false.
    pub fn text_or_boolean(&self, key: &'static str, wanted: &str) -> Option<Result<&'a str, bool>> {
        let value = self.get(key)?;
        match value.get_ref() {
            DeValue::String(text) => Some(Ok(text)),
            DeValue::Boolean(boolean) => Some(Err(*boolean)),
            _ => {
                self.wrong_type(key, value, wanted);
                None
            }
        }
    }

    /// A size in bytes: a number, or text such as "10G".
    pub fn size(&self, key: &'static str) -> Option<Spot<u64>> {
        const WANTED: &str = "a size such as \"10G\"";
        match self.get(key)?.get_ref() {
            DeValue::Integer(_) => self.number(key, 1..=i64::MAX as u64, " of bytes"),
            _ => self.parse(key, WANTED, size::parse),
        }
    }

    /// Text, or a list of it.
    pub fn texts(&self, key: &'static str, wanted: &str) -> Option<Vec<Spot<&'a str>>> {
        let value = self.get(key)?;
        if let Some(text) = value.get_ref().as_str() {
            return Some(vec![Spot { value: text, span: value.span() }]);
        }
        let wanted = format!("{wanted}, or a list of such");
        let Some(list) = value.get_ref().as_array() else {
            self.wrong_type(key, value, &wanted);
            return None;
        };
        if list.is_empty() {
            self.report(value.span(), format!("{key}: the list is empty: give {wanted}, or leave the key out"));
        }
        let mut texts = Vec::new();
        for item in list.iter() {
            match item.get_ref().as_str() {
                Some(text) => texts.push(Spot { value: text, span: item.span() }),
                None => self.wrong_type(key, item, &wanted),
            }
        }
        Some(texts)
    }

    fn below(&self, key: &str, table: &'a DeTable<'a>, span: Range<usize>) -> Section<'a> {
        let name = if self.name.is_empty() { key.to_owned() } else { format!("{}.{key}", self.name) };
        Section { document: self.document, table, span, name, asked: RefCell::default() }
    }

    /// A table.
    pub fn section(&self, key: &'static str) -> Option<Section<'a>> {
        let value = self.get(key)?;
        match value.get_ref() {
            DeValue::Table(table) => Some(self.below(key, table, value.span())),
            _ => {
                self.wrong_type(key, value, &format!("a table: [{}]", self.below(key, self.table, 0..0).name));
                None
            }
        }
    }

    /// A list of tables.
    pub fn sections(&self, key: &'static str) -> Vec<Section<'a>> {
        let Some(value) = self.get(key) else { return Vec::new() };
        let name = self.below(key, self.table, 0..0).name;
        match value.get_ref() {
            DeValue::Array(list) => list
                .iter()
                .filter_map(|item| match item.get_ref() {
                    DeValue::Table(table) => Some(self.below(key, table, item.span())),
                    _ => {
                        self.wrong_type(key, item, &format!("tables: [[{name}]]"));
                        None
                    }
                })
                .collect(),
            DeValue::Table(table) => {
                let header = self.key_span(key).unwrap_or_else(|| value.span());
                self.report(header, format!("{name}: there may be several: write it as [[{name}]]"));
                // What is in it is looked at all the same.
                vec![self.below(key, table, value.span())]
            }
            _ => {
                self.wrong_type(key, value, &format!("tables: [[{name}]]"));
                Vec::new()
            }
        }
    }

    /// All keys were taken: the others are unknown.
    pub fn done(self) {
        let asked = self.asked.borrow();
        #[cfg(test)]
        super::file::tests::KNOWN.with_borrow_mut(|known| {
            let prefix = if self.name.is_empty() { String::new() } else { format!("{}.", self.name) };
            known.extend(asked.iter().map(|key| format!("{prefix}{key}")));
        });
        for (key, _) in self.table.iter().filter(|(key, _)| !asked.contains(&key.get_ref().as_ref())) {
            let name = key.get_ref().as_ref();
            let place = if self.name.is_empty() { String::new() } else { format!(" in [{}]", self.name) };
            let hint = match nearest(name, asked.iter().copied()) {
                Some(near) => format!("did you mean '{near}'?"),
                None => {
                    let mut all: Vec<_> = asked.to_vec();
                    all.sort_unstable();
                    all.dedup();
                    format!("there are {}", all.join(", "))
                }
            };
            self.report(key.span(), format!("'{name}' is not known{place}: {hint}"));
        }
    }
}

/// The word that is most like this one, if any is.
fn nearest<'w>(word: &str, words: impl Iterator<Item = &'w str>) -> Option<&'w str> {
    let plain = |word: &str| word.to_lowercase().replace('_', "-");
    let likeness = words.map(|other| (strsim::jaro_winkler(&plain(word), &plain(other)), other));
    let best = likeness.max_by(|a, b| a.0.total_cmp(&b.0))?;
    (best.0 > 0.8).then_some(best.1)
}
