//! The one table of what RFC 7143 clauses 12 and 13 (and RFC 7144 8) say about each key.

use crate::params::{Limits, Parameters};

/// Most that a 24-bit length can be; the bound of every length that is negotiated.
pub const LENGTH_MAX: u32 = (1 << 24) - 1;

/// Where in a connection's life an initiator may send a key ("Use" in clause 13).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// In SecurityNegotiation alone.
    Security,
    /// In OperationalNegotiation (IO and LO keys that are no declarations), and taken in SecurityNegotiation, too.
    Operational,
    /// In either stage of login (declarations that clause 13 marks "any-stage").
    Login,
    /// In OperationalNegotiation and in full feature phase.
    OperationalAndFullFeature,
    /// In login and in full feature phase (ALL).
    All,
    /// In full feature phase alone (FFPO).
    FullFeature,
}

/// Who may send a key unasked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sender {
    /// The initiator alone.
    Initiator,
    /// The target alone: from an initiator it breaks the protocol.
    Target,
    /// Either.
    Both,
}

/// What a key's value holds for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// One connection (CO).
    Connection,
    /// The session (SW).
    Session,
}

/// Which of two numbers is the result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extreme {
    /// The smaller.
    Minimum,
    /// The larger.
    Maximum,
}

/// How two booleans make the result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Connective {
    /// `Yes` where both say so.
    And,
    /// `Yes` where one says so.
    Or,
}

/// A value of a list, when it may be chosen, and what it then sets.
#[derive(Debug, Clone, Copy)]
pub struct Choice {
    /// As it is written.
    pub name: &'static str,
    /// Whether this target may use it.
    pub allowed: fn(&Limits) -> bool,
    /// Puts it into the result.
    pub store: fn(&mut Parameters),
}

/// How a key is answered, and what its value becomes.
#[derive(Debug, Clone, Copy)]
pub enum Class {
    /// Told, never answered; login or discovery looks at it.
    Declaration,
    /// A number that is told, never answered.
    DeclaredNumber {
        /// Smallest that may be told.
        min: u32,
        /// Largest that may be told.
        max: u32,
        /// What holds where nothing is told.
        default: u32,
        /// Puts it into the result.
        store: fn(&mut Parameters, u32),
    },
    /// A part of authentication (12.1).
    Authentication,
    /// The first value of the offered list that this target may use (6.2.1). The table's first is the default.
    List(&'static [Choice]),
    /// A number in a range (6.2.2), the smaller or larger of both sides', and never above `ceiling`.
    Number {
        /// Which of both sides' numbers it is.
        result: Extreme,
        /// Smallest that may be offered.
        min: u32,
        /// Largest that may be offered.
        max: u32,
        /// What holds where nothing is offered.
        default: u32,
        /// What this target wants.
        offer: fn(&Limits) -> u32,
        /// What the results so far allow.
        ceiling: fn(&Parameters) -> u32,
        /// Puts it into the result.
        store: fn(&mut Parameters, u32),
    },
    /// `Yes` or `No` (6.2.2).
    Boolean {
        /// What both sides' values make.
        result: Connective,
        /// What holds where nothing is offered.
        default: bool,
        /// What this target wants.
        offer: fn(&Limits) -> bool,
        /// Puts it into the result.
        store: fn(&mut Parameters, bool),
    },
    /// A boolean that RFC 7143 took away, which is always `No` (13.25).
    ObsoleteBoolean,
    /// A number or range that RFC 7143 took away, which is always rejected (13.25).
    Obsolete,
}

/// A row: everything that is said about a key.
#[derive(Debug, Clone, Copy)]
pub struct Rule {
    /// As it is written.
    pub name: &'static str,
    /// Where it may come.
    pub usage: Use,
    /// Who may send it.
    pub sender: Sender,
    /// What it holds for.
    pub scope: Scope,
    /// When it has no effect; told the results so far, and whether this is a discovery session.
    pub irrelevant: fn(&Parameters, bool) -> bool,
    /// It depends on other keys of the same text, and is answered after them.
    pub dependent: bool,
    /// How it is answered.
    pub class: Class,
}

impl Rule {
    /// The row of a key.
    pub fn find(name: &str) -> Option<&'static Self> {
        TABLE.iter().find(|rule| rule.name == name)
    }

