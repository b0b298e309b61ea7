//! An initiator at the PC's end of the wire.

use embassy_net::Stack;
use embassy_net::tcp::TcpSocket;
use embassy_time::{Duration, Timer};
use embedded_io_async::Write;
use iesp_initiator::{Answer, INITIATOR, Initiator};
use iesp_iscsi::pdu::{RESERVED_TAG, ScsiCommand, Stage, TaskAttribute};
use iesp_simulator::host;

/// How a command ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    pub itt: u32,
    pub status: u8,
    pub sense: Vec<u8>,
    pub data: Vec<u8>,
}

impl Ended {
    /// Sense key, additional sense code and its qualifier.
    pub fn key(&self) -> (u8, u8, u8) {
        match self.sense[..] {
            [_, _, key, _, _, _, _, _, _, _, _, _, asc, ascq, ..] => (key & 15, asc, ascq),
            _ => (0, 0, 0),
        }
    }
}

/// The connection broke.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broken;

pub struct Client<'a> {
    initiator: Initiator,
    socket: TcpSocket<'a>,
    /// Data-In so far, by task tag; and what a WRITE is to send.
    incoming: Vec<(u32, Vec<u8>)>,
    outgoing: Vec<(u32, Vec<u8>)>,
    pub segment: usize,
    /// How much of a WRITE's data is sent unasked, where both sides want that: what comes with the command alone where it is 0.
    pub first_burst: usize,
    /// The logical unit that commands are for.
    pub lun: u8,
}

impl<'a> Client<'a> {
    /// Connects, tries again until the board is there, and logs in; takes the unit attention.
    pub async fn connect(stack: Stack<'a>, buffers: (&'a mut [u8], &'a mut [u8]), pairs: &str) -> Result<Self, Broken> {
        let mut socket = TcpSocket::new(stack, buffers.0, buffers.1);
        socket.set_timeout(Some(Duration::from_secs(20)));
        socket.set_nagle_enabled(false);
        // Nobody asks a board that has no address yet: the question would be asked again a second later.
        Timer::after_millis(18).await;
        while socket.connect((host::BOARD, iesp_firmware::PORT)).await.is_err() {
            socket.abort();
            Timer::after_millis(50).await;
        }
        let initiator = Initiator::default();
        let (incoming, outgoing) = (Vec::new(), Vec::new());
        let mut client = Self { initiator, socket, incoming, outgoing, segment: 2048, first_burst: 0, lun: 0 };
        let pairs = format!("InitiatorName={INITIATOR} TargetName=test SessionType=Normal {pairs}");
        let request = client.initiator.login(Stage::OperationalNegotiation, Stage::FullFeaturePhase, &pairs);
        client.send(&request).await?;
        match client.answer().await? {
            Answer::Login(response, pairs) if response.status.code() == 0 => {
                // Less than boards take that do.
                client.first_burst = if pairs.contains("InitialR2T=No") { 16384 } else { 0 };
            }
            other => panic!("login: {other:?}"),
        }
        let ended = client.run(&[0], None, 0).await?;
        assert_eq!((ended.status, ended.key()), (2, (6, 0x29, 0)), "unit attention");
        Ok(client)
    }

    async fn send(&mut self, bytes: &[u8]) -> Result<(), Broken> {
        self.socket.write_all(bytes).await.map_err(|_| Broken)
    }

    async fn answer(&mut self) -> Result<Answer, Broken> {
        let mut bytes = [0; 4096];
        loop {
            if let Some(answer) = self.initiator.answer() {
                return Ok(answer);
            }
            match self.socket.read(&mut bytes).await {
                Ok(0) | Err(_) => return Err(Broken),
                Ok(count) => self.initiator.receive(&bytes[..count]),
            }
        }
    }

    /// Begins a command: its task tag.
    pub async fn begin(&mut self, cdb: &[u8], data: Option<&[u8]>, data_in: u32) -> Result<u32, Broken> {
        self.begin_as(TaskAttribute::Simple, cdb, data, data_in).await
    }

