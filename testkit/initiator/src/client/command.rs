//! SCSI commands from their begin to their end.

use iesp_iscsi::pdu::{RESERVED_TAG, Residual, ScsiCommand, TaskAttribute};

use super::{Client, Error};
use crate::answer::Answer;
use crate::pdu::Pdu;

/// A SCSI command and how its data travels.
#[derive(Debug, Clone)]
pub struct Command<'a> {
    cdb: &'a [u8],
    lun: u64,
    read: u32,
    data: &'a [u8],
    expected: Option<u32>,
    immediate: usize,
    unsolicited: usize,
    attribute: TaskAttribute,
    immediate_delivery: bool,
}

impl<'a> Command<'a> {
    /// A command that moves nothing, of LUN 0.
    ///
    /// # Panics
    /// If the CDB has more than sixteen bytes.
    #[must_use]
    pub fn new(cdb: &'a [u8]) -> Self {
        assert!(cdb.len() <= 16, "a longer CDB needs an additional header");
        Self {
            cdb,
            lun: 0,
            read: 0,
            data: &[],
            expected: None,
            immediate: 0,
            unsolicited: 0,
            attribute: TaskAttribute::Simple,
            immediate_delivery: false,
        }
    }

    /// The logical unit, in peripheral addressing up to 255 (SAM-5 4.7).
    #[must_use]
    pub const fn lun(mut self, lun: u8) -> Self {
        self.lun = (lun as u64) << 48;
        self
    }

    /// It reads at most this many bytes.
    #[must_use]
    pub const fn read(mut self, len: u32) -> Self {
        self.read = len;
        self
    }

    /// It writes these data: all of it as the target asks for it, unless more is said.
    #[must_use]
    pub const fn write(mut self, data: &'a [u8]) -> Self {
        self.data = data;
        self
    }

    /// Expected Data Transfer Length, if it is not the length of the data.
    #[must_use]
    pub const fn expect(mut self, len: u32) -> Self {
        self.expected = Some(len);
        self
    }

    /// The first bytes of the data travel with the command.
    #[must_use]
    pub const fn immediate(mut self, len: usize) -> Self {
        self.immediate = len;
        self
    }

    /// As many bytes behind the immediate ones travel in Data-Out PDUs that no R2T asked for.
    #[must_use]
    pub const fn unsolicited(mut self, len: usize) -> Self {
        self.unsolicited = len;
        self
    }

    /// The task attribute.
    #[must_use]
    pub const fn attribute(mut self, attribute: TaskAttribute) -> Self {
        self.attribute = attribute;
        self
    }

    /// Delivered apart from the order of CmdSN.
    #[must_use]
    pub const fn immediate_delivery(mut self) -> Self {
        self.immediate_delivery = true;
        self
    }

    pub(super) const fn data(&self) -> &'a [u8] {
        self.data
    }

    pub(super) async fn begin(&self, client: &mut Client) -> Result<u32, Error> {
        let immediate = self.immediate.min(self.data.len());
        let unsolicited = self.unsolicited.min(self.data.len() - immediate);
        let write = !self.data.is_empty();
        let header = ScsiCommand {
            immediate: self.immediate_delivery,
            is_final: unsolicited == 0,
            read: self.read > 0,
            write,
            attribute: self.attribute,
            lun: self.lun,
            expected_len: self.expected.unwrap_or(if write { self.data.len() as u32 } else { self.read }),
            ..client.initiator.bare(self.cdb)
        };
        if self.immediate_delivery {
            // 4.2.2.1: it carries the next CmdSN, and does not use it up.
            client.initiator.cmd_sn = header.cmd_sn;
        }
        client.send(&Pdu::of(&header.emit(), &self.data[..immediate])).await?;
        let piece = &self.data[immediate..immediate + unsolicited];
        let pdus = client.initiator.data_out(header.itt, RESERVED_TAG, immediate as u32, piece, client.segment);
        for pdu in pdus {
            client.send(&pdu).await?;
        }
        Ok(header.itt)
    }
}

/// How a command ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Done {
    /// The iSCSI response (RFC 7143 11.4.3); 0 means that the target carried the command out.
    pub response: u8,
    /// The SCSI status.
    pub status: u8,
    /// Sense data.
    pub sense: Vec<u8>,
    /// What was read.
    pub data: Vec<u8>,
    /// What was not moved.
    pub residual: Residual,
}

impl Done {
    /// Whether it ended with GOOD.
    #[must_use]
    pub const fn is_good(&self) -> bool {
        self.response == 0 && self.status == 0
    }

    /// Sense key, additional sense code and qualifier, of sense data in fixed format (SPC-4 4.5.3).
    #[must_use]
    pub fn code(&self) -> Option<(u8, u8, u8)> {
        match self.sense[..] {
            [0x70 | 0xf0, _, key, _, _, _, _, _, _, _, _, _, asc, ascq, ..] => Some((key & 0xf, asc, ascq)),
            _ => None,
        }
    }
}

pub(super) async fn finish(client: &mut Client, itt: u32, data_out: &[u8]) -> Result<Done, Error> {
    let mut data = Vec::new();
    loop {
        let answer = client.wait(|answer| (answer.itt() == itt).then(|| answer.clone())).await?;
        match answer {
            Answer::R2t(r2t) => client.answer_r2t(&r2t, data_out).await?,
            Answer::Data(pdu, bytes) if pdu.offset as usize == data.len() => {
                data.extend(bytes);
                if let Some(status) = pdu.status {
                    return Ok(Done { response: 0, status, sense: Vec::new(), data, residual: pdu.residual });
                }
            }
            Answer::Status(pdu, sense) => {
                let (response, status, residual) = (pdu.response, pdu.status, pdu.residual);
                return Ok(Done { response, status, sense, data, residual });
            }
            other => return Err(Error::Unexpected { wanted: "data in order, or a status", got: other.into() }),
        }
    }
}
