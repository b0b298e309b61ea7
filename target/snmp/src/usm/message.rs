//! Messages of version 3: what comes in, and what goes back.

use alloc::vec;
use alloc::vec::Vec;

use rasn::types::{Integer, ObjectIdentifier, OctetString};
use rasn_smi::v1::Counter as Counter32;
use rasn_smi::v2::{ApplicationSyntax, ObjectSyntax};
use rasn_snmp::v2::{self, Pdu, Pdus, Response, VarBind, VarBindValue};
use rasn_snmp::v3::{HeaderData, Message, ScopedPdu, ScopedPduData, USMSecurityParameters};

use super::{Level, Usm, wire};
use crate::objects::{AgentSource, GROUPS, Source};
use crate::pdu::{self, Dialect, Limits};
use crate::value::Values;

/// RFC 3411 5: the number of the user-based security model.
const USM: u32 = 3;

/// RFC 3412 6.3: the smallest msgMaxSize.
const SIZE_MIN: u32 = 484;

/// RFC 3412 6.4.
const AUTHENTICATED: u8 = 1;
const PRIVATE: u8 = 2;
const REPORTABLE: u8 = 4;

/// RFC 3826 3.1.2.1: bytes of a salt.
const SALT: usize = 8;

/// Bytes of an answer that are neither a user's name nor variables, at most: headers and numbers, two engine IDs of 32
/// bytes, the longest digest, a salt.
const ENVELOPE: usize = 256;

/// A request that may be answered.
#[derive(Debug)]
pub(crate) struct Request {
    head: Head,
    user: usize,
    request: Pdus,
}

/// What an answer has of the message that it answers.
#[derive(Debug, Clone)]
struct Head {
    message_id: u32,
    max_size: u32,
    level: Level,
    reportable: bool,
}

/// An answer, before it is secured.
#[derive(Debug)]
pub(crate) struct Answer {
    head: Head,
    user: Option<usize>,
    pdu: Pdus,
}

/// What is told instead of an answer.
#[derive(Debug)]
pub(crate) struct Report {
    head: Head,
    user: Option<usize>,
    request_id: i32,
    counter: AgentSource,
    count: u32,
}

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum Refused {
    /// It is no message.
    Unreadable,
    /// Something that its sender is told.
    Report(Report),
    /// Something that nobody is told.
    Silent,
}

impl Usm {
    /// Takes a message: RFC 3412 7.2, RFC 3414 3.2.
    pub(crate) fn receive(&mut self, datagram: &[u8], time: u32) -> Result<Request, Refused> {
        let message: Message = rasn::ber::decode(datagram).map_err(|_| Refused::Unreadable)?;
        let head = self.head(&message.global_data)?;
        let parameters: USMSecurityParameters =
            rasn::ber::decode(&message.security_parameters).map_err(|_| Refused::Unreadable)?;
        let boots = small(&parameters.authoritative_engine_boots).ok_or(Refused::Unreadable)?;
        let message_time = small(&parameters.authoritative_engine_time).ok_or(Refused::Unreadable)?;
        let request_id = match &message.scoped_data {
            ScopedPduData::CleartextPdu(scoped) => pdu::request_id(&scoped.data),
            ScopedPduData::EncryptedPdu(_) => None,
        };
        let told = Told { head: &head, request_id: request_id.unwrap_or(0) };
        if *parameters.authoritative_engine_id != *self.id {
            return Err(self.refuse(told, None, AgentSource::UnknownEngines));
        }
        let Some(index) = self.users.iter().position(|user| *user.name == *parameters.user_name) else {
            return Err(self.refuse(told, None, AgentSource::UnknownUsers));
        };
        let user = &self.users[index];
        if head.level == Level::Private && user.privacy.is_none() {
            return Err(self.refuse(told, None, AgentSource::UnsupportedLevels));
        }
        if head.level >= Level::Authenticated {
            let (protocol, key) = &user.authentication;
            let place = wire::authentication_parameters(datagram).ok_or(Refused::Unreadable)?;
            // RFC 3414 6.3.2: the digest is over the message with zeros where the digest stands.
            let zeros = [0; 64];
            let digest = &datagram[place.clone()];
            let covered = [&datagram[..place.start], &zeros[..digest.len().min(zeros.len())], &datagram[place.end..]];
            if !protocol.verify(key, &covered, digest) {
                return Err(self.refuse(told, None, AgentSource::WrongDigests));
            }
            if !self.is_timely(boots, message_time, time) {
                return Err(self.refuse(told, Some(index), AgentSource::NotInTimeWindows));
            }
        }
        let scoped = match (message.scoped_data, head.level, &user.privacy) {
            (ScopedPduData::CleartextPdu(scoped), Level::Open | Level::Authenticated, _) => scoped,
            (ScopedPduData::EncryptedPdu(hidden), Level::Private, Some((privacy, key))) => {
                let Ok(salt) = <[u8; SALT]>::try_from(&*parameters.privacy_parameters) else {
                    return Err(self.refuse(told, None, AgentSource::DecryptionErrors));
                };
                let mut bytes = hidden.to_vec();
                privacy.decrypt(key, &vector(boots, message_time, salt), &mut bytes);
                // With another key it is no PDU: that is all there is to see.
                match rasn::ber::decode_with_remainder::<ScopedPdu>(&bytes) {
                    Ok((scoped, _)) => scoped,
                    Err(_) => return Err(self.refuse(told, None, AgentSource::DecryptionErrors)),
                }
            }
            _ => return Err(Refused::Unreadable),
        };
        let told = Told { head: &head, request_id: pdu::request_id(&scoped.data).unwrap_or(0) };
        // RFC 3412 7.2 13: nobody else is asked by way of this engine.
        if *scoped.engine_id != *self.id || pdu::request_id(&scoped.data).is_none() {
            return Err(self.refuse(told, Some(index), AgentSource::UnknownPduHandlers));
        }
        // RFC 3413 3.2 5: there is the default context alone.
        if !scoped.name.is_empty() {
            return Err(self.refuse(told, Some(index), AgentSource::UnknownContexts));
        }
        Ok(Request { head, user: index, request: scoped.data })
    }