    /// The row's place in the table, as one bit.
    pub(crate) fn bit(&self) -> u64 {
        TABLE.iter().position(|rule| rule.name == self.name).map_or(0, |place| 1 << place)
    }
}

const fn always_relevant(_: &Parameters, _: bool) -> bool {
    false
}

const fn in_discovery(_: &Parameters, discovery: bool) -> bool {
    discovery
}

/// 13.14: there is no first burst where neither immediate nor other unsolicited data may come.
const fn without_unsolicited_data(results: &Parameters, discovery: bool) -> bool {
    discovery || results.initial_r2t && !results.immediate_data
}

const fn unbounded(_: &Parameters) -> u32 {
    u32::MAX
}

const fn declaration(name: &'static str, usage: Use, sender: Sender) -> Rule {
    Rule {
        name,
        usage,
        sender,
        scope: Scope::Session,
        irrelevant: always_relevant,
        dependent: false,
        class: Class::Declaration,
    }
}

const fn authentication(name: &'static str) -> Rule {
    let scope = Scope::Connection;
    Rule { scope, class: Class::Authentication, ..declaration(name, Use::Security, Sender::Both) }
}

const fn negotiated(name: &'static str, irrelevant: fn(&Parameters, bool) -> bool, class: Class) -> Rule {
    Rule { irrelevant, class, ..declaration(name, Use::Operational, Sender::Both) }
}

const fn digest(name: &'static str, choices: &'static [Choice]) -> Rule {
    Rule { scope: Scope::Connection, ..negotiated(name, always_relevant, Class::List(choices)) }
}

