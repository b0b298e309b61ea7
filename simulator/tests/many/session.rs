//! A session of an initiator with the node.

use std::collections::HashMap;

use embassy_futures::select::{Either, select};
use embedded_io_async::{Read, Write};
use iesp_initiator::{Answer, Initiator};
use iesp_iscsi::pdu::{LoginStatus, ScsiCommand, Stage};
use iesp_simulator::node::{End, Listener, NAME};
use iesp_simulator::time::{now_us, sleep_until_us};

/// What a session wants: a segment holds eight blocks.
const KEYS: &str = "MaxRecvDataSegmentLength=4096 InitialR2T=Yes ImmediateData=Yes";

/// How a command ended.
#[derive(Clone, Debug)]
pub struct Ended {
    pub itt: u32,
    pub status: u8,
    pub sense: Vec<u8>,
    pub data: Vec<u8>,
}

impl Ended {
    pub fn is_good(&self) -> bool {
        self.status == 0
    }

    /// Sense key, ASC and ASCQ, whatever the format.
    pub fn code(&self) -> (u8, u8, u8) {
        match self.sense[..] {
            [0x70 | 0xf0, _, key, _, _, _, _, _, _, _, _, _, asc, ascq, ..] => (key & 15, asc, ascq),
            [0x72, key, asc, ascq, ..] => (key & 15, asc, ascq),
            _ => (0, 0, 0),
        }
    }
}

/// The connection is gone.
#[derive(Debug)]
pub struct Gone;

pub struct Session {
    pub io: End,
    pub initiator: Initiator,
    data: HashMap<u32, Vec<u8>>,
    out: HashMap<u32, Vec<u8>>,
}

impl Session {
    /// Logs in; `None` where the target has no place or closes.
    pub async fn login(listener: &Listener, number: u8, delay_us: u64) -> Option<Self> {
        let io = listener.connect(delay_us);
        let initiator = Initiator::with_isid([0x80, 0, 0, 0, 0, number]);
        let mut session = Self { io, initiator, data: HashMap::new(), out: HashMap::new() };
        let pairs = format!("InitiatorName=iqn.2026-01.test:{number} TargetName={NAME} SessionType=Normal {KEYS}");
        let stages = (Stage::OperationalNegotiation, Stage::FullFeaturePhase);
        let request = session.initiator.login(stages.0, stages.1, &pairs);
        session.send(&request).await.ok()?;
        match session.answer(30_000_000).await.ok()? {
            Answer::Login(response, _) if response.status == LoginStatus::Success => Some(session),
            _ => None,
        }
    }

    pub async fn send(&mut self, bytes: &[u8]) -> Result<(), Gone> {
        self.io.write_all(bytes).await.map_err(|_| Gone)
    }

    /// The next answer; the run fails where none comes in time.
    async fn answer(&mut self, within_us: u64) -> Result<Answer, Gone> {
        let until = now_us() + within_us;
        let mut bytes = [0; 4096];
        loop {
            if let Some(answer) = self.initiator.answer() {
                return Ok(answer);
            }
            match select(self.io.read(&mut bytes), sleep_until_us(until)).await {
                Either::First(Ok(0) | Err(_)) => return Err(Gone),
                Either::First(Ok(count)) => self.initiator.receive(&bytes[..count]),
                Either::Second(()) => panic!("no answer in {within_us} µs, nor the end of the session"),
            }
        }
    }

    /// Room for one more command in the window.
    pub fn has_room(&self) -> bool {
        self.initiator.max_cmd_sn.wrapping_sub(self.initiator.cmd_sn).cast_signed() >= 0
    }

    /// Begins a command; its data come with it as far as they are immediate.
    pub async fn begin(&mut self, command: ScsiCommand, out: Vec<u8>, immediate: bool) -> Result<u32, Gone> {
        let with = if immediate { &out[..out.len().min(4096)] } else { &[] };
        let unit = self.initiator.unit(&command.emit(), with);
        self.out.insert(command.itt, out);
        self.send(&unit).await?;
        Ok(command.itt)
    }

    /// The next command that ends.
    pub async fn next(&mut self, within_us: u64) -> Result<Ended, Gone> {
        loop {
            match self.answer(within_us).await? {
                Answer::R2t(r2t) => {
                    let data = self.out.get(&r2t.itt).cloned().unwrap_or_default();
                    let units = self.initiator.answer_r2t(&r2t, &data, 4096);
                    self.send(&units).await?;
                }
                Answer::Data(unit, bytes) => {
                    let data = self.data.entry(unit.itt).or_default();
                    assert_eq!(unit.offset as usize, data.len(), "Data-In in order");
                    data.extend(bytes);
                    if let Some(status) = unit.status {
                        return Ok(self.ended(unit.itt, status, vec![]));
                    }
                }
                Answer::Status(unit, sense) => return Ok(self.ended(unit.itt, unit.status, sense)),
                Answer::Nop(ping, _) if ping.ttt != u32::MAX => {
                    let mut pong = self.initiator.ping(true);
                    (pong.itt, pong.ttt) = (u32::MAX, ping.ttt);
                    let unit = self.initiator.unit(&pong.emit(), &[]);
                    self.send(&unit).await?;
                }
                Answer::Nop(..) | Answer::Async(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    fn ended(&mut self, itt: u32, status: u8, sense: Vec<u8>) -> Ended {
        assert!(self.out.remove(&itt).is_some(), "an answer to no command, or the second one to the same");
        Ended { itt, status, sense, data: self.data.remove(&itt).unwrap_or_default() }
    }

    /// A command that moves nothing or reads, from its begin to its end; nothing else is under way.
    pub async fn run(&mut self, lun: u8, cdb: &[u8], data_in: u32, out: &[u8], within_us: u64) -> Result<Ended, Gone> {
        let command = self.command(lun, cdb, data_in, out.len() as u32);
        let itt = self.begin(command, out.to_vec(), true).await?;
        let ended = self.next(within_us).await?;
        assert_eq!(ended.itt, itt);
        Ok(ended)
    }

    /// A command for this logical unit.
    pub fn command(&mut self, lun: u8, cdb: &[u8], data_in: u32, data_out: u32) -> ScsiCommand {
        let command = match (data_in, data_out) {
            (0, 0) => self.initiator.bare(cdb),
            (len, 0) => self.initiator.read(cdb, len),
            (_, len) => self.initiator.write(cdb, len),
        };
        ScsiCommand { lun: u64::from(lun) << 48, ..command }
    }
}
