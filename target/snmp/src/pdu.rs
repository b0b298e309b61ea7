//! What a request is answered, whatever message it came in: GET, GETNEXT, GETBULK, SET (RFC 3416 4.2, and RFC 1157 4.1 for
//! version 1).

use alloc::vec::Vec;

use rasn::types::ObjectIdentifier;
use rasn_snmp::v2::{BulkPdu, Pdu, Pdus, VarBind, VarBindValue};

use crate::objects::{self, Absent, Kind};
use crate::value::{self, Values};

/// Most bytes of a message: what a UDP datagram over IPv4 carries.
pub(crate) const MESSAGE_MAX: usize = 65_507;

/// Most bytes of an answer to GETBULK, which may hold as few variables as it likes: what crosses an Ethernet in one piece.
const BULK_MAX: usize = 1472;

/// The rules that a request is answered by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// SNMPv1: errors where later ones have exceptions, and neither GETBULK nor Counter64.
    V1,
    /// SNMPv2 and later.
    V2,
}

/// How large an answer may be, in bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Of the message.
    pub(crate) message: usize,
    /// Of what is around the variables.
    pub(crate) envelope: usize,
}

/// The answer. `None` where there is none to give: traps, answers, GETBULK in version 1.
pub(crate) fn answer(dialect: Dialect, request: Pdus, limits: Limits, values: &dyn Values) -> Option<Pdu> {
    let walker = Walker { dialect, values, limits };
    match request {
        Pdus::GetRequest(request) => Some(walker.each(request.0, Walker::exact)),
        Pdus::GetNextRequest(request) => Some(walker.each(request.0, Walker::next)),
        Pdus::GetBulkRequest(request) if dialect == Dialect::V2 => Some(walker.bulk(&request.0)),
        Pdus::SetRequest(request) => Some(walker.refuse(request.0)),
        _ => None,
    }
}

/// The same request, which its sender may not make (RFC 3416 4.2.1 and following: authorizationError).
pub(crate) fn forbid(request: Pdus) -> Option<Pdu> {
    match request {
        Pdus::GetRequest(rasn_snmp::v2::GetRequest(pdu))
        | Pdus::GetNextRequest(rasn_snmp::v2::GetNextRequest(pdu))
        | Pdus::SetRequest(rasn_snmp::v2::SetRequest(pdu)) => {
            let index = usize::from(!pdu.variable_bindings.is_empty());
            Some(failure(pdu, Pdu::ERROR_STATUS_AUTHORIZATION_ERROR, index))
        }
        Pdus::GetBulkRequest(rasn_snmp::v2::GetBulkRequest(bulk)) => {
            let index = usize::from(!bulk.variable_bindings.is_empty());
            let pdu = success(bulk.request_id, bulk.variable_bindings);
            Some(failure(pdu, Pdu::ERROR_STATUS_AUTHORIZATION_ERROR, index))
        }
        _ => None,
    }
}

/// The number of a request, where it is one.
pub(crate) const fn request_id(request: &Pdus) -> Option<i32> {
    match request {
        Pdus::GetRequest(request) => Some(request.0.request_id),
        Pdus::GetNextRequest(request) => Some(request.0.request_id),
        Pdus::GetBulkRequest(request) => Some(request.0.request_id),
        Pdus::SetRequest(request) => Some(request.0.request_id),
        _ => None,
    }
}

struct Walker<'a> {
    dialect: Dialect,
    values: &'a dyn Values,
    limits: Limits,
}

