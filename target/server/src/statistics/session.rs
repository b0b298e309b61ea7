//! What is known of a session that is there, and of those that failed: told by SNMP and the metrics.

use std::net::SocketAddr;
use std::time::Instant;

use iesp_iscsi::Parameters;
use iesp_iscsi::connection::Close;
use iesp_iscsi::login::Established;
use iesp_iscsi::pdu::LoginStatus;

/// A session, as it was when its login was complete.
#[derive(Debug, Clone)]
pub struct Session {
    /// Its number, from 1: no other session of this run of the program has it.
    pub number: u32,
    /// TSIH.
    pub tsih: u16,
    /// InitiatorName.
    pub initiator: String,
    /// InitiatorAlias.
    pub alias: String,
    /// TargetName; `None` in a discovery session.
    pub target: Option<String>,
    /// ISID.
    pub isid: [u8; 6],
    /// CID of its connection.
    pub cid: u16,
    /// This side of the connection.
    pub local: SocketAddr,
    /// The other side.
    pub peer: SocketAddr,
    /// What was negotiated.
    pub parameters: Parameters,
    /// When the login was complete.
    pub began: Instant,
}

impl Session {
    /// A session that begins now; it has no number yet.
    pub fn new(established: &Established<'_>, tsih: u16, local: SocketAddr, peer: SocketAddr) -> Self {
        Self {
            number: 0,
            tsih,
            initiator: established.initiator.to_owned(),
            alias: established.initiator_alias.unwrap_or_default().to_owned(),
            target: established.target.map(str::to_owned),
            isid: established.isid,
            cid: established.cid,
            local,
            peer,
            parameters: *established.parameters,
            began: Instant::now(),
        }
    }
}

/// Why a session failed (RFC 7147, iscsiInstanceSsnErrorStatsTable).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// A wrong digest.
    Digest,
    /// Silence.
    Timeout,
    /// Units with format errors.
    Format,
    /// Anything else: the connection was lost, or the target ended it.
    Other,
}

impl Failure {
    /// By the reason for which the protocol closed the connection.
    pub const fn of(close: &Close) -> Self {
        match close {
            Close::HeaderDigest => Self::Digest,
            Close::Timeout(_) => Self::Timeout,
            Close::Protocol(_) => Self::Format,
            _ => Self::Other,
        }
    }
}

/// Why a login was refused (RFC 7147, iscsiTargetLoginStatsTable).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Refusal {
    /// None of the others.
    Other,
    /// The target is elsewhere: status class 1.
    Redirect,
    /// The initiator may not use the target: 0202h.
    Authorize,
    /// It did not prove who it is: 0201h.
    Authenticate,
    /// The negotiation failed: 0200h, 0205h, 0207h, 0209h, 020bh.
    Negotiate,
}

impl Refusal {
    /// All of them; the index is the number.
    pub const ALL: [Self; 5] = [Self::Other, Self::Redirect, Self::Authorize, Self::Authenticate, Self::Negotiate];

    /// By the login response's status.
    pub fn of(status: LoginStatus) -> Self {
        match status.code() {
            0x0100..=0x01ff => Self::Redirect,
            0x0202 => Self::Authorize,
            0x0201 => Self::Authenticate,
            0x0200 | 0x0205 | 0x0207 | 0x0209 | 0x020b => Self::Negotiate,
            _ => Self::Other,
        }
    }

    /// What it is called in labels.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Other => "other",
            Self::Redirect => "redirect",
            Self::Authorize => "authorize",
            Self::Authenticate => "authenticate",
            Self::Negotiate => "negotiate",
        }
    }
}

/// The last login that was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// When.
    pub at: Instant,
    /// Why.
    pub why: Refusal,
    /// InitiatorName, where it was told.
    pub initiator: String,
    /// Where from.
    pub peer: SocketAddr,
}
