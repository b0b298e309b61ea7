//! One connection: what one `recv` brought is answered with one `send`.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use iesp_iscsi::pdu::{
    BHS_LEN, Bhs, CommandResponse, DataIn, DataOut, LoginRequest, LoginResponse, LoginStatus, LogoutResponse, NopIn,
    Numbers, Opcode, RESERVED_TAG, Residual, ScsiCommand, TaskResponse, TaskResult, padded,
};

use super::Disk;
use super::login::{self, Agreed, SEGMENT};
use super::scsi::{self, Command};

/// Receive buffer in bytes: a PDU with a full data segment, and more. Of 0.5, 1, 2 and 4 MiB, for this one and the
/// next, 4 MiB took least CPU time for large transfers and no more for small ones.
const INPUT: usize = 4 << 20;
/// Send buffer in bytes; answers that do not fit are sent in several calls.
const OUTPUT: usize = 4 << 20;
/// Commands that the peer may have in flight.
const WINDOW: u32 = 1024;
/// Writes that wait for Data-Out PDUs.
const WAITING: usize = WINDOW as usize;

/// SCSI status GOOD and CHECK CONDITION.
const GOOD: u8 = 0;
const CHECK_CONDITION: u8 = 2;

/// The state of one connection.
pub(super) struct Connection {
    stream: TcpStream,
    disk: Arc<Disk>,
    target: Arc<str>,
    agreed: Agreed,
    full_feature: bool,
    output: Box<[u8]>,
    output_length: usize,
    stat_sn: u32,
    exp_cmd_sn: u32,
    /// The data segment that is being received: it goes to the disk as it comes.
    segment: Option<Segment>,
    /// Writes whose data is not complete.
    waiting: Vec<Waiting>,
    closing: bool,
}

/// The rest of a data segment on its way to the disk.
struct Segment {
    itt: u32,
    offset: u64,
    /// Data bytes still to come.
    data: usize,
    /// Padding bytes still to come.
    padding: usize,
}

/// A write that was begun.
struct Waiting {
    itt: u32,
    offset: u64,
    length: u32,
    /// Bytes still to come, those of the segment that is being received included.
    missing: u32,
}

