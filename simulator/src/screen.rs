//! A terminal screen: LEDs, display, console, and what card and network counted.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use iesp_simulator::time::{Pace, Tasks, now_us};
use ratatui::Frame;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyModifiers};
use ratatui::layout::{Constraint, Layout};
use ratatui::style::{Color, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Paragraph};

use crate::View;

/// How often it is drawn, in microseconds.
const PERIOD_US: u64 = 100_000;

/// Runs the board behind a screen until `q` is pressed or `stop` is set; `c` takes the card out and puts it back.
///
/// # Errors
/// When the terminal cannot be used.
pub fn run(mut tasks: Tasks<'_>, view: &View, stop: &AtomicBool) -> io::Result<()> {
    let mut terminal = ratatui::try_init()?;
    let mut watch = || -> io::Result<()> {
        loop {
            terminal.draw(|frame| draw(frame, view))?;
            let stopped = tasks.run(Pace::Real, now_us() + PERIOD_US, || stop.load(Ordering::Relaxed));
            if stopped || wants_to_leave(view)? {
                return Ok(());
            }
            view.see_to_card();
        }
    };
    let result = watch();
    ratatui::restore();
    result
}

fn wants_to_leave(view: &View) -> io::Result<bool> {
    while event::poll(Duration::ZERO)? {
        if let Event::Key(key) = event::read()? {
            let interrupt = key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL);
            if interrupt || matches!(key.code, KeyCode::Char('q') | KeyCode::Esc) {
                return Ok(true);
            }
            if key.code == KeyCode::Char('c') {
                view.turn.store(true, Ordering::Relaxed);
            }
        }
    }
    Ok(false)
}

fn draw(frame: &mut Frame<'_>, view: &View) {
    let [top, middle, bottom] =
        Layout::vertical([Constraint::Length(4), Constraint::Min(3), Constraint::Length(5)]).areas(frame.area());
    let url = view.url();
    let state = view.panel.0.borrow();
    let mut lights = vec![Span::raw(" ")];
    for (at, color) in [Color::Green, Color::Yellow, Color::Red].into_iter().enumerate() {
        let lit = state.lights[at] || state.lit_at_us[at].is_some_and(|lit| now_us() - lit < 2 * PERIOD_US);
        let style = if lit { Style::new().fg(color).bold() } else { Style::new().dim() };
        lights.push(Span::styled(if lit { "● " } else { "○ " }, style));
    }
    lights.push(Span::raw(format!("  [{:04}]", state.stage)));
    let block = Block::bordered().title("board").title_top(Line::raw("c: card out, card in; q ends").right_aligned());
    let lines = vec![Line::from(lights), Line::raw(format!(" {url}"))];
    frame.render_widget(Paragraph::new(lines).block(block), top);

    let (width, room) = (usize::from(middle.width.saturating_sub(2)), usize::from(middle.height.saturating_sub(2)));
    let lines: Vec<String> = state.lines.iter().rev().take(room).rev().flat_map(|line| folded(line, width)).collect();
    let lines: Vec<Line<'_>> = lines.iter().skip(lines.len().saturating_sub(room)).map(Line::raw).collect();
    frame.render_widget(Paragraph::new(lines).block(Block::bordered().title("console")), middle);

    let seconds = now_us() as f64 / 1e6;
    let text: Vec<Line<'_>> = view.counters().into_iter().map(|line| Line::raw(format!(" {line}"))).collect();
    frame.render_widget(Paragraph::new(text).block(Block::bordered().title(format!("{seconds:.1} s"))), bottom);
}

/// Columns before a line of the console: its time.
const TIME: usize = 11;

/// A line of the console in as many of the screen as it takes.
fn folded((at, line): &(u64, String), width: usize) -> Vec<String> {
    let letters: Vec<char> = line.chars().collect();
    let mut lines: Vec<String> = letters
        .chunks(width.saturating_sub(TIME).max(1))
        .map(|part| format!("{:TIME$}{}", "", part.iter().collect::<String>()))
        .collect();
    let time = format!("{:10.3} ", *at as f64 / 1e6);
    match lines.first_mut() {
        Some(first) => first.replace_range(..TIME, &time),
        None => lines.push(time),
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_line_is_folded_behind_its_time() {
        let lines = folded(&(1_500_000, "ab".repeat(20)), 31);
        assert_eq!(lines, [format!("     1.500 {}", "ab".repeat(10)), format!("{:11}{}", "", "ab".repeat(10))]);
        assert_eq!(folded(&(0, String::new()), 80), ["     0.000 "]);
        assert_eq!(folded(&(0, "ab".into()), 0).len(), 2);
    }
}
