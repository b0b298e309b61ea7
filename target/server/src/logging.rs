//! The log: to the screen (standard error) and to a file, each with its own level.

use std::fs::File;
use std::io::IsTerminal;
use std::path::Path;
use std::sync::Mutex;

use tracing_subscriber::Layer;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::failure::Failure;

/// Starts the log. `levels` is iESP's `F,S`: of the file and of the screen; one level is for both.
///
/// # Errors
/// An unknown level, or a file that cannot be opened.
pub fn start(levels: &str, file: Option<&Path>) -> Result<(), Failure> {
    let (of_file, of_screen) = levels.split_once(',').unwrap_or((levels, levels));
    let (of_file, of_screen) = (level(of_file)?, level(of_screen)?);
    let screen =
        tracing_subscriber::fmt::layer().with_ansi(std::io::stderr().is_terminal()).with_writer(std::io::stderr);
    let screen = screen.with_target(false).with_filter(of_screen);
    let file = match file {
        None => None,
        Some(path) => {
            let opened = File::options().append(true).create(true).open(path);
            let opened = opened.map_err(|error| {
                Failure::runtime(format!("the log file {} cannot be opened: {error}", path.display()))
            })?;
            let layer = tracing_subscriber::fmt::layer().with_ansi(false).with_writer(Mutex::new(opened));
            Some(layer.with_filter(of_file))
        }
    };
    tracing_subscriber::registry().with(screen).with(file).init();
    Ok(())
}

fn level(text: &str) -> Result<LevelFilter, Failure> {
    Ok(match text {
        "debug" => LevelFilter::DEBUG,
        "info" => LevelFilter::INFO,
        "warning" => LevelFilter::WARN,
        "error" => LevelFilter::ERROR,
        other => {
            let message =
                format!("-L: '{other}' is no log level: use debug, info, warning or error, as in -L info,error");
            return Err(Failure::usage(message));
        }
    })
}