    /// Begins a command that stands in line as its attribute says.
    pub async fn begin_as(
        &mut self,
        attribute: TaskAttribute,
        cdb: &[u8],
        data: Option<&[u8]>,
        data_in: u32,
    ) -> Result<u32, Broken> {
        let mut command: ScsiCommand = match data {
            Some(data) => self.initiator.write(cdb, data.len() as u32),
            None if data_in > 0 => self.initiator.read(cdb, data_in),
            None => self.initiator.bare(cdb),
        };
        command.lun = u64::from(self.lun) << 48;
        command.attribute = attribute;
        let data = data.unwrap_or_default();
        let immediate = &data[..data.len().min(self.segment)];
        let unasked = &data[immediate.len()..data.len().min(self.first_burst.max(immediate.len()))];
        command.is_final = unasked.is_empty();
        let mut units = self.initiator.unit(&command.emit(), immediate);
        units.extend(self.initiator.unsolicited(command.itt, immediate.len() as u32, unasked, self.segment));
        self.outgoing.push((command.itt, data.to_vec()));
        self.incoming.push((command.itt, Vec::new()));
        self.send(&units).await?;
        Ok(command.itt)
    }

    /// The next command that ended.
    pub async fn next(&mut self) -> Result<Ended, Broken> {
        loop {
            match self.answer().await? {
                Answer::Status(response, sense) => {
                    let sense = sense.to_vec();
                    return Ok(self.end(response.itt, response.status, sense));
                }
                Answer::Data(unit, data) => {
                    let place = self.incoming.iter_mut().find(|(itt, _)| *itt == unit.itt).expect("a task");
                    assert_eq!(place.1.len(), unit.offset as usize);
                    place.1.extend(data);
                    if let Some(status) = unit.status {
                        return Ok(self.end(unit.itt, status, Vec::new()));
                    }
                }
                Answer::R2t(r2t) => {
                    let at = self.outgoing.iter().position(|(itt, _)| *itt == r2t.itt).expect("a task");
                    let data = std::mem::take(&mut self.outgoing[at].1);
                    let units = self.initiator.answer_r2t(&r2t, &data, self.segment);
                    self.outgoing[at].1 = data;
                    self.send(&units).await?;
                }
                // The target asks whether anybody is there.
                Answer::Nop(ping, _) => {
                    let mut pong = self.initiator.ping(true);
                    (pong.itt, pong.ttt) = (RESERVED_TAG, ping.ttt);
                    let unit = self.initiator.unit(&pong.emit(), &[]);
                    self.send(&unit).await?;
                }
                other => panic!("{other:?}"),
            }
        }
    }

    fn end(&mut self, itt: u32, status: u8, sense: Vec<u8>) -> Ended {
        self.outgoing.retain(|(other, _)| *other != itt);
        let at = self.incoming.iter().position(|(other, _)| *other == itt).expect("a task");
        let (_, data) = self.incoming.remove(at);
        Ended { itt, status, sense, data }
    }

    pub async fn run(&mut self, cdb: &[u8], data: Option<&[u8]>, data_in: u32) -> Result<Ended, Broken> {
        let itt = self.begin(cdb, data, data_in).await?;
        let ended = self.next().await?;
        assert_eq!(ended.itt, itt);
        Ok(ended)
    }

    pub async fn write(&mut self, lba: u32, data: &[u8]) -> Result<Ended, Broken> {
        self.run(&cdb(0x2a, lba, data.len() / 512), Some(data), 0).await
    }

    pub async fn read(&mut self, lba: u32, blocks: usize) -> Result<Ended, Broken> {
        self.run(&cdb(0x28, lba, blocks), None, blocks as u32 * 512).await
    }

    pub async fn flush(&mut self) -> Result<Ended, Broken> {
        self.run(&cdb(0x35, 0, 0), None, 0).await
    }
}

/// READ(10), WRITE(10), SYNCHRONIZE CACHE(10).
pub fn cdb(opcode: u8, lba: u32, blocks: usize) -> [u8; 10] {
    let [a, b, c, d] = lba.to_be_bytes();
    let [high, low] = (blocks as u16).to_be_bytes();
    [opcode, 0, a, b, c, d, 0, high, low, 0]
}