impl Connection {
    pub(super) fn new(stream: TcpStream, disk: Arc<Disk>, target: Arc<str>) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            disk,
            target,
            agreed: Agreed::default(),
            full_feature: false,
            output: vec![0; OUTPUT].into_boxed_slice(),
            output_length: 0,
            stat_sn: 1,
            exp_cmd_sn: 0,
            segment: None,
            waiting: Vec::new(),
            closing: false,
        })
    }

    /// Serves until the peer leaves.
    pub(super) fn serve(&mut self) -> io::Result<()> {
        let mut input = vec![0; INPUT];
        let mut filled = 0;
        loop {
            let received = match self.stream.read(&mut input[filled..]) {
                Ok(0) => return Ok(()),
                Ok(received) => received,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            filled += received;
            let used = self.take(&input[..filled])?;
            // What is left is less than one header, or a short PDU that is not complete.
            input.copy_within(used..filled, 0);
            filled -= used;
            self.send()?;
            if self.closing {
                return Ok(());
            }
        }
    }

    /// Takes all that is complete and returns how many bytes that was.
    fn take(&mut self, input: &[u8]) -> io::Result<usize> {
        let mut rest = input;
        loop {
            if self.segment.is_some() {
                rest = self.store(rest)?;
                if self.segment.is_some() {
                    break;
                }
            }
            let Some((bhs, after)) = rest.split_first_chunk::<BHS_LEN>() else { break };
            let header = Bhs(*bhs);
            let length = header.data_len();
            if header.ahs_len() > 0 || length > SEGMENT as usize {
                return Err(protocol("an additional header segment or a data segment over 256 KiB"));
            }
            if self.full_feature && self.begin_write(&header)? {
                rest = after;
                continue;
            }
            let Some((data, after)) = after.split_at_checked(padded(length)) else { break };
            self.answer(&header, &data[..length])?;
            rest = after;
        }
        Ok(input.len() - rest.len())
    }

    /// Writes what came of the current data segment to the disk; returns what is behind it.
    fn store<'a>(&mut self, input: &'a [u8]) -> io::Result<&'a [u8]> {
        let Some(segment) = &mut self.segment else { return Ok(input) };
        let (data, rest) = input.split_at(segment.data.min(input.len()));
        if !data.is_empty() {
            self.disk.write(data, segment.offset)?;
            segment.offset += data.len() as u64;
            segment.data -= data.len();
        }
        let (pad, rest) = rest.split_at(if segment.data == 0 { segment.padding.min(rest.len()) } else { 0 });
        segment.padding -= pad.len();
        let (itt, complete) = (segment.itt, segment.data == 0 && segment.padding == 0);
        let Some(index) = self.waiting.iter().position(|write| write.itt == itt) else {
            return Err(protocol("a data segment without a command"));
        };
        self.waiting[index].missing -= data.len() as u32;
        if complete {
            self.segment = None;
            if self.waiting[index].missing == 0 {
                self.waiting.swap_remove(index);
                self.respond(itt, GOOD, &[], 0)?;
            }
        }
        Ok(rest)
    }

    /// Starts to receive the data of a WRITE or a Data-Out; false when the PDU is something else.
    fn begin_write(&mut self, header: &Bhs) -> io::Result<bool> {
        let itt = header.itt();
        let length = header.data_len();
        let (offset, write) = match header.opcode() {
            Some(Opcode::DataOut) => {
                let offset = DataOut::parse(header).offset;
                let Some(write) = self.waiting.iter().find(|write| write.itt == itt) else {
                    return Err(protocol("a Data-Out PDU without a command"));
                };
                if offset as usize + length > write.length as usize || length > write.missing as usize {
                    return Err(protocol("a Data-Out PDU beyond its command's data"));
                }
                (write.offset + u64::from(offset), None)
            }
            Some(Opcode::ScsiCommand) => {
                let command = parse(header)?;
                let Command::Write(offset, bytes) = scsi::command(&command.cdb, command.lun, &self.disk) else {
                    return Ok(false);
                };
                // A write of more than FirstBurstLength would need R2T, which the yardstick does not send.
                if bytes != command.expected_len || bytes > SEGMENT || length > bytes as usize || bytes == 0 {
                    return Err(protocol("a write of more than 256 KiB, or whose lengths differ"));
                }
                if self.waiting.len() == WAITING || self.waiting.iter().any(|write| write.itt == itt) {
                    return Err(protocol("more writes than the command window allows, or two with one tag"));
                }
                (offset, Some(Waiting { itt, offset, length: bytes, missing: bytes }))
            }
            _ => return Ok(false),
        };
        if let Some(write) = write {
            self.advance(header);
            self.waiting.push(write);
        }
        if length > 0 {
            self.segment = Some(Segment { itt, offset, data: length, padding: padded(length) - length });
        }
        Ok(true)
    }

    /// Answers a PDU that is complete.
    fn answer(&mut self, header: &Bhs, data: &[u8]) -> io::Result<()> {
        let itt = header.itt();
        match (header.opcode(), self.full_feature) {
            (Some(Opcode::LoginRequest), false) => self.log_in(header, data),
            (Some(Opcode::ScsiCommand), true) => self.execute(header),
            (Some(Opcode::NopOut), true) => {
                self.advance(header);
                if itt == RESERVED_TAG {
                    return Ok(());
                }
                let pong = NopIn { lun: 0, itt, ttt: RESERVED_TAG, numbers: self.status() };
                self.put(pong.emit(), data)
            }
            (Some(Opcode::TaskRequest), true) => {
                self.advance(header);
                let response = TaskResponse { result: TaskResult::NotSupported, itt, numbers: self.status() };
                self.put(response.emit(), &[])
            }
            (Some(Opcode::LogoutRequest), true) => {
                self.advance(header);
                self.closing = true;
                let numbers = self.status();
                let response = LogoutResponse { response: 0, itt, numbers, time2wait: 0, time2retain: 0 };
                self.put(response.emit(), &[])
            }
            (other, _) => Err(protocol(&format!("{other:?} at this time"))),
        }
    }

    fn log_in(&mut self, header: &Bhs, data: &[u8]) -> io::Result<()> {
        let request = LoginRequest::parse(header).map_err(|_| protocol("a Login Request like this"))?;
        let answer = login::answer(&request, data, &self.target, &mut self.agreed);
        self.exp_cmd_sn = request.cmd_sn;
        self.full_feature = answer.done;
        self.closing = answer.status != LoginStatus::Success;
        let stages = LoginResponse {
            transit: request.transit,
            next_stage: request.next_stage,
            ..request.response(answer.status)
        };
        let response = if self.closing { request.response(answer.status) } else { stages };
        let response = LoginResponse { tsih: u16::from(answer.done), numbers: self.status(), ..response };
        self.put(response.emit(), &answer.text)
    }

    fn execute(&mut self, header: &Bhs) -> io::Result<()> {
        self.advance(header);
        let command = parse(header)?;
        let (itt, expected) = (command.itt, command.expected_len);
        match scsi::command(&command.cdb, command.lun, &self.disk) {
            Command::Read(offset, length) => self.read(itt, offset, length, expected),
            Command::Describe(mut data, allocation) => {
                data.truncate(allocation.min(expected as usize));
                let missing = expected - data.len() as u32;
                if data.is_empty() {
                    return self.respond(itt, GOOD, &[], missing);
                }
                let residual = Residual::of(data.len() as u32, expected);
                let (status, numbers) = (Some(GOOD), self.status());
                let data_in = DataIn { is_final: true, status, itt, numbers, data_sn: 0, offset: 0, residual };
                self.put(data_in.emit(), &data)
            }
            Command::Illegal(code) => self.respond(itt, CHECK_CONDITION, &scsi::illegal_request(code), expected),
            Command::Write(..) => Err(protocol("a write out of place")),
        }
    }

    /// Data-In PDUs straight from the disk into the send buffer; the last one carries the status.
    fn read(&mut self, itt: u32, offset: u64, length: u32, expected: u32) -> io::Result<()> {
        if length != expected || length == 0 {
            return Err(protocol("a read whose lengths differ"));
        }
        // The send buffer holds a segment, and so does every burst: each PDU ends its sequence.
        let step = self.agreed.peer_segment & !3;
        let (mut done, mut data_sn) = (0, 0);
        while done < length {
            let part = step.min(length - done);
            let last = done + part == length;
            let size = BHS_LEN + part as usize;
            if self.output.len() - self.output_length < size {
                self.send()?;
            }
            let (status, numbers) = if last { (Some(GOOD), self.status()) } else { (None, self.numbers(0)) };
            let residual = Residual::None;
            let mut bhs = DataIn { is_final: true, status, itt, numbers, data_sn, offset: done, residual }.emit();
            bhs.set_data_len(part as usize);
            let room = &mut self.output[self.output_length..self.output_length + size];
            room[..BHS_LEN].copy_from_slice(&bhs.0);
            self.disk.read(&mut room[BHS_LEN..], offset + u64::from(done))?;
            self.output_length += size;
            done += part;
            data_sn += 1;
        }
        Ok(())
    }

    /// A SCSI Response with a residual underflow of `missing` bytes.
    fn respond(&mut self, itt: u32, status: u8, sense: &[u8], missing: u32) -> io::Result<()> {
        let residual = Residual::of(0, missing);
        let numbers = self.status();
        let response = CommandResponse { response: 0, status, itt, numbers, exp_data_sn: 0, residual };
        self.put(response.emit(), sense)
    }

    /// The numbers of a PDU that carries status.
    fn status(&mut self) -> Numbers {
        let numbers = self.numbers(self.stat_sn);
        self.stat_sn = self.stat_sn.wrapping_add(1);
        numbers
    }

    fn numbers(&self, stat_sn: u32) -> Numbers {
        Numbers { stat_sn, exp_cmd_sn: self.exp_cmd_sn, max_cmd_sn: self.exp_cmd_sn.wrapping_add(WINDOW - 1) }
    }

    /// Appends a PDU.
    fn put(&mut self, mut bhs: Bhs, data: &[u8]) -> io::Result<()> {
        let size = BHS_LEN + padded(data.len());
        if self.output.len() - self.output_length < size {
            self.send()?;
        }
        bhs.set_data_len(data.len());
        let room = &mut self.output[self.output_length..self.output_length + size];
        room[..BHS_LEN].copy_from_slice(&bhs.0);
        room[BHS_LEN..BHS_LEN + data.len()].copy_from_slice(data);
        room[BHS_LEN + data.len()..].fill(0);
        self.output_length += size;
        Ok(())
    }

    fn send(&mut self) -> io::Result<()> {
        let length = std::mem::take(&mut self.output_length);
        if length == 0 { Ok(()) } else { self.stream.write_all(&self.output[..length]) }
    }

    /// Counts a command that was not marked for immediate delivery.
    fn advance(&mut self, header: &Bhs) {
        if !header.immediate() {
            self.exp_cmd_sn = header.cmd_sn().wrapping_add(1);
        }
    }
}

fn parse(header: &Bhs) -> io::Result<ScsiCommand> {
    ScsiCommand::parse(header).map_err(|_| protocol("a SCSI Command like this"))
}

fn protocol(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the yardstick does not serve {what}"))
}
