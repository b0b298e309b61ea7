//! What is told: at once to the console, and by way of a journal to whoever carries it over the network.

use core::fmt::{self, Write as _};

use embassy_time::Instant;

use crate::board::{Led, Panel};
use crate::cut::Cut;
use crate::pins::PanelPins;

/// How bad it is: a severity of RFC 5424 6.2.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Level {
    /// Something does not work.
    Error = 3,
    /// Something may soon not work.
    Warning = 4,
    /// What happens.
    Info = 6,
    /// How it happens.
    Debug = 7,
}

impl Level {
    /// As the configuration has it.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "debug" => Some(Self::Debug),
            "info" => Some(Self::Info),
            "warning" => Some(Self::Warning),
            "error" => Some(Self::Error),
            _ => None,
        }
    }

    const fn from_severity(severity: u8) -> Self {
        match severity {
            0..=3 => Self::Error,
            4 => Self::Warning,
            7.. => Self::Debug,
            _ => Self::Info,
        }
    }
}

/// Bytes before a line's text: its level, its length, its time in milliseconds.
const HEAD: usize = 1 + 1 + 8;

/// Longest line, in bytes; what is longer is cut.
pub const LINE_MAX: usize = 200;

/// Lines that wait to be carried away, in order. What has no room takes that of the oldest: these say most of what is going on
/// now. Without memory it keeps nothing.
#[derive(Debug, Default)]
pub struct Journal<'m> {
    bytes: &'m mut [u8],
    len: usize,
    lost: u32,
}

/// A line of the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line<'b> {
    /// How bad it is.
    pub level: Level,
    /// When it was told, in milliseconds since the start.
    pub at_ms: u64,
    /// Lines before it that were lost.
    pub lost: u32,
    /// What was told.
    pub text: &'b str,
}

impl<'m> Journal<'m> {
    /// An empty one. It needs room for a line at least: 256 bytes.
    pub const fn new(bytes: &'m mut [u8]) -> Self {
        Self { bytes, len: 0, lost: 0 }
    }

    /// Keeps a line.
    pub fn push(&mut self, level: Level, at_ms: u64, text: fmt::Arguments<'_>) {
        if self.bytes.len() < HEAD + LINE_MAX {
            return;
        }
        while self.bytes.len() - self.len < HEAD + LINE_MAX {
            self.remove_first();
            self.lost = self.lost.saturating_add(1);
        }
        let text_at = self.len + HEAD;
        let mut line = Cut::new(self.bytes.get_mut(text_at..text_at + LINE_MAX).unwrap_or_default());
        // A line that is cut is better than none.
        let _ = line.write_fmt(text);
        let count = line.len;
        let head = self.bytes.get_mut(self.len..self.len + HEAD).unwrap_or_default();
        for (place, byte) in head.iter_mut().zip([level as u8, count as u8].into_iter().chain(at_ms.to_le_bytes())) {
            *place = byte;
        }
        self.len += HEAD + count;
    }

    /// The oldest line, if there is one: it stays until [`remove_first`](Self::remove_first).
    pub fn first<'b>(&self, room: &'b mut [u8; LINE_MAX]) -> Option<Line<'b>> {
        let head = self.bytes.get(..self.len)?.first_chunk::<HEAD>()?;
        let [level, count, at_ms @ ..] = *head;
        let text = self.bytes.get(HEAD..HEAD + usize::from(count))?;
        let room = room.get_mut(..text.len())?;
        room.copy_from_slice(text);
        let text = core::str::from_utf8(room).unwrap_or_default();
        Some(Line { level: Level::from_severity(level), at_ms: u64::from_le_bytes(at_ms), lost: self.lost, text })
    }

    /// The oldest line was carried away.
    pub fn remove_first(&mut self) {
        let count = self.bytes.get(1).copied().map_or(0, usize::from);
        let whole = (HEAD + count).min(self.len);
        self.bytes.copy_within(whole..self.len, 0);
        self.len -= whole;
        self.lost = 0;
    }
}

/// A panel whose lines are kept for the journal, too.
#[derive(Debug)]
pub struct Log<'m, P> {
    panel: P,
    journal: Journal<'m>,
    most: Level,
}

impl<'m, P: Panel> Log<'m, P> {
    /// Tells everything up to [`Level::Info`].
    pub const fn new(panel: P, journal: Journal<'m>) -> Self {
        Self { panel, journal, most: Level::Info }
    }

    /// From now on it tells no more than this.
    pub fn set_level(&mut self, most: Level) {
        self.most = most;
    }

    /// What waits to be carried away.
    pub fn journal(&mut self) -> &mut Journal<'m> {
        &mut self.journal
    }
}

impl<P: Panel> Panel for Log<'_, P> {
    fn light(&mut self, led: Led, on: bool) {
        self.panel.light(led, on);
    }

    fn place(&mut self, pins: PanelPins) {
        self.panel.place(pins);
    }

    fn show(&mut self, stage: u16) {
        self.panel.show(stage);
    }

    fn line(&mut self, text: fmt::Arguments<'_>) {
        self.tell(Level::Info, text);
    }

    fn tell(&mut self, level: Level, text: fmt::Arguments<'_>) {
        if level <= self.most {
            self.panel.tell(level, text);
            self.journal.push(level, Instant::now().as_millis(), text);
        }
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::string::{String, ToString};
    use std::vec::Vec;

    use super::*;

    fn all(journal: &mut Journal<'_>) -> Vec<(Level, u64, u32, String)> {
        let mut lines = Vec::new();
        let mut room = [0; LINE_MAX];
        while let Some(line) = journal.first(&mut room) {
            lines.push((line.level, line.at_ms, line.lost, line.text.to_string()));
            journal.remove_first();
        }
        lines
    }

    #[test]
    fn lines_come_out_as_they_went_in() {
        let mut bytes = [0; 1024];
        let mut journal = Journal::new(&mut bytes);
        assert!(all(&mut journal).is_empty());
        journal.push(Level::Error, 1, format_args!("a {}", 1));
        journal.push(Level::Debug, u64::MAX, format_args!(""));
        assert_eq!(all(&mut journal), [(Level::Error, 1, 0, "a 1".into()), (Level::Debug, u64::MAX, 0, "".into())]);
    }

    #[test]
    fn the_oldest_make_room_and_are_counted() {
        let mut bytes = [0; 600];
        let mut journal = Journal::new(&mut bytes);
        for number in 0..50 {
            journal.push(Level::Info, number, format_args!("{}{number:02}", "ä".repeat(number as usize * 3)));
        }
        let lines = all(&mut journal);
        let last = lines.last().unwrap();
        assert_eq!((last.1, last.3.len()), (49, LINE_MAX), "cut, and not within a character");
        assert!(lines.len() < 4 && lines[0].2 > 0, "{lines:?}");
        assert!(lines.iter().skip(1).all(|line| line.2 == 0));
    }

    #[test]
    fn without_memory_nothing_is_kept() {
        let mut journal = Journal::default();
        journal.push(Level::Error, 1, format_args!("a"));
        assert!(all(&mut journal).is_empty());
    }
}