    fn head(&mut self, data: &HeaderData) -> Result<Head, Refused> {
        let message_id = small(&data.message_id).ok_or(Refused::Unreadable)?;
        let max_size = small(&data.max_size).filter(|size| *size >= SIZE_MIN).ok_or(Refused::Unreadable)?;
        let [flags] = *data.flags else { return Err(Refused::Unreadable) };
        if small(&data.security_model) != Some(USM) {
            self.count(AgentSource::UnknownSecurityModels);
            return Err(Refused::Silent);
        }
        let level = match flags & (AUTHENTICATED | PRIVATE) {
            0 => Level::Open,
            AUTHENTICATED => Level::Authenticated,
            PRIVATE => {
                self.count(AgentSource::InvalidMessages);
                return Err(Refused::Silent);
            }
            _ => Level::Private,
        };
        Ok(Head { message_id, max_size, level, reportable: flags & REPORTABLE != 0 })
    }

    /// Counts it, and tells the sender where it wants to be told (RFC 3412 7.1.3 c). Only a sender that proved who it is
    /// gets a report with a digest.
    fn refuse(&mut self, told: Told<'_>, proven: Option<usize>, counter: AgentSource) -> Refused {
        let count = self.count(counter);
        if !told.head.reportable {
            return Refused::Silent;
        }
        let user = proven.filter(|_| told.head.level >= Level::Authenticated);
        // RFC 3414 3.2: a report of the time window is authNoPriv; those before it are noAuthNoPriv.
        let level = match (user, counter) {
            (None, _) => Level::Open,
            (Some(_), AgentSource::NotInTimeWindows) => Level::Authenticated,
            (Some(_), _) => told.head.level,
        };
        let head = Head { level, ..told.head.clone() };
        Refused::Report(Report { head, user, request_id: told.request_id, counter, count })
    }

    /// The answer to a request.
    pub(crate) fn response(&self, request: Request, values: &dyn Values) -> Option<Answer> {
        let Request { head, user, request } = request;
        let name = self.users.get(user).map_or(0, |user| user.name.len());
        let limits = Limits { message: head.max_size as usize, envelope: ENVELOPE + name };
        let pdu = if head.level == Level::Open {
            // Who did not prove who it is sees nothing.
            pdu::forbid(request)?
        } else {
            pdu::answer(Dialect::V2, request, limits, values)?
        };
        Some(Answer { head, user: Some(user), pdu: Pdus::Response(Response(pdu)) })
    }