/// Every key of RFC 7143, and iSCSIProtocolLevel of RFC 7144. A key that is not here is not understood.
pub static TABLE: [Rule; 34] = [
    // 12.1
    authentication("AuthMethod"),
    authentication("CHAP_A"),
    authentication("CHAP_I"),
    authentication("CHAP_C"),
    authentication("CHAP_N"),
    authentication("CHAP_R"),
    // 13.1
    digest(
        "HeaderDigest",
        &[
            Choice { name: "None", allowed: |_| true, store: |p| p.header_digest = false },
            Choice { name: "CRC32C", allowed: |limits| limits.digests, store: |p| p.header_digest = true },
        ],
    ),
    digest(
        "DataDigest",
        &[
            Choice { name: "None", allowed: |_| true, store: |p| p.data_digest = false },
            Choice { name: "CRC32C", allowed: |limits| limits.digests, store: |p| p.data_digest = true },
        ],
    ),
    // 13.2
    negotiated(
        "MaxConnections",
        in_discovery,
        Class::Number {
            result: Extreme::Minimum,
            min: 1,
            max: 65535,
            default: 1,
            offer: |_| 1,
            ceiling: unbounded,
            store: |_, _| {},
        },
    ),
    // 13.3 to 13.9
    declaration("SendTargets", Use::FullFeature, Sender::Initiator),
    declaration("TargetName", Use::Login, Sender::Both),
    declaration("InitiatorName", Use::Login, Sender::Initiator),
    declaration("TargetAlias", Use::All, Sender::Target),
    declaration("InitiatorAlias", Use::All, Sender::Initiator),
    declaration("TargetAddress", Use::All, Sender::Target),
    declaration("TargetPortalGroupTag", Use::Login, Sender::Target),
    // 13.10
    negotiated(
        "InitialR2T",
        in_discovery,
        Class::Boolean {
            result: Connective::Or,
            default: true,
            offer: |limits| limits.initial_r2t,
            store: |p, value| p.initial_r2t = value,
        },
    ),
    // 13.11
    negotiated(
        "ImmediateData",
        in_discovery,
        Class::Boolean {
            result: Connective::And,
            default: true,
            offer: |limits| limits.immediate_data,
            store: |p, value| p.immediate_data = value,
        },
    ),
    // 13.12: each side tells its own; what the initiator tells bounds what is sent to it.
    Rule {
        scope: Scope::Connection,
        class: Class::DeclaredNumber {
            min: 512,
            max: LENGTH_MAX,
            default: 8192,
            store: |p, value| p.peer_max_recv_data_segment_length = value,
        },
        ..declaration("MaxRecvDataSegmentLength", Use::OperationalAndFullFeature, Sender::Both)
    },
    // 13.13
    negotiated(
        "MaxBurstLength",
        in_discovery,
        Class::Number {
            result: Extreme::Minimum,
            min: 512,
            max: LENGTH_MAX,
            default: 262_144,
            offer: |limits| limits.max_burst_length,
            ceiling: unbounded,
            store: |p, value| p.max_burst_length = value,
        },
    ),
    // 13.14: never above MaxBurstLength.
    Rule {
        dependent: true,
        ..negotiated(
            "FirstBurstLength",
            without_unsolicited_data,
            Class::Number {
                result: Extreme::Minimum,
                min: 512,
                max: LENGTH_MAX,
                default: 65536,
                offer: |limits| limits.first_burst_length,
                ceiling: |p| p.max_burst_length,
                store: |p, value| p.first_burst_length = value,
            },
        )
    },
    // 13.15
    negotiated(
        "DefaultTime2Wait",
        always_relevant,
        Class::Number {
            result: Extreme::Maximum,
            min: 0,
            max: 3600,
            default: 2,
            offer: |limits| u32::from(limits.default_time2wait),
            ceiling: unbounded,
            store: |p, value| p.default_time2wait = value as u16,
        },
    ),
    // 13.16
    negotiated(
        "DefaultTime2Retain",
        always_relevant,
        Class::Number {
            result: Extreme::Minimum,
            min: 0,
            max: 3600,
            default: 20,
            offer: |limits| u32::from(limits.default_time2retain),
            ceiling: unbounded,
            store: |p, value| p.default_time2retain = value as u16,
        },
    ),
    // 13.17
    negotiated(
        "MaxOutstandingR2T",
        in_discovery,
        Class::Number {
            result: Extreme::Minimum,
            min: 1,
            max: 65535,
            default: 1,
            offer: |limits| limits.max_outstanding_r2t,
            ceiling: unbounded,
            store: |p, value| p.max_outstanding_r2t = value,
        },
    ),
    // 13.18
    negotiated(
        "DataPDUInOrder",
        in_discovery,
        Class::Boolean {
            result: Connective::Or,
            default: true,
            offer: |_| true,
            store: |p, value| p.data_pdu_in_order = value,
        },
    ),
    // 13.19
    negotiated(
        "DataSequenceInOrder",
        in_discovery,
        Class::Boolean {
            result: Connective::Or,
            default: true,
            offer: |_| true,
            store: |p, value| p.data_sequence_in_order = value,
        },
    ),
    // 13.20
    negotiated(
        "ErrorRecoveryLevel",
        always_relevant,
        Class::Number {
            result: Extreme::Minimum,
            min: 0,
            max: 2,
            default: 0,
            offer: |_| 0,
            ceiling: unbounded,
            store: |p, value| p.error_recovery_level = value as u8,
        },
    ),
    // 13.21
    declaration("SessionType", Use::Login, Sender::Initiator),
    // 13.23
    negotiated(
        "TaskReporting",
        in_discovery,
        Class::List(&[
            Choice { name: "RFC3720", allowed: |_| true, store: |p| p.task_reporting = TaskReporting::Rfc3720 },
            Choice {
                name: "ResponseFence",
                allowed: |limits| limits.response_fence,
                store: |p| p.task_reporting = TaskReporting::ResponseFence,
            },
            Choice {
                name: "FastAbort",
                allowed: |limits| limits.fast_abort,
                store: |p| p.task_reporting = TaskReporting::FastAbort,
            },
        ]),
    ),
    // 13.24; RFC 7144 8.1: level 1 is RFC 7143, level 2 would be RFC 7144.
    negotiated(
        "iSCSIProtocolLevel",
        in_discovery,
        Class::Number {
            result: Extreme::Minimum,
            min: 0,
            max: 31,
            default: 1,
            offer: |_| 1,
            ceiling: unbounded,
            store: |p, value| p.protocol_level = value as u8,
        },
    ),
    // 13.25
    negotiated("IFMarker", always_relevant, Class::ObsoleteBoolean),
    negotiated("OFMarker", always_relevant, Class::ObsoleteBoolean),
    negotiated("IFMarkInt", always_relevant, Class::Obsolete),
    negotiated("OFMarkInt", always_relevant, Class::Obsolete),
];

/// How task management deals with tasks of other initiators (13.23).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TaskReporting {
    /// As RFC 3720 had it.
    Rfc3720,
    /// Responses are fenced (4.2.2.3.3).
    ResponseFence,
    /// Aborts do not wait for acknowledgements (4.2.3.4).
    FastAbort,
}
