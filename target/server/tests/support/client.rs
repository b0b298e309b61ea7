//! An initiator on a TCP connection, which waits for each answer.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};

use iesp_iscsi::outbox::Digests;
use iesp_iscsi::pdu::{LoginResponse, LoginStatus, ReadyToTransfer, Residual, ScsiCommand, Stage};

use super::initiator::{Answer, INITIATOR, ISID, Initiator};
use super::process::PATIENCE;

/// What every session here wants unless a test wants something else.
pub const KEYS: &str = "MaxRecvDataSegmentLength=262144 MaxBurstLength=1048576 FirstBurstLength=262144 \
    InitialR2T=Yes ImmediateData=Yes MaxOutstandingR2T=1 HeaderDigest=None DataDigest=None";

/// An initiator on a connection.
pub struct Client {
    pub initiator: Initiator,
    pub stream: TcpStream,
    /// Answers to other commands than the one that is waited for.
    aside: VecDeque<Answer>,
}

/// How a command ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Done {
    pub response: u8,
    pub status: u8,
    pub sense: Vec<u8>,
    pub data: Vec<u8>,
    pub residual: Residual,
}

impl Done {
    /// The data of a command that went well.
    #[track_caller]
    pub fn good(self) -> Vec<u8> {
        assert_eq!((self.response, self.status, &self.sense[..]), (0, 0, &[][..]), "{self:?}");
        self.data
    }

    /// Sense key, ASC, ASCQ of CHECK CONDITION, in fixed format.
    #[track_caller]
    pub fn code(&self) -> (u8, u8, u8) {
        assert_eq!((self.response, self.status), (0, 2), "{self:?}");
        assert_eq!(self.sense[0] & 0x7f, 0x70, "{self:?}");
        (self.sense[2] & 0xf, self.sense[12], self.sense[13])
    }
}

impl Client {
    /// A connection before its login.
    pub fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("the target listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        stream.set_write_timeout(Some(PATIENCE)).expect("a timeout");
        stream.set_nodelay(true).expect("no delay");
        Self { initiator: Initiator::default(), stream, aside: VecDeque::new() }
    }

    /// A normal session with the target `test`, past its unit attention.
    pub fn login(address: SocketAddr) -> Self {
        Self::login_as(address, ISID, KEYS)
    }

    /// The same with another ISID and other keys.
    pub fn login_as(address: SocketAddr, isid: [u8; 6], keys: &str) -> Self {
        let mut client = Self::session(address, isid, keys);
        let test_unit_ready = client.initiator.bare(&[0]);
        let done = client.command(test_unit_ready, &[]);
        assert_eq!(done.code(), (6, 0x29, 0), "power on or reset");
        client
    }

    /// A normal session whose unit attention is still to come.
    pub fn session(address: SocketAddr, isid: [u8; 6], keys: &str) -> Self {
        let mut client = Self::connect(address);
        client.initiator.isid = isid;
        let response = client.log_in("test", keys);
        assert_eq!(response.status, LoginStatus::Success, "{response:?}");
        client
    }

    /// An ISID of its own for each number.
    pub fn isid(number: u8) -> [u8; 6] {
        [0x80, 0, 0, 0, 0, number]
    }

    /// One request straight to full feature phase.
    pub fn log_in(&mut self, target: &str, keys: &str) -> LoginResponse {
        let pairs = format!("InitiatorName={INITIATOR} TargetName={target} SessionType=Normal {keys}");
        self.log_in_with(&pairs).0
    }

    /// One request with these pairs; the response and its text.
    pub fn log_in_with(&mut self, pairs: &str) -> (LoginResponse, String) {
        let request = self.initiator.login(Stage::OperationalNegotiation, Stage::FullFeaturePhase, pairs);
        self.send(&request);
        let Answer::Login(response, text) = self.answer() else { panic!("no Login Response") };
        let has = |pair: &str| text.split(' ').any(|other| other == pair);
        if response.status == LoginStatus::Success {
            self.initiator.digests = Digests { header: has("HeaderDigest=CRC32C"), data: has("DataDigest=CRC32C") };
        }
        (response, text)
    }

