//! QEMU's machine protocol: JSON objects, one a line, over a Unix socket.

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use serde_json::{Value, json};
use thiserror::Error;

/// How long QEMU may take for one answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(20);

/// Why a command of the machine protocol failed.
#[derive(Debug, Error)]
pub enum QmpError {
    /// The connection failed, or no answer came within 20 seconds.
    #[error("QMP: {0}")]
    Io(#[from] io::Error),
    /// QEMU has closed the connection.
    #[error("QMP: QEMU has closed the connection")]
    Closed,
    /// What came is no JSON object.
    #[error("QMP: not the protocol: {0:?}")]
    Garbage(String),
    /// QEMU refused the command.
    #[error("QMP: {command}: {reason}")]
    Refused {
        /// The command's name.
        command: String,
        /// What QEMU said.
        reason: String,
    },
}

/// A connection of the machine protocol.
#[derive(Debug)]
pub struct Qmp {
    reader: BufReader<UnixStream>,
    next_id: u64,
    events: Vec<Value>,
}

impl Qmp {
    /// Takes QEMU's greeting and leaves the negotiation.
    ///
    /// # Errors
    /// When what is at the other end does not speak the protocol.
    pub fn handshake(stream: UnixStream) -> Result<Self, QmpError> {
        stream.set_read_timeout(Some(ANSWER_LIMIT))?;
        stream.set_write_timeout(Some(ANSWER_LIMIT))?;
        let mut qmp = Qmp { reader: BufReader::new(stream), next_id: 1, events: Vec::new() };
        let greeting = qmp.receive()?;
        if greeting.get("QMP").is_none() {
            return Err(QmpError::Garbage(greeting.to_string()));
        }
        qmp.command("qmp_capabilities", &json!({}))?;
        Ok(qmp)
    }

    /// Runs a command and answers with what it returned.
    ///
    /// # Errors
    /// When QEMU refuses it, or does not answer.
    pub fn command(&mut self, command: &str, arguments: &Value) -> Result<Value, QmpError> {
        let id = self.next_id;
        self.next_id += 1;
        let request = json!({ "execute": command, "arguments": arguments, "id": id });
        self.reader.get_mut().write_all(format!("{request}\n").as_bytes())?;
        loop {
            let mut message = self.receive()?;
            if message.get("event").is_some() {
                self.events.push(message);
                continue;
            }
            if message.get("id").and_then(Value::as_u64) != Some(id) {
                return Err(QmpError::Garbage(message.to_string()));
            }
            if let Some(error) = message.get("error") {
                let reason = error.get("desc").and_then(Value::as_str).unwrap_or("no reason given").to_owned();
                return Err(QmpError::Refused { command: command.to_owned(), reason });
            }
            return Ok(message.get_mut("return").map(Value::take).unwrap_or_default());
        }
    }

    /// Plugs a network card's cable in, or pulls it. `name` is the id of its `-netdev`.
    ///
    /// # Errors
    /// When there is no such card.
    pub fn set_link(&mut self, name: &str, up: bool) -> Result<(), QmpError> {
        self.command("set_link", &json!({ "name": name, "up": up })).map(drop)
    }

    /// The events that came while answers were waited for; they are told once.
    pub fn take_events(&mut self) -> Vec<Value> {
        std::mem::take(&mut self.events)
    }

    fn receive(&mut self) -> Result<Value, QmpError> {
        let mut line = String::new();
        if self.reader.read_line(&mut line)? == 0 {
            return Err(QmpError::Closed);
        }
        match serde_json::from_str(&line) {
            Ok(value @ Value::Object(_)) => Ok(value),
            _ => Err(QmpError::Garbage(line)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GREETING: &str = r#"{"QMP": {"version": {}, "capabilities": []}}"#;

    /// Plays QEMU: sends the first line, then after each request the next ones. Answers with the requests.
    fn against(answers: Vec<&'static str>) -> (Result<Qmp, QmpError>, std::thread::JoinHandle<Vec<Value>>) {
        let (here, there) = UnixStream::pair().unwrap();
        let qemu = std::thread::spawn(move || {
            let mut requests = Vec::new();
            let mut reader = BufReader::new(there);
            for answer in answers {
                reader.get_mut().write_all(format!("{answer}\n").as_bytes()).unwrap();
                let mut line = String::new();
                if reader.read_line(&mut line).unwrap_or(0) == 0 {
                    break;
                }
                requests.push(serde_json::from_str(&line).unwrap());
            }
            requests
        });
        (Qmp::handshake(here), qemu)
    }

    #[test]
    fn answers_belong_to_requests_and_events_are_kept() {
        let event = r#"{"event": "RESET", "data": {}}"#;
        let (qmp, qemu) = against(vec![
            GREETING,
            r#"{"return": {}, "id": 1}"#,
            concat!(r#"{"event": "RESET", "data": {}}"#, "\n", r#"{"return": {"running": true}, "id": 2}"#),
            r#"{"error": {"class": "GenericError", "desc": "Device 'n7' not found"}, "id": 3}"#,
        ]);
        let mut qmp = qmp.unwrap();
        assert_eq!(qmp.command("query-status", &json!({})).unwrap(), json!({ "running": true }));
        assert_eq!(qmp.take_events(), [serde_json::from_str::<Value>(event).unwrap()]);
        let refused = qmp.set_link("n7", false).unwrap_err();
        assert_eq!(refused.to_string(), "QMP: set_link: Device 'n7' not found");
        drop(qmp);
        let requests = qemu.join().unwrap();
        assert_eq!(requests[2], json!({ "execute": "set_link", "arguments": { "name": "n7", "up": false }, "id": 3 }));
    }

    #[test]
    fn what_is_not_the_protocol_is_an_error() {
        for garbage in ["hello", "[1]", r#"{"return": {}}"#] {
            let (qmp, qemu) = against(vec![garbage]);
            assert!(matches!(qmp.unwrap_err(), QmpError::Garbage(_)), "{garbage}");
            qemu.join().unwrap();
        }
        let (qmp, _qemu) = against(vec![]);
        assert!(matches!(qmp.unwrap_err(), QmpError::Closed));
    }

    #[test]
    fn an_answer_to_another_request_is_an_error() {
        let (qmp, qemu) = against(vec![GREETING, r#"{"return": {}, "id": 9}"#]);
        assert!(matches!(qmp.unwrap_err(), QmpError::Garbage(_)));
        qemu.join().unwrap();
    }
}
