//! Sends again what was sent, and holds what comes against what came.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use iesp_iscsi::outbox::Digests;
use iesp_iscsi::pdu::RESERVED_TAG;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{timeout, timeout_at};

use super::compare::{self, ConnectionValues, Values};
use super::program::Program;
use super::{Difference, Event, Recording, TranscriptError, What};
use crate::field;
use crate::pdu::{Pdu, WireError};

/// How long something may take on a connection that differed before.
const IMPATIENCE: Duration = Duration::from_secs(1);

/// How long a connection is watched for a PDU that was not recorded.
const QUIET: Duration = Duration::from_millis(10);

impl Recording {
    /// Replays it against a program of its own.
    ///
    /// # Errors
    /// The program does not serve, or ended.
    pub async fn replay(&self, program: &Program) -> Result<Vec<Difference>, TranscriptError> {
        let failed = |error| TranscriptError::Program { scenario: self.name.clone(), error };
        let server = program.serve(&self.setup).map_err(failed)?;
        let replayed = self.replay_at(server.address(), program.answers_within()).await;
        server.finish().map_err(failed)?;
        replayed.map_err(|error| TranscriptError::Io { scenario: self.name.clone(), error })
    }

    /// Replays it against a target that serves already, and whose answers come within `patience`. What follows a PDU that
    /// is missing is not replayed.
    ///
    /// # Errors
    /// It does not listen.
    pub async fn replay_at(&self, address: SocketAddr, patience: Duration) -> io::Result<Vec<Difference>> {
        let (connections, differences) = (BTreeMap::new(), Vec::new());
        let mut replay = Replay { recording: self, patience, values: Values::default(), connections, differences };
        for (index, event) in self.events.iter().enumerate() {
            if !replay.step(index, event, address).await? {
                break;
            }
        }
        Ok(replay.differences)
    }
}

struct Replay<'a> {
    recording: &'a Recording,
    patience: Duration,
    values: Values,
    connections: BTreeMap<usize, Connection>,
    differences: Vec<Difference>,
}

struct Connection {
    stream: TcpStream,
    input: Vec<u8>,
    /// PDUs that came before others that were recorded first.
    aside: VecDeque<Pdu>,
    values: ConnectionValues,
    /// As of the last PDU that was waited for.
    digests: Digests,
    ended: bool,
    /// It did not go on as it was recorded: what is missing now will hardly come.
    differed: bool,
}

/// What came of waiting.
enum Taken {
    Pdu(Box<Pdu>),
    Ended,
    Nothing,
    Wrong(WireError),
}

impl Replay<'_> {
    /// Whether the replay can go on.
    async fn step(&mut self, index: usize, event: &Event, address: SocketAddr) -> io::Result<bool> {
        let patience = self.patience;
        let number = event.connection;
        if event.what == What::Connected {
            let stream = timeout(patience, TcpStream::connect(address)).await??;
            stream.set_nodelay(true)?;
            let (input, aside, digests) = (Vec::new(), VecDeque::new(), Digests::default());
            let connection = Connection {
                stream,
                input,
                aside,
                values: ConnectionValues::default(),
                digests,
                ended: false,
                differed: false,
            };
            self.connections.insert(number, connection);
            return Ok(true);
        }
        let Some(connection) = self.connections.get_mut(&number) else {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a connection that was not made"));
        };
        let patience = if connection.differed { patience.min(IMPATIENCE) } else { patience };
        match &event.what {
            What::Connected => {}
            What::Sent(sent) => {
                let sent = compare::request(sent, &self.recording.setup.secrets, &self.values, &connection.values);
                let bytes = sent.pdu.to_flawed_bytes(sent.digests, sent.flaws);
                // A target that has closed the connection is seen where its answer is missing.
                let _ = timeout(patience, connection.stream.write_all(&bytes)).await?;
            }
            What::Received(recorded, digests) => match connection.take(recorded, *digests, patience).await {
                Taken::Pdu(found) => {
                    let all = compare::answer(recorded, &found, &mut self.values, &mut connection.values);
                    let other_opcode = recorded.code() != found.code();
                    connection.differed |= !all.is_empty();
                    for (field, then, now) in all {
                        self.differs(index, event, recorded, &field, &then, &now);
                    }
                    return Ok(!other_opcode);
                }
                Taken::Wrong(error) => {
                    self.differs(index, event, recorded, "form", "a PDU", &error.to_string());
                    return Ok(false);
                }
                taken => {
                    let mut found = match taken {
                        Taken::Ended => "the end of the connection".to_owned(),
                        _ => format!("nothing in {patience:?}"),
                    };
                    if let Some(other) = connection.aside.front() {
                        found += &format!(", after {}", describe(other));
                    }
                    self.differs(index, event, recorded, "PDU", "one", &found);
                    return Ok(false);
                }
            },
            What::Ended => {
                if !connection.reads_to_the_end(patience).await {
                    self.told(index, event, "end of the connection", None, "end", "one", "none");
                }
                self.extra(index, event);
            }
            What::Closed => {
                connection.watch().await;
                self.extra(index, event);
                self.connections.remove(&number);
            }
        }
        Ok(true)
    }

    /// PDUs that came and were not recorded.
    fn extra(&mut self, index: usize, event: &Event) {
        let Some(connection) = self.connections.get_mut(&event.connection) else { return };
        for pdu in std::mem::take(&mut connection.aside) {
            let name = field::name(pdu.opcode());
            self.told(index, event, name, Some(pdu.itt()), "PDU", "none", &describe(&pdu));
        }
    }

    fn differs(&mut self, index: usize, event: &Event, pdu: &Pdu, field: &str, recorded: &str, found: &str) {
        self.told(index, event, field::name(pdu.opcode()), Some(pdu.itt()), field, recorded, found);
    }

    #[allow(clippy::too_many_arguments)] // They are a difference's parts.
    fn told(
        &mut self,
        index: usize,
        event: &Event,
        pdu: &str,
        itt: Option<u32>,
        field: &str,
        recorded: &str,
        found: &str,
    ) {
        self.differences.push(Difference {
            scenario: self.recording.name.clone(),
            event: index + 1,
            connection: event.connection,
            pdu: pdu.to_owned(),
            itt: itt.filter(|&itt| itt != RESERVED_TAG),
            field: field.to_owned(),
            recorded: recorded.to_owned(),
            found: found.to_owned(),
        });
    }
}