    pub fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the target takes it");
    }

    /// The next answer.
    #[track_caller]
    pub fn answer(&mut self) -> Answer {
        self.answer_or_end().expect("the target closed the connection")
    }

    /// The next answer; `None` at the end of the connection.
    #[track_caller]
    pub fn answer_or_end(&mut self) -> Option<Answer> {
        if let Some(answer) = self.aside.pop_front() {
            return Some(answer);
        }
        let mut bytes = vec![0; 1 << 16];
        loop {
            if let Some(answer) = self.initiator.answer() {
                return Some(answer);
            }
            match self.stream.read(&mut bytes) {
                Ok(0) => return None,
                Ok(count) => self.initiator.receive(&bytes[..count]),
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return None,
                Err(error) => panic!("no answer: {error}"),
            }
        }
    }

    /// Sends a command without immediate data; it goes on with [`Self::finish`].
    pub fn begin(&mut self, command: &ScsiCommand) {
        let unit = self.initiator.unit(&command.emit(), &[]);
        self.send(&unit);
    }

    /// Answers the R2Ts of a command with `data`, and waits for its end.
    #[track_caller]
    pub fn finish(&mut self, itt: u32, data_out: &[u8]) -> Done {
        let mut data = Vec::new();
        let mut others = VecDeque::new();
        let done = loop {
            match self.answer() {
                Answer::R2t(r2t) if r2t.itt == itt => self.answer_r2t(&r2t, data_out),
                Answer::Data(unit, bytes) if unit.itt == itt => {
                    assert_eq!(unit.offset as usize, data.len(), "Data-In in order");
                    data.extend(bytes);
                    if let Some(status) = unit.status {
                        let (residual, sense) = (unit.residual, Vec::new());
                        break Done { response: 0, status, sense, data, residual };
                    }
                }
                Answer::Status(unit, sense) if unit.itt == itt => {
                    let (response, status, residual) = (unit.response, unit.status, unit.residual);
                    break Done { response, status, sense, data, residual };
                }
                other => others.push_back(other),
            }
        };
        others.append(&mut self.aside);
        self.aside = others;
        done
    }

    pub fn answer_r2t(&mut self, r2t: &ReadyToTransfer, data: &[u8]) {
        let units = self.initiator.answer_r2t(r2t, data, 1 << 18);
        self.send(&units);
    }

    /// A command from its begin to its end.
    #[track_caller]
    pub fn command(&mut self, command: ScsiCommand, data_out: &[u8]) -> Done {
        self.begin(&command);
        self.finish(command.itt, data_out)
    }

    /// A command that reads at most `len` bytes.
    #[track_caller]
    pub fn get(&mut self, cdb: &[u8], len: u32) -> Done {
        let command = self.initiator.read(cdb, len);
        self.command(command, &[])
    }

    /// A command that writes `data`, all of it by Data-Out.
    #[track_caller]
    pub fn put(&mut self, cdb: &[u8], data: &[u8]) -> Done {
        let command = self.initiator.write(cdb, data.len() as u32);
        self.command(command, data)
    }

    /// A command that writes `data`, all of it immediate.
    #[track_caller]
    pub fn put_immediate(&mut self, cdb: &[u8], data: &[u8]) -> Done {
        let command = self.initiator.write(cdb, data.len() as u32);
        let unit = self.initiator.unit(&command.emit(), data);
        self.send(&unit);
        self.finish(command.itt, data)
    }

    /// A command that moves nothing.
    #[track_caller]
    pub fn run(&mut self, cdb: &[u8]) -> Done {
        let command = self.initiator.bare(cdb);
        self.command(command, &[])
    }
}
