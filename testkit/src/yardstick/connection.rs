//! One connection: what one `recv` brought is answered with one `send`.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use super::Disk;
use super::login::{self, Agreed, SEGMENT};
use super::pdu::{BHS, Header, NO_TAG, header, opcode, padding, put};
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
    itt: [u8; 4],
    offset: u64,
    /// Data bytes still to come.
    data: usize,
    /// Padding bytes still to come.
    padding: usize,
}

/// A write that was begun.
struct Waiting {
    itt: [u8; 4],
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
            let Some((bhs, after)) = rest.split_first_chunk::<BHS>() else { break };
            let header = Header(bhs);
            let length = header.data_length();
            if header.has_ahs() || length > SEGMENT as usize {
                return Err(protocol("an additional header segment or a data segment over 256 KiB"));
            }
            if self.full_feature && self.begin_write(header)? {
                rest = after;
                continue;
            }
            let Some((data, after)) = after.split_at_checked(length + padding(length)) else { break };
            self.answer(header, &data[..length])?;
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
    fn begin_write(&mut self, header: Header<'_>) -> io::Result<bool> {
        let itt = header.itt();
        let length = header.data_length();
        let (offset, write) = match header.opcode() {
            opcode::DATA_OUT => {
                let offset = header.buffer_offset();
                let Some(write) = self.waiting.iter().find(|write| write.itt == itt) else {
                    return Err(protocol("a Data-Out PDU without a command"));
                };
                if offset as usize + length > write.length as usize || length > write.missing as usize {
                    return Err(protocol("a Data-Out PDU beyond its command's data"));
                }
                (write.offset + u64::from(offset), None)
            }
            opcode::SCSI_COMMAND => {
                let Command::Write(offset, bytes) = scsi::command(&header.cdb(), header.lun(), &self.disk) else {
                    return Ok(false);
                };
                // A write of more than FirstBurstLength would need R2T, which the yardstick does not send.
                if bytes != header.expected_length() || bytes > SEGMENT || length > bytes as usize || bytes == 0 {
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
            self.segment = Some(Segment { itt, offset, data: length, padding: padding(length) });
        }
        Ok(true)
    }

    /// Answers a PDU that is complete.
    fn answer(&mut self, header: Header<'_>, data: &[u8]) -> io::Result<()> {
        match (header.opcode(), self.full_feature) {
            (opcode::LOGIN, false) => self.log_in(header, data),
            (opcode::SCSI_COMMAND, true) => self.execute(header),
            (opcode::NOP_OUT, true) => {
                self.advance(header);
                if header.itt() == NO_TAG.to_be_bytes() {
                    return Ok(());
                }
                self.put(opcode::NOP_IN, 0, header.itt(), data, |bhs| put(bhs, 20, NO_TAG))
            }
            (opcode::TASK_MANAGEMENT, true) => {
                self.advance(header);
                // RFC 7143 11.6.1: function not supported.
                self.put(opcode::TASK_MANAGEMENT_RESPONSE, 0, header.itt(), &[], |bhs| bhs[2] = 5)
            }
            (opcode::LOGOUT, true) => {
                self.advance(header);
                self.closing = true;
                self.put(opcode::LOGOUT_RESPONSE, 0, header.itt(), &[], |_| {})
            }
            (other, _) => Err(protocol(&format!("opcode {other:#04x} at this time"))),
        }
    }

    fn log_in(&mut self, header: Header<'_>, data: &[u8]) -> io::Result<()> {
        let answer = login::answer(header, data, &self.target, &mut self.agreed);
        self.exp_cmd_sn = header.cmd_sn();
        self.full_feature = answer.done;
        self.closing = answer.status != 0;
        self.put(opcode::LOGIN_RESPONSE, answer.flags, header.itt(), &answer.text, |bhs| {
            bhs[1] = answer.flags;
            bhs[8..14].copy_from_slice(&header.0[8..14]);
            bhs[14..16].copy_from_slice(&u16::from(answer.done).to_be_bytes());
            bhs[36..38].copy_from_slice(&answer.status.to_be_bytes());
        })
    }

    fn execute(&mut self, header: Header<'_>) -> io::Result<()> {
        self.advance(header);
        let expected = header.expected_length();
        match scsi::command(&header.cdb(), header.lun(), &self.disk) {
            Command::Read(offset, length) => self.read(header.itt(), offset, length, expected),
            Command::Describe(mut data, allocation) => {
                data.truncate(allocation.min(expected as usize));
                let missing = expected - data.len() as u32;
                if data.is_empty() {
                    return self.respond(header.itt(), GOOD, &[], missing);
                }
                let flags = if missing > 0 { 0x03 } else { 0x01 };
                self.put(opcode::DATA_IN, flags, header.itt(), &data, |bhs| {
                    put(bhs, 20, NO_TAG);
                    put(bhs, 44, missing);
                })
            }
            Command::Illegal(code) => {
                self.respond(header.itt(), CHECK_CONDITION, &scsi::illegal_request(code), expected)
            }
            Command::Write(..) => Err(protocol("a write out of place")),
        }
    }

    /// Data-In PDUs straight from the disk into the send buffer; the last one carries the status.
    fn read(&mut self, itt: [u8; 4], offset: u64, length: u32, expected: u32) -> io::Result<()> {
        if length != expected || length == 0 {
            return Err(protocol("a read whose lengths differ"));
        }
        // The send buffer holds a segment, and so does every burst: each PDU ends its sequence.
        let step = self.agreed.peer_segment & !3;
        let (mut done, mut data_sn) = (0, 0);
        while done < length {
            let part = step.min(length - done);
            let last = done + part == length;
            let size = BHS + part as usize;
            if self.output.len() - self.output_length < size {
                self.send()?;
            }
            let mut bhs = header(opcode::DATA_IN, if last { 0x81 } else { 0x80 }, part as usize, itt);
            put(&mut bhs, 20, NO_TAG);
            if last {
                put(&mut bhs, 24, self.stat_sn);
                self.stat_sn = self.stat_sn.wrapping_add(1);
            }
            put(&mut bhs, 28, self.exp_cmd_sn);
            put(&mut bhs, 32, self.exp_cmd_sn.wrapping_add(WINDOW - 1));
            put(&mut bhs, 36, data_sn);
            put(&mut bhs, 40, done);
            let room = &mut self.output[self.output_length..self.output_length + size];
            room[..BHS].copy_from_slice(&bhs);
            self.disk.read(&mut room[BHS..], offset + u64::from(done))?;
            self.output_length += size;
            done += part;
            data_sn += 1;
        }
        Ok(())
    }

    /// A SCSI Response with a residual underflow of `missing` bytes.
    fn respond(&mut self, itt: [u8; 4], status: u8, sense: &[u8], missing: u32) -> io::Result<()> {
        let flags = if missing > 0 { 0x02 } else { 0 };
        self.put(opcode::SCSI_RESPONSE, flags, itt, sense, |bhs| {
            bhs[3] = status;
            put(bhs, 44, missing);
        })
    }

    /// Appends a PDU that carries status; the final flag and the sequence numbers are set here.
    fn put(
        &mut self,
        opcode: u8,
        flags: u8,
        itt: [u8; 4],
        data: &[u8],
        set: impl FnOnce(&mut [u8; BHS]),
    ) -> io::Result<()> {
        let padded = data.len() + padding(data.len());
        if self.output.len() - self.output_length < BHS + padded {
            self.send()?;
        }
        let mut bhs = header(opcode, flags | 0x80, data.len(), itt);
        put(&mut bhs, 24, self.stat_sn);
        put(&mut bhs, 28, self.exp_cmd_sn);
        put(&mut bhs, 32, self.exp_cmd_sn.wrapping_add(WINDOW - 1));
        set(&mut bhs);
        self.stat_sn = self.stat_sn.wrapping_add(1);
        let room = &mut self.output[self.output_length..self.output_length + BHS + padded];
        room[..BHS].copy_from_slice(&bhs);
        room[BHS..BHS + data.len()].copy_from_slice(data);
        room[BHS + data.len()..].fill(0);
        self.output_length += BHS + padded;
        Ok(())
    }

    fn send(&mut self) -> io::Result<()> {
        let length = std::mem::take(&mut self.output_length);
        if length == 0 { Ok(()) } else { self.stream.write_all(&self.output[..length]) }
    }

    /// Counts a command that was not marked for immediate delivery.
    fn advance(&mut self, header: Header<'_>) {
        if !header.immediate() {
            self.exp_cmd_sn = header.cmd_sn().wrapping_add(1);
        }
    }
}

fn protocol(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the yardstick does not serve {what}"))
}
