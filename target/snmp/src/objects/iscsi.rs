//! ISCSI-MIB (RFC 7147), and iESP's objects at their bare names.

use super::Kind::{Counter32, Counter64, Integer, Name, Text, TimeTicks, Unsigned};
use super::Table::{Connections, Instance, Nodes, Portals, Sessions, TargetPortals};
use super::{Group, Source as S, bare, column};

/// TruthValue (RFC 2579).
const TRUE: S = S::Fixed(1);
const FALSE: S = S::Fixed(2);
/// RowStatus (RFC 2579).
const ACTIVE: S = S::Fixed(1);
/// StorageType (RFC 2579): what cannot be changed.
const READ_ONLY: S = S::Fixed(5);
/// BITS: the first one, which is "target" wherever it is used here.
const TARGET_ROLE: S = S::Bits(&[0x80]);
/// RFC 7143's protocol, by the number of TCP.
const TCP: S = S::Fixed(6);
/// Nothing to point to.
const NOWHERE: S = S::Pointer(&[0, 0]);
/// Version-max and -min of the only version there is (RFC 7143 11.12.4).
const VERSION: S = S::Fixed(0);

/// iscsiInstanceAttributesTable.
pub(super) static INSTANCE: Group = Group {
    prefix: &[1, 3, 6, 1, 2, 1, 142, 1, 1, 1, 1],
    objects: &[
        column(2, Instance, Text, S::Description),
        column(3, Instance, Unsigned, VERSION),
        column(4, Instance, Unsigned, VERSION),
        column(5, Instance, Text, S::Program),
        column(6, Instance, Text, S::Version),
        column(7, Instance, Unsigned, S::PortalCount),
        column(8, Instance, Unsigned, S::NodeCount),
        column(9, Instance, Unsigned, S::SessionCount),
        bare(10, Counter32, S::SessionFailures),
        column(10, Instance, Counter32, S::SessionFailures),
        column(11, Instance, Name, S::LastSessionFailure),
        column(12, Instance, Text, S::LastSessionInitiator),
        // iscsiInstDiscontinuityTime: never since the agent began.
        column(13, Instance, TimeTicks, S::Fixed(0)),
        column(14, Instance, Text, S::Architecture),
    ],
};

/// iscsiInstanceSsnErrorStatsTable: sessions. At iESP's places: units.
pub(super) static INSTANCE_ERRORS: Group = Group {
    prefix: &[1, 3, 6, 1, 2, 1, 142, 1, 1, 2, 1],
    objects: &[
        bare(1, Counter32, S::DigestErrors),
        column(1, Instance, Counter32, S::FailedByDigest),
        column(2, Instance, Counter32, S::FailedByTimeout),
        bare(3, Counter32, S::FormatErrors),
        column(3, Instance, Counter32, S::FailedByFormat),
        // iscsiInstSsnTgtUnmappedErrors: what an initiator counts.
        column(4, Instance, Counter32, S::Fixed(0)),
    ],
};

/// iscsiPortalAttributesTable.
pub(super) static PORTAL: Group = Group {
    prefix: &[1, 3, 6, 1, 2, 1, 142, 1, 2, 1, 1],
    objects: &[
        column(2, Portals, Integer, ACTIVE),
        column(3, Portals, Text, TARGET_ROLE),
        column(4, Portals, Integer, S::PortalAddressType),
        column(5, Portals, Text, S::PortalAddress),
        column(6, Portals, Unsigned, TCP),
        column(7, Portals, Unsigned, S::SegmentLength),
        column(8, Portals, Integer, S::PreferredDigest),
        column(9, Portals, Integer, S::PreferredDigest),
        // The second choice is none.
        column(10, Portals, Integer, S::Fixed(3)),
        column(11, Portals, Integer, S::Fixed(3)),
        column(12, Portals, Integer, FALSE),
        column(13, Portals, Integer, READ_ONLY),
        column(14, Portals, Text, S::PortalText),
    ],
};

