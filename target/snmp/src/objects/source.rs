//! What an object can show.

/// What an object shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// A number that is always the same.
    Fixed(u32),
    /// A text that is always the same.
    Word(&'static str),
    /// A name that is always the same.
    Pointer(&'static [u32]),
    /// Bytes that are always the same, as BITS are (RFC 2578 7.1.4).
    Bits(&'static [u8]),

    /// The program and its version.
    Description,
    /// Since the agent began, in 1/100 s.
    UpTime,
    /// Whom to ask.
    Contact,
    /// The host's name.
    Name,
    /// Where it stands.
    Location,
    /// The program's name.
    Program,
    /// The program's version.
    Version,
    /// When the program was built.
    BuildDate,
    /// What it runs on.
    Architecture,

    /// iSCSI units received.
    Units,
    /// Bytes in data segments of SCSI Data-In units.
    DataIn,
    /// Bytes of immediate data, and in data segments of Data-Out units.
    DataOut,
    /// Sessions that ended without a logout.
    SessionFailures,
    /// Wrong digests.
    DigestErrors,
    /// Units with format errors.
    FormatErrors,
    /// Logins accepted.
    Logins,
    /// Logouts, for whatever reason.
    Logouts,
    /// Logouts that closed a session.
    LogoutsOfSessions,
    /// Logouts for another reason.
    LogoutsOther,
    /// Logouts that closed a connection.
    LogoutsOfConnections,
    /// Logouts that removed a connection for recovery.
    LogoutsForRecovery,

    /// How many portals there are.
    PortalCount,
    /// How many targets there are.
    NodeCount,
    /// How many sessions there are.
    SessionCount,
    /// Which counter the last session that failed was counted in.
    LastSessionFailure,
    /// The initiator of the last session that failed.
    LastSessionInitiator,
    /// Sessions that a wrong digest ended.
    FailedByDigest,
    /// Sessions that silence ended.
    FailedByTimeout,
    /// Sessions that a unit with a format error ended.
    FailedByFormat,

    /// A portal's kind of address: 1 is IPv4, 2 is IPv6 (RFC 4001).
    PortalAddressType,
    /// A portal's address.
    PortalAddress,
    /// A portal's port.
    PortalPort,
    /// A portal's address and port, as text.
    PortalText,
    /// Data that one unit to the target may carry, in bytes.
    SegmentLength,
    /// The digest that is preferred: 3 is none, 4 is CRC32C.
    PreferredDigest,
    /// The tag of the portal group.
    PortalGroup,

    /// A target's name.
    NodeName,
    /// A target's alias.
    NodeAlias,
    /// What a target offers, as TruthValue or as a number.
    NodeInitialR2t,
    /// As above.
    NodeImmediateData,
    /// As above.
    NodeMaxOutstandingR2t,
    /// In bytes.
    NodeFirstBurst,
    /// In bytes.
    NodeMaxBurst,
    /// Connections that a session may have.
    NodeMaxConnections,
    /// In seconds.
    NodeTime2Wait,
    /// In seconds.
    NodeTime2Retain,
    /// 0 to 2.
    NodeRecoveryLevel,

    /// Logins that were refused.
    LoginFailures,
    /// When the last one was, in 1/100 s since the agent began.
    LastRefusalTime,
    /// Which counter the last one was counted in.
    LastRefusalType,
    /// Who was refused.
    LastRefusalInitiator,
    /// The kind of its address.
    LastRefusalAddressType,
    /// Its address.
    LastRefusalAddress,
    /// Its port.
    LastRefusalPort,
    /// Logins that were refused for a reason that has no counter of its own.
    RefusedOther,
    /// Logins that were sent elsewhere.
    RefusedRedirect,
    /// Logins of initiators that may not use the target.
    RefusedAuthorize,
    /// Logins of initiators that did not prove who they are.
    RefusedAuthenticate,
    /// Logins whose negotiation failed.
    RefusedNegotiate,

    /// A session's initiator.
    SessionInitiator,
    /// A session's target.
    SessionTarget,
    /// Its TSIH.
    SessionTsih,
    /// Its ISID.
    SessionIsid,
    /// The initiator's alias.
    SessionInitiatorAlias,
    /// The target's alias.
    SessionTargetAlias,
    /// TruthValue: 1 is true, 2 is false (RFC 2579).
    SessionInitialR2t,
    /// TruthValue.
    SessionImmediateData,
    /// 1 is a normal session, 2 one for discovery.
    SessionType,
    /// A number of R2Ts.
    SessionMaxOutstandingR2t,
    /// In bytes.
    SessionFirstBurst,
    /// In bytes.
    SessionMaxBurst,
    /// Its connections.
    SessionConnections,
    /// TruthValue.
    SessionSequenceInOrder,
    /// TruthValue.
    SessionPduInOrder,
    /// 0 to 2.
    SessionRecoveryLevel,
    /// When it began, in 1/100 s since the agent began.
    SessionBegan,
    /// iSCSIProtocolLevel.
    SessionProtocolLevel,
    /// BITS: RFC 3720, response fence, fast abort.
    SessionTaskReporting,
    /// SCSI Command units received.
    SessionCommands,
    /// SCSI Response units sent.
    SessionResponses,
    /// Bytes in data segments of SCSI Data-In units.
    SessionDataIn,
    /// Bytes of immediate data, and in data segments of Data-Out units.
    SessionDataOut,
    /// NOP-Out units received.
    SessionNopsReceived,
    /// NOP-In units sent.
    SessionNopsSent,
    /// Units with a wrong digest.
    SessionDigestErrors,
    /// Connections that silence ended.
    SessionTimeouts,

    /// A connection's CID.
    ConnectionCid,
    /// 1 is login, 2 full feature phase, 3 logout.
    ConnectionState,
    /// The kind of its addresses.
    ConnectionAddressType,
    /// This side's address.
    ConnectionLocalAddress,
    /// This side's port.
    ConnectionLocalPort,
    /// The other side's address.
    ConnectionRemoteAddress,
    /// The other side's port.
    ConnectionRemotePort,
    /// Data that one unit to the target may carry, in bytes.
    ConnectionReceiveLength,
    /// Data that one unit to the initiator may carry, in bytes.
    ConnectionSendLength,
    /// 3 is none, 4 is CRC32C.
    ConnectionHeaderDigest,
    /// 3 is none, 4 is CRC32C.
    ConnectionDataDigest,

    /// Time for which commands waited for devices, all of them added up, in 1/100 s.
    IoWait,
    /// Share of the CPUs' time that the program used lately, in percent.
    CpuUse,
    /// Time that the CPUs spent in programs, in 1/100 s.
    CpuUser,
    /// In programs of low priority.
    CpuNice,
    /// In the system.
    CpuSystem,
    /// Idle.
    CpuIdle,
    /// Idle while a device was waited for.
    CpuWait,
    /// RAM that programs can have, in kB.
    FreeRam,
    /// Swap space in kB.
    SwapTotal,
    /// Swap space that is free, in kB.
    SwapFree,
    /// RAM in kB.
    RamTotal,
    /// RAM that nothing uses, in kB.
    RamUnused,
    /// RAM that buffers use, in kB.
    RamBuffers,
    /// RAM that the page cache uses, in kB.
    RamCached,

    /// The disk's number, from 1.
    DiskIndex,
    /// The disk's name; of all of them, the first one's.
    DiskName,
    /// Bytes read: of one disk, or of all.
    BytesRead,
    /// Bytes written.
    BytesWritten,
    /// Reads.
    Reads,
    /// Writes.
    Writes,
    /// How much of the disk takes no space below, in percent; 0 where that is not known.
    DiskFree,
    /// The disk's size in kB.
    DiskTotal,
    /// What of it takes no space below, in kB.
    DiskAvailable,
    /// What of it takes space below, in kB.
    DiskUsed,
    /// The low 32 bits of its size in kB.
    DiskTotalLow,
    /// The high ones.
    DiskTotalHigh,
    /// The low 32 bits of what takes no space below.
    DiskAvailableLow,
    /// The high ones.
    DiskAvailableHigh,
    /// The low 32 bits of what takes space below.
    DiskUsedLow,
    /// The high ones.
    DiskUsedHigh,
    /// 1 where the disk is away or has failed; else 0.
    DiskErrorFlag,
    /// Why; empty where it serves.
    DiskErrorMessage,

    /// What the agent itself knows.
    Agent(AgentSource),
}

/// What the agent itself knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AgentSource {
    /// Datagrams that came (RFC 3418).
    InPackets,
    /// Messages of unknown versions.
    BadVersions,
    /// Messages with another community.
    BadCommunities,
    /// Messages that could not be read.
    ParseErrors,
    /// snmpEngineID (RFC 3411).
    EngineId,
    /// snmpEngineBoots.
    EngineBoots,
    /// snmpEngineTime, in seconds.
    EngineTime,
    /// snmpEngineMaxMessageSize, in bytes.
    EngineMaxSize,
    /// snmpUnknownSecurityModels (RFC 3412).
    UnknownSecurityModels,
    /// snmpInvalidMsgs.
    InvalidMessages,
    /// snmpUnknownPDUHandlers.
    UnknownPduHandlers,
    /// snmpUnknownContexts (RFC 3413).
    UnknownContexts,
    /// usmStatsUnsupportedSecLevels (RFC 3414).
    UnsupportedLevels,
    /// usmStatsNotInTimeWindows.
    NotInTimeWindows,
    /// usmStatsUnknownUserNames.
    UnknownUsers,
    /// usmStatsUnknownEngineIDs.
    UnknownEngines,
    /// usmStatsWrongDigests.
    WrongDigests,
    /// usmStatsDecryptionErrors.
    DecryptionErrors,
}