impl Connection {
    /// The next PDU of a task; of none, the next with the same opcode.
    async fn take(&mut self, recorded: &Pdu, digests: Digests, patience: Duration) -> Taken {
        self.digests = digests;
        let wanted =
            |pdu: &Pdu| pdu.itt() == recorded.itt() && (pdu.itt() != RESERVED_TAG || pdu.code() == recorded.code());
        if let Some(at) = self.aside.iter().position(wanted) {
            return self.aside.remove(at).map_or(Taken::Nothing, |pdu| Taken::Pdu(Box::new(pdu)));
        }
        let deadline = Instant::now() + patience;
        loop {
            match Pdu::parse_strictly(&self.input, digests) {
                Err(error) => return Taken::Wrong(error),
                Ok(Some((pdu, len))) => {
                    self.input.drain(..len);
                    if wanted(&pdu) {
                        return Taken::Pdu(Box::new(pdu));
                    }
                    self.aside.push_back(pdu);
                }
                Ok(None) if self.ended => return Taken::Ended,
                Ok(None) => {
                    if !self.receive(deadline).await {
                        return Taken::Nothing;
                    }
                }
            }
        }
    }

    /// Takes bytes from the target, or its end; `false` if nothing comes in time.
    async fn receive(&mut self, deadline: Instant) -> bool {
        let mut bytes = vec![0; 1 << 16];
        match timeout_at(deadline.into(), self.stream.read(&mut bytes)).await {
            Err(_) => return false,
            Ok(Ok(count)) if count > 0 => self.input.extend(&bytes[..count]),
            // A reset is an end, too.
            Ok(_) => self.ended = true,
        }
        true
    }

    /// Whether the target closes the connection.
    async fn reads_to_the_end(&mut self, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        while !self.ended {
            if !self.receive(deadline).await {
                return false;
            }
        }
        self.sort_the_rest();
        true
    }

    /// Looks for PDUs that were not recorded.
    async fn watch(&mut self) {
        let deadline = Instant::now() + QUIET;
        while !self.ended && self.receive(deadline).await {}
        self.sort_the_rest();
    }

    /// PDUs that are whole join those that were not recorded.
    fn sort_the_rest(&mut self) {
        while let Ok(Some((pdu, len))) = Pdu::parse(&self.input, self.digests) {
            self.input.drain(..len);
            self.aside.push_back(pdu);
        }
    }
}

/// A PDU in a few words.
fn describe(pdu: &Pdu) -> String {
    let fields = field::of(pdu.opcode()).iter().filter(|&&field| field != field::OPCODE && pdu.get(field) != 0);
    let fields: Vec<_> = fields.map(|&field| format!("{} {:#x}", field.name, pdu.get(field))).collect();
    format!("{} with {} bytes of data ({})", field::name(pdu.opcode()), pdu.data.len(), fields.join(", "))
}
