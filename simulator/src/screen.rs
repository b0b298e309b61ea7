//! A terminal screen: LEDs, display, console, and what card and network counted.

use std::cell::Cell;
use std::io;
use std::time::Duration;

use iesp_simulator::board::SimPanel;
use iesp_simulator::network::SharedWire;
use iesp_simulator::slot::Slot;
use iesp_simulator::time::{Pace, Tasks, now_us};
use ratatui::Frame;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyModifiers};
use ratatui::layout::{Constraint, Layout};
use ratatui::style::{Color, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Paragraph};

/// How often it is drawn, in microseconds.
const PERIOD_US: u64 = 100_000;

/// Runs the board behind a screen until `q` is pressed.
///
/// # Errors
/// When the terminal cannot be used.
pub fn run(mut tasks: Tasks<'_>, panel: &SimPanel, slot: &Slot, wire: &SharedWire, url: &str) -> io::Result<()> {
    let mut terminal = ratatui::try_init()?;
    let failed = Cell::new(None);
    let result = loop {
        if let Err(error) = terminal.draw(|frame| draw(frame, panel, slot, wire, url)) {
            failed.set(Some(error));
        }
        if let Some(error) = failed.take() {
            break Err(error);
        }
        tasks.run(Pace::Real, now_us() + PERIOD_US, || false);
        match wants_to_leave() {
            Ok(false) => {}
            Ok(true) => break Ok(()),
            Err(error) => break Err(error),
        }
    };
    ratatui::restore();
    result
}

fn wants_to_leave() -> io::Result<bool> {
    while event::poll(Duration::ZERO)? {
        if let Event::Key(key) = event::read()? {
            let interrupt = key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL);
            if interrupt || matches!(key.code, KeyCode::Char('q') | KeyCode::Esc) {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

fn draw(frame: &mut Frame<'_>, panel: &SimPanel, slot: &Slot, wire: &SharedWire, url: &str) {
    let [top, middle, bottom] =
        Layout::vertical([Constraint::Length(3), Constraint::Min(3), Constraint::Length(5)]).areas(frame.area());
    let state = panel.0.borrow();
    let mut lights = vec![Span::raw(" ")];
    for (at, color) in [Color::Green, Color::Yellow, Color::Red].into_iter().enumerate() {
        let lit = state.lights[at] || state.lit_at_us[at].is_some_and(|lit| now_us() - lit < 2 * PERIOD_US);
        let style = if lit { Style::new().fg(color).bold() } else { Style::new().dim() };
        lights.push(Span::styled(if lit { "● " } else { "○ " }, style));
    }
    lights.push(Span::raw(format!("  [{:04}]   {url}   q ends", state.stage)));
    let seconds = now_us() as f64 / 1e6;
    frame.render_widget(Paragraph::new(Line::from(lights)).block(Block::bordered().title("board")), top);

    let room = usize::from(middle.height.saturating_sub(2));
    let skip = state.lines.len().saturating_sub(room);
    let lines = state.lines.iter().skip(skip);
    let lines: Vec<Line<'_>> = lines.map(|(at, line)| Line::raw(format!("{:10.3} {line}", *at as f64 / 1e6))).collect();
    frame.render_widget(Paragraph::new(lines).block(Block::bordered().title("console")), middle);

    let network = wire.borrow().counters();
    let (read, written, faults, broken) = slot.with_card(|card| {
        let counters = card.counters().clone();
        (counters.blocks_read, counters.blocks_written, card.faults().log().len(), card.violations().len())
    });
    let text = vec![
        Line::raw(format!(" {seconds:.1} s")),
        Line::raw(format!(" card: {read} blocks read, {written} written, {faults} faults, {broken} rules broken")),
        Line::raw(format!(
            " network: {} frames to the board, {} from it, {} lost, {} doubled, {} overtaken",
            network.frames[0], network.frames[1], network.lost, network.doubled, network.overtaken
        )),
    ];
    frame.render_widget(Paragraph::new(text).block(Block::bordered()), bottom);
}
