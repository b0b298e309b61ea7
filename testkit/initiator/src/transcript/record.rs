//! Records what a scenario's connections send and take.

use std::sync::{Arc, Mutex, PoisonError};

use iesp_iscsi::outbox::Digests;
use iesp_iscsi::pdu::Opcode;

use super::program::Program;
use super::scenarios::{Scenario, Scene};
use super::{Event, Recording, TranscriptError, What};
use crate::client::{Sent, Tap};
use crate::pdu::{Flaws, Pdu};
use crate::proxy::Tamper;

/// Keeps what connections show it.
#[derive(Debug, Default)]
pub struct Recorder {
    log: Mutex<Log>,
}

#[derive(Debug, Default)]
struct Log {
    connections: usize,
    events: Vec<Event>,
}

impl Recorder {
    /// What was recorded up to now.
    #[must_use]
    pub fn events(&self) -> Vec<Event> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).events.clone()
    }

    fn push(&self, connection: usize, what: What) {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).events.push(Event { connection, what });
    }
}

impl Tap for Recorder {
    fn connected(&self) -> usize {
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        let connection = log.connections;
        log.connections += 1;
        log.events.push(Event { connection, what: What::Connected });
        connection
    }

    fn sent(&self, connection: usize, sent: &Sent) {
        self.push(connection, What::Sent(Box::new(sent.clone())));
    }

    fn received(&self, connection: usize, pdu: &Pdu, digests: Digests) {
        self.push(connection, What::Received(Box::new(pdu.clone()), digests));
    }

    fn ended(&self, connection: usize) {
        self.push(connection, What::Ended);
    }

    fn closed(&self, connection: usize) {
        self.push(connection, What::Closed);
    }
}

/// Records one connection that goes through a [`crate::proxy`].
#[derive(Debug)]
pub struct Watch {
    recorder: Arc<Recorder>,
    connection: usize,
    digests: Digests,
    /// The digests that the target has agreed to, before full feature phase.
    agreed: Digests,
    closed: bool,
}

impl Watch {
    /// A new connection.
    #[must_use]
    pub fn new(recorder: Arc<Recorder>) -> Self {
        let (connection, none) = (recorder.connected(), Digests::default());
        Self { recorder, connection, digests: none, agreed: none, closed: false }
    }
}

impl Tamper for Watch {
    fn request(&mut self, pdu: &mut Pdu) -> bool {
        let sent = Sent { pdu: pdu.clone(), digests: self.digests, flaws: Flaws::default() };
        self.recorder.sent(self.connection, &sent);
        true
    }

    fn response(&mut self, pdu: &mut Pdu) -> bool {
        self.recorder.received(self.connection, pdu, self.digests);
        if pdu.is(Opcode::LoginResponse) {
            let agreed = |key| pdu.key(key).is_some_and(|value| value == "CRC32C");
            self.agreed.header |= agreed("HeaderDigest");
            self.agreed.data |= agreed("DataDigest");
            if pdu.starts_full_feature_phase() {
                self.digests = self.agreed;
            }
        }
        true
    }

    fn at_initiator(&self) -> Digests {
        self.digests
    }

    fn at_target(&self) -> Digests {
        self.digests
    }

    fn target_ended(&mut self, _: Option<std::io::Error>) {
        if !self.closed {
            self.recorder.ended(self.connection);
        }
    }

    fn initiator_ended(&mut self) {
        self.closed = true;
        self.recorder.closed(self.connection);
    }
}

/// Runs a scenario against a program of its own.
pub(super) async fn record(scenario: &Scenario, program: &Program) -> Result<Recording, TranscriptError> {
    let (name, setup) = (scenario.name.to_owned(), (scenario.setup)());
    let failed = |error| TranscriptError::Program { scenario: scenario.name.to_owned(), error };
    let server = program.serve(&setup).map_err(failed)?;
    let recorder = Arc::new(Recorder::default());
    let scene = Scene { address: server.address(), tap: recorder.clone() };
    let ran = (scenario.run)(scene).await;
    server.finish().map_err(failed)?;
    ran.map_err(|error| TranscriptError::Scenario { scenario: scenario.name.to_owned(), error })?;
    Ok(Recording { name, setup, events: recorder.events() })
}
