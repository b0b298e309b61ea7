//! The login negotiation, by fixed answers: no authentication, no digests, everything as large as libiscsi asks for.

use iesp_iscsi::pdu::{LoginRequest, LoginStatus, Stage};

/// MaxRecvDataSegmentLength that is declared, and the upper limit of the bursts that are agreed to, in bytes.
pub(super) const SEGMENT: u32 = 262_144;

/// Longest text of a login request that is answered, in bytes.
const LONGEST_TEXT: usize = 8192;

/// What one login request leads to.
pub(super) struct Answer {
    /// Status class and detail (RFC 7143 11.13.5).
    pub status: LoginStatus,
    /// The keys, each ended by a zero byte.
    pub text: Vec<u8>,
    /// Whether the full feature phase begins.
    pub done: bool,
}

/// What login agreed on that the data path needs.
#[derive(Clone, Copy)]
pub(super) struct Agreed {
    /// The initiator's MaxRecvDataSegmentLength in bytes.
    pub peer_segment: u32,
}

impl Default for Agreed {
    fn default() -> Self {
        // RFC 7143 13.12: the default.
        Self { peer_segment: 8192 }
    }
}

/// Answers one login request whose text is `data`.
pub(super) fn answer(request: &LoginRequest, data: &[u8], target: &str, agreed: &mut Agreed) -> Answer {
    let refuse = |status| Answer { status, text: Vec::new(), done: false };
    if request.cont || data.len() > LONGEST_TEXT {
        return refuse(LoginStatus::InitiatorError);
    }
    let mut text = Vec::new();
    let pairs = data.split(|byte| *byte == 0).filter(|pair| !pair.is_empty());
    for pair in pairs {
        let Some((key, value)) = std::str::from_utf8(pair).ok().and_then(|pair| pair.split_once('=')) else {
            return refuse(LoginStatus::InitiatorError);
        };
        let number = value.parse().unwrap_or(0).min(SEGMENT);
        let reply = match key {
            "InitiatorName" | "InitiatorAlias" => continue,
            "SessionType" if value == "Normal" => continue,
            "SessionType" => return refuse(LoginStatus::SessionTypeNotSupported),
            "TargetName" if value == target => "TargetPortalGroupTag=1".to_owned(),
            "TargetName" => return refuse(LoginStatus::NotFound),
            "AuthMethod" if value.split(',').any(|method| method == "None") => "AuthMethod=None".to_owned(),
            "AuthMethod" => return refuse(LoginStatus::AuthenticationFailure),
            "HeaderDigest" | "DataDigest" if value.split(',').any(|digest| digest == "None") => format!("{key}=None"),
            // RFC 7143 6.2.1: nothing in common.
            "HeaderDigest" | "DataDigest" => format!("{key}=Reject"),
            "MaxRecvDataSegmentLength" => {
                agreed.peer_segment = number.max(512);
                format!("MaxRecvDataSegmentLength={SEGMENT}")
            }
            "MaxBurstLength" | "FirstBurstLength" => format!("{key}={number}"),
            "InitialR2T" => "InitialR2T=No".to_owned(),
            "ImmediateData" | "DataPDUInOrder" | "DataSequenceInOrder" => format!("{key}=Yes"),
            "MaxConnections" | "MaxOutstandingR2T" => format!("{key}=1"),
            "ErrorRecoveryLevel" | "DefaultTime2Retain" => format!("{key}=0"),
            "DefaultTime2Wait" => format!("{key}={value}"),
            _ => format!("{key}=NotUnderstood"),
        };
        text.extend_from_slice(reply.as_bytes());
        text.push(0);
    }
    let done = request.transit && request.next_stage == Stage::FullFeaturePhase;
    Answer { status: LoginStatus::Success, text, done }
}
