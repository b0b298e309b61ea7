//! Asking processes that run.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use super::{folder, show};
use crate::failure::Failure;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Question {
    /// What is served.
    Status,
    /// Who is there.
    Sessions,
    /// To give this disk back.
    Restore(String),
}

/// Asks the process behind `socket`, or that of this id, or all that run, and prints the answers.
///
/// # Errors
/// Where none runs, or does not answer.
pub fn ask(question: &Question, socket: Option<&Path>, pid: Option<u32>, json: bool) -> Result<(), Failure> {
    let answers = match socket {
        Some(socket) => {
            let answer = exchange(question, socket).map_err(|error| {
                let remedy = match error.kind() {
                    io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => "no iesp listens there".to_owned(),
                    io::ErrorKind::PermissionDenied => {
                        "no permission: ask as the user who runs it, or as root".to_owned()
                    }
                    _ => error.to_string(),
                };
                Failure::runtime(format!("{}: {remedy}", socket.display()))
            })?;
            vec![answer]
        }
        None => find(question, pid)?,
    };
    // With several processes a disk is one of them's.
    if matches!(question, Question::Restore(_))
        && let Some(message) = answers.iter().map(|answer| answer["error"].as_str()).collect::<Option<Vec<_>>>()
    {
        return Err(Failure::runtime(message.join("; ")));
    }
    for (index, answer) in answers.iter().enumerate() {
        if json {
            println!("{answer}");
            continue;
        }
        if index > 0 {
            println!();
        }
        print!("{}", show::show(question, answer, answers.len() > 1));
    }
    Ok(())
}

/// The answers of all that run.
fn find(question: &Question, pid: Option<u32>) -> Result<Vec<Value>, Failure> {
    let folders = folder::all();
    let wanted = pid.map(|pid| format!("{pid}.sock"));
    let mut sockets: Vec<PathBuf> = Vec::new();
    for entry in folders.iter().filter_map(|folder| std::fs::read_dir(folder).ok()).flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.ends_with(".sock") && wanted.as_ref().is_none_or(|wanted| *wanted == name) {
            sockets.push(entry.path());
        }
    }
    sockets.sort();
    let (mut answers, mut denied) = (Vec::new(), None);
    for socket in sockets {
        match exchange(question, &socket) {
            Ok(answer) => answers.push(answer),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => denied = Some(socket),
            // It ended, in order or not.
            Err(_) => {}
        }
    }
    if !answers.is_empty() {
        return Ok(answers);
    }
    if let Some(socket) = denied {
        let message = format!("{}: no permission: ask as the user who runs it, or as root", socket.display());
        return Err(Failure::runtime(message));
    }
    let places = folders.iter().map(|folder| folder.display().to_string()).collect::<Vec<_>>().join(", ");
    let which = pid.map_or_else(|| "no iesp runs here".to_owned(), |pid| format!("no iesp runs here as process {pid}"));
    Err(Failure::runtime(format!(
        "{which} (there is no socket of one in {places}): start one, or name its socket with --control"
    )))
}

fn exchange(question: &Question, socket: &Path) -> io::Result<Value> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let words = match question {
        Question::Status => "status\n".to_owned(),
        Question::Sessions => "sessions\n".to_owned(),
        Question::Restore(disk) => format!("restore {disk}\n"),
    };
    stream.write_all(words.as_bytes())?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    serde_json::from_str(&text).map_err(|_| io::Error::other("what listens there is no iesp"))
}