/// iscsiTgtPortalAttributesTable.
pub(super) static TARGET_PORTAL: Group = Group {
    prefix: &[1, 3, 6, 1, 2, 1, 142, 1, 3, 1, 1],
    objects: &[column(2, TargetPortals, Unsigned, S::PortalPort), column(3, TargetPortals, Unsigned, S::PortalGroup)],
};

/// iscsiNodeAttributesTable.
pub(super) static NODE: Group = Group {
    prefix: &[1, 3, 6, 1, 2, 1, 142, 1, 5, 1, 1],
    objects: &[
        column(2, Nodes, Text, S::NodeName),
        column(3, Nodes, Text, S::NodeAlias),
        column(4, Nodes, Text, TARGET_ROLE),
        column(5, Nodes, Name, NOWHERE),
        column(6, Nodes, Integer, S::NodeInitialR2t),
        column(7, Nodes, Integer, S::NodeImmediateData),
        column(8, Nodes, Unsigned, S::NodeMaxOutstandingR2t),
        column(9, Nodes, Unsigned, S::NodeFirstBurst),
        column(10, Nodes, Unsigned, S::NodeMaxBurst),
        column(11, Nodes, Unsigned, S::NodeMaxConnections),
        column(12, Nodes, Integer, TRUE),
        column(13, Nodes, Integer, TRUE),
        column(14, Nodes, Unsigned, S::NodeTime2Wait),
        column(15, Nodes, Unsigned, S::NodeTime2Retain),
        column(16, Nodes, Unsigned, S::NodeRecoveryLevel),
        column(17, Nodes, TimeTicks, S::Fixed(0)),
        column(18, Nodes, Integer, READ_ONLY),
    ],
};

/// iscsiTargetAttributesTable.
pub(super) static TARGET: Group = Group {
    prefix: &[1, 3, 6, 1, 2, 1, 142, 1, 6, 1, 1],
    objects: &[
        column(1, Nodes, Counter32, S::LoginFailures),
        column(2, Nodes, TimeTicks, S::LastRefusalTime),
        column(3, Nodes, Name, S::LastRefusalType),
        column(4, Nodes, Text, S::LastRefusalInitiator),
        column(5, Nodes, Integer, S::LastRefusalAddressType),
        column(6, Nodes, Text, S::LastRefusalAddress),
        column(7, Nodes, Unsigned, S::LastRefusalPort),
    ],
};

/// iscsiTargetLoginStatsTable.
pub(super) static LOGINS: Group = Group {
    prefix: &[1, 3, 6, 1, 2, 1, 142, 1, 6, 2, 1],
    objects: &[
        bare(1, Counter32, S::Logins),
        column(1, Nodes, Counter32, S::Logins),
        column(2, Nodes, Counter32, S::RefusedOther),
        column(3, Nodes, Counter32, S::RefusedRedirect),
        column(4, Nodes, Counter32, S::RefusedAuthorize),
        column(5, Nodes, Counter32, S::RefusedAuthenticate),
        column(6, Nodes, Counter32, S::RefusedNegotiate),
    ],
};

/// iscsiTargetLogoutStatsTable.
pub(super) static LOGOUTS: Group = Group {
    prefix: &[1, 3, 6, 1, 2, 1, 142, 1, 6, 3, 1],
    objects: &[
        bare(1, Counter32, S::Logouts),
        column(1, Nodes, Counter32, S::LogoutsOfSessions),
        column(2, Nodes, Counter32, S::LogoutsOther),
        column(3, Nodes, Counter32, S::LogoutsOfConnections),
        column(4, Nodes, Counter32, S::LogoutsForRecovery),
    ],
};