    /// The datagram of a report.
    pub(crate) fn report(&mut self, report: &Report, time: u32) -> Option<Vec<u8>> {
        let Report { head, user, request_id, counter, count } = report;
        let name = counter_name(*counter)?;
        let value = ObjectSyntax::ApplicationWide(ApplicationSyntax::Counter(Counter32(*count)));
        let pdu = Pdu {
            request_id: *request_id,
            error_status: 0,
            error_index: 0,
            variable_bindings: vec![VarBind {
                name: ObjectIdentifier::new_unchecked(name.into()),
                value: VarBindValue::Value(value),
            }],
        };
        let answer = Answer { head: head.clone(), user: *user, pdu: Pdus::Report(v2::Report(pdu)) };
        self.seal(&answer, time)
    }

    /// The datagram of an answer, as well secured as what it answers (RFC 3414 3.1).
    pub(crate) fn seal(&mut self, answer: &Answer, time: u32) -> Option<Vec<u8>> {
        let Answer { head, user, pdu } = answer;
        let engine_id = OctetString::from(self.id.clone());
        let scoped = ScopedPdu { engine_id: engine_id.clone(), name: OctetString::default(), data: pdu.clone() };
        let (boots, salt) = (self.boots, self.salt.to_be_bytes());
        self.salt = self.salt.wrapping_add(1);
        let user = user.and_then(|index| self.users.get(index));
        let secured = user.filter(|_| head.level >= Level::Authenticated);
        let private = secured.and_then(|user| user.privacy.as_ref()).filter(|_| head.level == Level::Private);
        let mut flags = 0;
        let mut parameters = USMSecurityParameters {
            authoritative_engine_id: engine_id,
            authoritative_engine_boots: Integer::from(boots),
            authoritative_engine_time: Integer::from(time),
            user_name: OctetString::from(user.map_or_else(Vec::new, |user| user.name.clone())),
            authentication_parameters: OctetString::default(),
            privacy_parameters: OctetString::default(),
        };
        if let Some(user) = secured {
            flags |= AUTHENTICATED;
            parameters.authentication_parameters = OctetString::from(vec![0; user.authentication.0.digest_len()]);
        }
        let scoped_data = if let Some((privacy, key)) = private {
            flags |= PRIVATE;
            parameters.privacy_parameters = OctetString::from(salt.to_vec());
            let mut bytes = rasn::ber::encode(&scoped).ok()?;
            privacy.encrypt(key, &vector(boots, time, salt), &mut bytes);
            ScopedPduData::EncryptedPdu(OctetString::from(bytes))
        } else {
            ScopedPduData::CleartextPdu(scoped)
        };
        let message = Message {
            version: Integer::from(3),
            global_data: HeaderData {
                message_id: Integer::from(head.message_id),
                max_size: Integer::from(pdu::MESSAGE_MAX),
                flags: OctetString::from(vec![flags]),
                security_model: Integer::from(USM),
            },
            security_parameters: OctetString::from(rasn::ber::encode(&parameters).ok()?),
            scoped_data,
        };
        let mut bytes = rasn::ber::encode(&message).ok()?;
        if let Some(user) = secured {
            let (protocol, key) = &user.authentication;
            let digest = protocol.digest(key, &bytes);
            let place = wire::authentication_parameters(&bytes)?;
            bytes.get_mut(place).filter(|place| place.len() == digest.len())?.copy_from_slice(&digest);
        }
        Some(bytes)
    }
}

/// What a report says of the message that it is about.
#[derive(Debug, Clone, Copy)]
struct Told<'a> {
    head: &'a Head,
    request_id: i32,
}

/// Where a counter of the agent's own stands, with its instance.
fn counter_name(counter: AgentSource) -> Option<Vec<u32>> {
    GROUPS.iter().find_map(|group| {
        let object = group.objects.iter().find(|object| object.source == Source::Agent(counter))?;
        Some([group.prefix, &[object.number, 0]].concat())
    })
}

pub(super) fn vector(boots: u32, time: u32, salt: [u8; SALT]) -> [u8; 16] {
    let mut vector = [0; 16];
    vector[..4].copy_from_slice(&boots.to_be_bytes());
    vector[4..8].copy_from_slice(&time.to_be_bytes());
    vector[8..].copy_from_slice(&salt);
    vector
}

/// A number of 0 to 2^31-1, as all of these are.
fn small(number: &Integer) -> Option<u32> {
    u32::try_from(number).ok().filter(|number| *number <= i32::MAX as u32)
}
