//! What every agent has: SNMPv2-MIB (RFC 3418), and of an engine of version 3 what RFC 3411 to RFC 3414 ask for.

use super::Kind::{Counter32, Integer, Name, Text, TimeTicks};
use super::{AgentSource as A, Group, Source as S, scalar};

/// RFC 3418 2: sysServices is the sum of 2^(layer-1): transport (4), applications (7).
const SERVICES: u32 = 8 + 64;

/// SNMPv2-MIB: system.
pub(super) static SYSTEM: Group = Group {
    prefix: &[1, 3, 6, 1, 2, 1, 1],
    objects: &[
        scalar(1, Text, S::Description),
        // Nobody has assigned a name to this product.
        scalar(2, Name, S::Pointer(&[0, 0])),
        scalar(3, TimeTicks, S::UpTime),
        scalar(4, Text, S::Contact),
        scalar(5, Text, S::Name),
        scalar(6, Text, S::Location),
        scalar(7, Integer, S::Fixed(SERVICES)),
        // sysORLastChange: there is no sysORTable that could change.
        scalar(8, TimeTicks, S::Fixed(0)),
    ],
};

/// SNMPv2-MIB: snmp.
pub(super) static SNMP: Group = Group {
    prefix: &[1, 3, 6, 1, 2, 1, 11],
    objects: &[
        scalar(1, Counter32, S::Agent(A::InPackets)),
        scalar(3, Counter32, S::Agent(A::BadVersions)),
        scalar(4, Counter32, S::Agent(A::BadCommunities)),
        scalar(6, Counter32, S::Agent(A::ParseErrors)),
        // snmpEnableAuthenTraps: disabled, as no traps are sent.
        scalar(30, Integer, S::Fixed(2)),
        scalar(31, Counter32, S::Fixed(0)),
        scalar(32, Counter32, S::Fixed(0)),
    ],
};

/// SNMP-FRAMEWORK-MIB: snmpEngine.
pub(super) static ENGINE: Group = Group {
    prefix: &[1, 3, 6, 1, 6, 3, 10, 2, 1],
    objects: &[
        scalar(1, Text, S::Agent(A::EngineId)),
        scalar(2, Integer, S::Agent(A::EngineBoots)),
        scalar(3, Integer, S::Agent(A::EngineTime)),
        scalar(4, Integer, S::Agent(A::EngineMaxSize)),
    ],
};

/// SNMP-MPD-MIB: snmpMPDStats.
pub(super) static MESSAGES: Group = Group {
    prefix: &[1, 3, 6, 1, 6, 3, 11, 2, 1],
    objects: &[
        scalar(1, Counter32, S::Agent(A::UnknownSecurityModels)),
        scalar(2, Counter32, S::Agent(A::InvalidMessages)),
        scalar(3, Counter32, S::Agent(A::UnknownPduHandlers)),
    ],
};

/// SNMP-TARGET-MIB: snmpUnknownContexts.
pub(super) static CONTEXTS: Group =
    Group { prefix: &[1, 3, 6, 1, 6, 3, 12, 1], objects: &[scalar(5, Counter32, S::Agent(A::UnknownContexts))] };

/// SNMP-USER-BASED-SM-MIB: usmStats.
pub(super) static USM: Group = Group {
    prefix: &[1, 3, 6, 1, 6, 3, 15, 1, 1],
    objects: &[
        scalar(1, Counter32, S::Agent(A::UnsupportedLevels)),
        scalar(2, Counter32, S::Agent(A::NotInTimeWindows)),
        scalar(3, Counter32, S::Agent(A::UnknownUsers)),
        scalar(4, Counter32, S::Agent(A::UnknownEngines)),
        scalar(5, Counter32, S::Agent(A::WrongDigests)),
        scalar(6, Counter32, S::Agent(A::DecryptionErrors)),
    ],
};