/// iscsiSessionAttributesTable.
pub(super) static SESSION: Group = Group {
    prefix: &[1, 3, 6, 1, 2, 1, 142, 1, 10, 1, 1],
    objects: &[
        // iscsiSsnDirection: inbound.
        column(3, Sessions, Integer, S::Fixed(1)),
        column(4, Sessions, Text, S::SessionInitiator),
        column(5, Sessions, Text, S::SessionTarget),
        column(6, Sessions, Unsigned, S::SessionTsih),
        column(7, Sessions, Text, S::SessionIsid),
        column(8, Sessions, Text, S::SessionInitiatorAlias),
        column(9, Sessions, Text, S::SessionTargetAlias),
        column(10, Sessions, Integer, S::SessionInitialR2t),
        column(11, Sessions, Integer, S::SessionImmediateData),
        column(12, Sessions, Integer, S::SessionType),
        column(13, Sessions, Unsigned, S::SessionMaxOutstandingR2t),
        column(14, Sessions, Unsigned, S::SessionFirstBurst),
        column(15, Sessions, Unsigned, S::SessionMaxBurst),
        column(16, Sessions, Unsigned, S::SessionConnections),
        // iscsiSsnAuthIdentity: there is no ipsAuth MIB here to point to.
        column(17, Sessions, Name, NOWHERE),
        column(18, Sessions, Integer, S::SessionSequenceInOrder),
        column(19, Sessions, Integer, S::SessionPduInOrder),
        column(20, Sessions, Unsigned, S::SessionRecoveryLevel),
        column(21, Sessions, TimeTicks, S::SessionBegan),
        column(22, Sessions, Unsigned, S::SessionProtocolLevel),
        column(23, Sessions, Text, S::SessionTaskReporting),
    ],
};

/// iscsiSessionStatsTable: sessions. At iESP's places: all of them, whichever kind of unit it was.
pub(super) static SESSION_STATISTICS: Group = Group {
    prefix: &[1, 3, 6, 1, 2, 1, 142, 1, 10, 2, 1],
    objects: &[
        bare(1, Counter32, S::Units),
        column(1, Sessions, Counter32, S::SessionCommands),
        column(2, Sessions, Counter32, S::SessionResponses),
        bare(3, Counter64, S::DataIn),
        column(3, Sessions, Counter64, S::SessionDataIn),
        bare(4, Counter64, S::DataOut),
        column(4, Sessions, Counter64, S::SessionDataOut),
        // The low halves of the two above, for version 1.
        column(5, Sessions, Counter32, S::SessionDataIn),
        column(6, Sessions, Counter32, S::SessionDataOut),
        column(7, Sessions, Counter32, S::SessionNopsReceived),
        column(8, Sessions, Counter32, S::SessionNopsSent),
    ],
};

/// iscsiSessionCxnErrorStatsTable.
pub(super) static SESSION_ERRORS: Group = Group {
    prefix: &[1, 3, 6, 1, 2, 1, 142, 1, 10, 3, 1],
    objects: &[
        column(1, Sessions, Counter32, S::SessionDigestErrors),
        column(2, Sessions, Counter32, S::SessionTimeouts),
    ],
};

/// iscsiConnectionAttributesTable.
pub(super) static CONNECTION: Group = Group {
    prefix: &[1, 3, 6, 1, 2, 1, 142, 1, 11, 1, 1],
    objects: &[
        column(2, Connections, Unsigned, S::ConnectionCid),
        column(3, Connections, Integer, S::ConnectionState),
        column(4, Connections, Integer, S::ConnectionAddressType),
        column(5, Connections, Text, S::ConnectionLocalAddress),
        column(6, Connections, Unsigned, TCP),
        column(7, Connections, Unsigned, S::ConnectionLocalPort),
        column(8, Connections, Text, S::ConnectionRemoteAddress),
        column(9, Connections, Unsigned, S::ConnectionRemotePort),
        column(10, Connections, Unsigned, S::ConnectionReceiveLength),
        column(11, Connections, Unsigned, S::ConnectionSendLength),
        column(12, Connections, Integer, S::ConnectionHeaderDigest),
        column(13, Connections, Integer, S::ConnectionDataDigest),
        column(14, Connections, Integer, FALSE),
        column(15, Connections, Integer, FALSE),
        column(16, Connections, Unsigned, VERSION),
    ],
};