impl Walker<'_> {
    /// One variable for each that was asked for.
    fn each(&self, request: Pdu, find: impl Fn(&Self, &ObjectIdentifier) -> VarBind) -> Pdu {
        let mut room = Room::new(self.limits, MESSAGE_MAX);
        for (index, asked) in request.variable_bindings.iter().enumerate() {
            let found = find(self, &asked.name);
            // RFC 1157 4.1.2, 4.1.3: version 1 has an error in place of exceptions.
            if self.dialect == Dialect::V1 && !matches!(found.value, VarBindValue::Value(_)) {
                return failure(request, Pdu::ERROR_STATUS_NO_SUCH_NAME, index + 1);
            }
            if !room.take(found) {
                return self.too_big(request);
            }
        }
        success(request.request_id, room.bindings)
    }

    /// RFC 3416 4.2.3.
    fn bulk(&self, request: &BulkPdu) -> Pdu {
        let mut room = Room::new(self.limits, BULK_MAX);
        self.fill(request, &mut room);
        success(request.request_id, room.bindings)
    }

    fn fill(&self, request: &BulkPdu, room: &mut Room) {
        let asked = &request.variable_bindings;
        let once = usize::try_from(request.non_repeaters).unwrap_or(usize::MAX).min(asked.len());
        let (once, repeated) = asked.split_at(once);
        if !once.iter().all(|asked| room.take(self.next(&asked.name))) || repeated.is_empty() {
            return;
        }
        let mut names: Vec<ObjectIdentifier> = repeated.iter().map(|asked| asked.name.clone()).collect();
        for _ in 0..request.max_repetitions {
            let mut ended = true;
            for name in &mut names {
                let found = self.next(name);
                ended &= found.value == VarBindValue::EndOfMibView;
                name.clone_from(&found.name);
                if !room.take(found) {
                    return;
                }
            }
            if ended {
                return;
            }
        }
    }

    /// Nothing can be changed.
    fn refuse(&self, request: Pdu) -> Pdu {
        if request.variable_bindings.is_empty() {
            return success(request.request_id, Vec::new());
        }
        let status = match self.dialect {
            // RFC 1157 4.1.5, RFC 3584 4.4: what may not be set has no name there.
            Dialect::V1 => Pdu::ERROR_STATUS_NO_SUCH_NAME,
            // RFC 3416 4.2.5 (2).
            Dialect::V2 => Pdu::ERROR_STATUS_NOT_WRITABLE,
        };
        failure(request, status, 1)
    }

    fn too_big(&self, mut request: Pdu) -> Pdu {
        // RFC 3416 4.2.1: without variables. RFC 1157 4.1.2: with those of the request.
        if self.dialect == Dialect::V2 {
            request.variable_bindings.clear();
        }
        failure(request, Pdu::ERROR_STATUS_TOO_BIG, 0)
    }

    /// RFC 3416 4.2.1. A Counter64 that version 1 asks for by name is answered, as iESP does it: whoever asks knows it.
    fn exact(&self, name: &ObjectIdentifier) -> VarBind {
        let value = match objects::find(name, self.values) {
            Ok(variable) => match self.values.value(variable.object.source, variable.row()) {
                Some(value) => VarBindValue::Value(value::encode(variable.object.kind, value)),
                None => VarBindValue::NoSuchInstance,
            },
            Err(Absent::Object) => VarBindValue::NoSuchObject,
            Err(Absent::Instance) => VarBindValue::NoSuchInstance,
        };
        VarBind { name: name.clone(), value }
    }

    /// RFC 3416 4.2.2; for version 1 without what it does not know (RFC 3584 4.2.2.1), so that no walk ends there.
    fn next(&self, asked: &ObjectIdentifier) -> VarBind {
        let known = |object: &objects::Object| {
            (self.dialect == Dialect::V2 || object.kind != Kind::Counter64) && self.values.is_walked(object)
        };
        let mut behind: Vec<u32> = asked.to_vec();
        // What this program has no value for is passed by.
        while let Some(variable) = objects::next(&behind, self.values, known) {
            let name: Vec<u32> = variable.name().collect();
            if let Some(value) = self.values.value(variable.object.source, variable.row()) {
                let value = VarBindValue::Value(value::encode(variable.object.kind, value));
                return VarBind { name: ObjectIdentifier::new_unchecked(name.into()), value };
            }
            behind = name;
        }
        VarBind { name: asked.clone(), value: VarBindValue::EndOfMibView }
    }
}

/// Room for variables in an answer.
struct Room {
    bindings: Vec<VarBind>,
    left: usize,
}

impl Room {
    fn new(limits: Limits, most: usize) -> Self {
        Self { bindings: Vec::new(), left: limits.message.min(most).saturating_sub(limits.envelope) }
    }

    /// Takes a variable; false where it does not fit.
    fn take(&mut self, binding: VarBind) -> bool {
        let len = rasn::ber::encode(&binding).map_or(usize::MAX, |bytes| bytes.len());
        let fits = len <= self.left;
        if fits {
            self.left -= len;
            self.bindings.push(binding);
        }
        fits
    }
}

fn success(request_id: i32, variable_bindings: Vec<VarBind>) -> Pdu {
    Pdu { request_id, error_status: Pdu::ERROR_STATUS_NO_ERROR, error_index: 0, variable_bindings }
}

/// The request's own variables, with an error; `index` counts from 1.
fn failure(request: Pdu, error_status: u32, index: usize) -> Pdu {
    Pdu { error_status, error_index: u32::try_from(index).unwrap_or(u32::MAX), ..request }
}
