//! Lines of text, where there is no terminal or nobody wants a screen.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use iesp_simulator::time::{Pace, Tasks, now_us, sleep_until_us};

use crate::View;

/// How often is looked for new lines, in microseconds.
const PERIOD_US: u64 = 50_000;

/// Runs the board until `stop` is set, or nobody reads the lines any more.
pub fn run<'a>(mut tasks: Tasks<'a>, view: &'a View, stop: &Arc<AtomicBool>) {
    let told = Arc::clone(stop);
    tasks.spawn(async move {
        let mut lines = Lines::default();
        let mut url = String::new();
        let mut result = Ok(());
        while result.is_ok() {
            view.see_to_card();
            if url != view.url() {
                url = view.url();
                result = writeln!(io::stdout(), "initiators reach the board at {url}");
            }
            result = result.and_then(|()| lines.print(view, &mut io::stdout().lock()));
            sleep_until_us(now_us() + PERIOD_US).await;
        }
        told.store(true, Ordering::Relaxed);
    });
    tasks.run(Pace::Real, u64::MAX, || stop.load(Ordering::Relaxed));
    drop(tasks);
    // Whoever has closed the pipe does not want to know.
    let _ = view.counters().iter().try_for_each(|line| writeln!(io::stdout(), "{line}"));
}

/// How much was printed.
#[derive(Default)]
struct Lines {
    console: usize,
    faults: usize,
}

impl Lines {
    /// Prints what the console says since the last time, and which faults came.
    fn print(&mut self, view: &View, to: &mut impl Write) -> io::Result<()> {
        let state = view.panel.0.borrow();
        let mut new: Vec<(u64, String)> = view.slot.with_card(|card| {
            let faults = card.faults().log();
            let new = faults.iter().skip(self.faults).map(|(at, fault)| (*at, format!("fault of the card: {fault:?}")));
            let new = new.collect();
            self.faults = faults.len();
            new
        });
        let first = state.count - state.lines.len();
        new.extend(state.lines.iter().skip(self.console.saturating_sub(first)).cloned());
        self.console = state.count;
        new.sort_by_key(|(at, _)| *at);
        new.iter().try_for_each(|(at, line)| writeln!(to, "{:10.3} {line}", *at as f64 / 1e6))?;
        to.flush()
    }
}
