//! Login Request and Login Response (RFC 7143 11.12, 11.13). Their text is their data.

use super::{Bhs, Malformed, Numbers, Opcode};

const TRANSIT: u8 = 0x80;
const CONTINUE: u8 = 0x40;

/// A stage of a connection (RFC 7143 11.12.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Stage {
    /// Authentication.
    SecurityNegotiation = 0,
    /// Operational parameters.
    OperationalNegotiation = 1,
    /// The value that no stage has: login refuses it.
    Reserved = 2,
    /// Where commands flow; only ever the next stage of a login.
    FullFeaturePhase = 3,
}

impl Stage {
    const fn from_bits(bits: u8) -> Self {
        match bits & 3 {
            0 => Self::SecurityNegotiation,
            1 => Self::OperationalNegotiation,
            2 => Self::Reserved,
            _ => Self::FullFeaturePhase,
        }
    }
}

/// What an initiator asks for on its way into a session.
///
/// Every value of every field is parsed: what breaks a rule of login is answered by a Login Response with a status,
/// not by a Reject (RFC 7143 7.12).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoginRequest {
    /// T: the initiator is ready to go on to `next_stage`.
    pub transit: bool,
    /// C: the text goes on in the next request.
    pub cont: bool,
    /// CSG.
    pub current_stage: Stage,
    /// NSG, which means something only where `transit` is set.
    pub next_stage: Stage,
    /// Version-max.
    pub version_max: u8,
    /// Version-min.
    pub version_min: u8,
    /// ISID, all six bytes.
    pub isid: [u8; 6],
    /// TSIH: 0 for a new session.
    pub tsih: u16,
    /// Initiator Task Tag.
    pub itt: u32,
    /// CID.
    pub cid: u16,
    /// CmdSN: the session's first one in the first request.
    pub cmd_sn: u32,
    /// ExpStatSN.
    pub exp_stat_sn: u32,
}

impl LoginRequest {
    /// The unit in a header whose opcode says so.
    ///
    /// # Errors
    /// None: see the type.
    pub const fn parse(bhs: &Bhs) -> Result<Self, Malformed> {
        let b = &bhs.0;
        Ok(Self {
            transit: b[1] & TRANSIT != 0,
            cont: b[1] & CONTINUE != 0,
            current_stage: Stage::from_bits(b[1] >> 2),
            next_stage: Stage::from_bits(b[1]),
            version_max: b[2],
            version_min: b[3],
            isid: [b[8], b[9], b[10], b[11], b[12], b[13]],
            tsih: bhs.u16(14),
            itt: bhs.itt(),
            cid: bhs.u16(20),
            cmd_sn: bhs.cmd_sn(),
            exp_stat_sn: bhs.exp_stat_sn(),
        })
    }

    /// An answer to this that stays in its stage.
    pub fn response(&self, status: LoginStatus) -> LoginResponse {
        LoginResponse {
            transit: false,
            cont: false,
            current_stage: self.current_stage,
            next_stage: Stage::SecurityNegotiation,
            // 11.13.1, 11.13.2: the only version that there is.
            version_max: 0,
            version_active: 0,
            isid: self.isid,
            tsih: self.tsih,
            itt: self.itt,
            numbers: Numbers::default(),
            status,
        }
    }

    /// The header, without the length of its data.
    pub fn emit(&self) -> Bhs {
        let mut bhs = Bhs::new(Opcode::LoginRequest);
        // 11.12: a login is always immediate.
        bhs.0[0] |= 0x40;
        bhs.0[1] = flags(self.transit, self.cont, self.current_stage, self.next_stage);
        bhs.0[2] = self.version_max;
        bhs.0[3] = self.version_min;
        bhs.0[8..14].copy_from_slice(&self.isid);
        bhs.set_u16(14, self.tsih);
        bhs.set_u32(16, self.itt);
        bhs.set_u16(20, self.cid);
        bhs.set_u32(24, self.cmd_sn);
        bhs.set_u32(28, self.exp_stat_sn);
        bhs
    }
}

/// The target's answer to a [`LoginRequest`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoginResponse {
    /// T: the connection goes on to `next_stage` now.
    pub transit: bool,
    /// C: the text goes on in the next response.
    pub cont: bool,
    /// CSG.
    pub current_stage: Stage,
    /// NSG, which means something only where `transit` is set.
    pub next_stage: Stage,
    /// Version-max: 0 is RFC 7143's.
    pub version_max: u8,
    /// Version-active.
    pub version_active: u8,
    /// ISID, the request's.
    pub isid: [u8; 6],
    /// TSIH: what the request had, but for the last response of a new session, which has the new one.
    pub tsih: u16,
    /// Initiator Task Tag.
    pub itt: u32,
    /// StatSN, ExpCmdSN, MaxCmdSN.
    pub numbers: Numbers,
    /// How the login stands.
    pub status: LoginStatus,
}

impl LoginResponse {
    /// The refusal of a unit of which only the header was looked at. 11.13.3: the ISID is the request's; what is no Login
    /// Request has none.
    pub fn failure(bhs: &Bhs, status: LoginStatus) -> Self {
        if let (Some(Opcode::LoginRequest), Ok(request)) = (bhs.opcode(), LoginRequest::parse(bhs)) {
            return Self { tsih: 0, ..request.response(status) };
        }
        Self {
            transit: false,
            cont: false,
            current_stage: Stage::SecurityNegotiation,
            next_stage: Stage::SecurityNegotiation,
            version_max: 0,
            version_active: 0,
            isid: [0; 6],
            tsih: 0,
            itt: bhs.itt(),
            numbers: Numbers::default(),
            status,
        }
    }

    /// The unit in a header whose opcode says so.
    ///
    /// # Errors
    /// None: every value of every field is parsed.
    pub const fn parse(bhs: &Bhs) -> Result<Self, Malformed> {
        let b = &bhs.0;
        Ok(Self {
            transit: b[1] & TRANSIT != 0,
            cont: b[1] & CONTINUE != 0,
            current_stage: Stage::from_bits(b[1] >> 2),
            next_stage: Stage::from_bits(b[1]),
            version_max: b[2],
            version_active: b[3],
            isid: [b[8], b[9], b[10], b[11], b[12], b[13]],
            tsih: bhs.u16(14),
            itt: bhs.itt(),
            numbers: Numbers::parse(bhs),
            status: LoginStatus::from_code(bhs.u16(36)),
        })
    }

    /// The header, without the length of its data.
    pub fn emit(&self) -> Bhs {
        let mut bhs = Bhs::new(Opcode::LoginResponse);
        bhs.0[1] = flags(self.transit, self.cont, self.current_stage, self.next_stage);
        bhs.0[2] = self.version_max;
        bhs.0[3] = self.version_active;
        bhs.0[8..14].copy_from_slice(&self.isid);
        bhs.set_u16(14, self.tsih);
        bhs.set_u32(16, self.itt);
        self.numbers.emit(&mut bhs);
        bhs.set_u16(36, self.status.code());
        bhs
    }
}

const fn flags(transit: bool, cont: bool, current: Stage, next: Stage) -> u8 {
    let transit = if transit { TRANSIT } else { 0 };
    let cont = if cont { CONTINUE } else { 0 };
    transit | cont | (current as u8) << 2 | next as u8
}

/// Status-Class and Status-Detail (RFC 7143 11.13.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum LoginStatus {
    Success,
    TargetMovedTemporarily,
    TargetMovedPermanently,
    InitiatorError,
    AuthenticationFailure,
    AuthorizationFailure,
    NotFound,
    TargetRemoved,
    UnsupportedVersion,
    TooManyConnections,
    MissingParameter,
    CannotIncludeInSession,
    SessionTypeNotSupported,
    SessionDoesNotExist,
    InvalidDuringLogin,
    TargetError,
    ServiceUnavailable,
    OutOfResources,
    /// Any other class (high byte) and detail (low byte).
    Unknown(u16),
}

impl core::fmt::Display for LoginStatus {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.description())
    }
}

/// One row a status: what it is called here, and its class and detail.
const STATUSES: [(LoginStatus, u16); 18] = [
    (LoginStatus::Success, 0x0000),
    (LoginStatus::TargetMovedTemporarily, 0x0101),
    (LoginStatus::TargetMovedPermanently, 0x0102),
    (LoginStatus::InitiatorError, 0x0200),
    (LoginStatus::AuthenticationFailure, 0x0201),
    (LoginStatus::AuthorizationFailure, 0x0202),
    (LoginStatus::NotFound, 0x0203),
    (LoginStatus::TargetRemoved, 0x0204),
    (LoginStatus::UnsupportedVersion, 0x0205),
    (LoginStatus::TooManyConnections, 0x0206),
    (LoginStatus::MissingParameter, 0x0207),
    (LoginStatus::CannotIncludeInSession, 0x0208),
    (LoginStatus::SessionTypeNotSupported, 0x0209),
    (LoginStatus::SessionDoesNotExist, 0x020a),
    (LoginStatus::InvalidDuringLogin, 0x020b),
    (LoginStatus::TargetError, 0x0300),
    (LoginStatus::ServiceUnavailable, 0x0301),
    (LoginStatus::OutOfResources, 0x0302),
];

impl LoginStatus {
    /// Status-Class in the high byte, Status-Detail in the low one.
    pub fn code(self) -> u16 {
        match self {
            Self::Unknown(code) => code,
            known => STATUSES.iter().find(|row| row.0 == known).map_or(0x0300, |row| row.1),
        }
    }

    /// What it means, in a few words.
    pub const fn description(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::TargetMovedTemporarily => "target moved temporarily",
            Self::TargetMovedPermanently => "target moved permanently",
            Self::InitiatorError => "initiator error",
            Self::AuthenticationFailure => "authentication failure",
            Self::AuthorizationFailure => "not allowed for this initiator",
            Self::NotFound => "target not found",
            Self::TargetRemoved => "target removed",
            Self::UnsupportedVersion => "unsupported version",
            Self::TooManyConnections => "too many connections",
            Self::MissingParameter => "missing parameter",
            Self::CannotIncludeInSession => "cannot be included in this session",
            Self::SessionTypeNotSupported => "session type not supported",
            Self::SessionDoesNotExist => "session does not exist",
            Self::InvalidDuringLogin => "not a login request",
            Self::TargetError => "target error",
            Self::ServiceUnavailable => "service unavailable",
            Self::OutOfResources => "out of resources",
            Self::Unknown(_) => "unknown status",
        }
    }

    /// The status of a class and detail.
    pub const fn from_code(code: u16) -> Self {
        let mut row = 0;
        while row < STATUSES.len() {
            if STATUSES[row].1 == code {
                return STATUSES[row].0;
            }
            row += 1;
        }
        Self::Unknown(code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn request() -> (LoginRequest, [u8; 48]) {
        let request = LoginRequest {
            transit: true,
            cont: false,
            current_stage: Stage::SecurityNegotiation,
            next_stage: Stage::OperationalNegotiation,
            version_max: 1,
            version_min: 0,
            isid: [0x80, 0x12, 0x34, 0x56, 0x78, 0x9a],
            tsih: 0xbeef,
            itt: 0x0102_0304,
            cid: 7,
            cmd_sn: 0x1111_1111,
            exp_stat_sn: 0x2222_2222,
        };
        let mut bytes = [0; 48];
        bytes[..4].copy_from_slice(&[0x43, 0x81, 0x01, 0x00]);
        bytes[8..24].copy_from_slice(&[
            0x80, 0x12, 0x34, 0x56, 0x78, 0x9a, 0xbe, 0xef, 0x01, 0x02, 0x03, 0x04, 0x00, 0x07, 0x00, 0x00,
        ]);
        bytes[24..28].fill(0x11);
        bytes[28..32].fill(0x22);
        (request, bytes)
    }

    #[test]
    fn request_both_ways() {
        let (request, bytes) = request();
        assert_eq!(request.emit().0, bytes);
        assert_eq!(LoginRequest::parse(&Bhs(bytes)), Ok(request));
    }

    #[test]
    fn request_flags() {
        let (mut request, _) = request();
        request.transit = false;
        request.cont = true;
        request.current_stage = Stage::OperationalNegotiation;
        request.next_stage = Stage::FullFeaturePhase;
        assert_eq!(request.emit().0[1], 0x47);
    }

    #[test]
    fn response_both_ways() {
        let response = LoginResponse {
            transit: true,
            cont: false,
            current_stage: Stage::OperationalNegotiation,
            next_stage: Stage::FullFeaturePhase,
            version_max: 0,
            version_active: 0,
            isid: [1, 2, 3, 4, 5, 6],
            tsih: 0x0102,
            itt: 0xa0b0_c0d0,
            numbers: Numbers { stat_sn: 0x0a, exp_cmd_sn: 0x0b, max_cmd_sn: 0x0c },
            status: LoginStatus::TooManyConnections,
        };
        let mut bytes = [0; 48];
        bytes[..2].copy_from_slice(&[0x23, 0x87]);
        bytes[8..20].copy_from_slice(&[1, 2, 3, 4, 5, 6, 1, 2, 0xa0, 0xb0, 0xc0, 0xd0]);
        (bytes[27], bytes[31], bytes[35]) = (0x0a, 0x0b, 0x0c);
        bytes[36..38].copy_from_slice(&[0x02, 0x06]);
        assert_eq!(response.emit().0, bytes);
        assert_eq!(LoginResponse::parse(&Bhs(bytes)), Ok(response));
    }

    proptest! {
        #![proptest_config(crate::login::fixture::config())]

        #[test]
        fn any_header_is_a_request_and_comes_back(bytes: [[u8; 16]; 3]) {
            let bhs = Bhs(bytes.concat().try_into().unwrap());
            let request = LoginRequest::parse(&bhs).unwrap();
            prop_assert_eq!(LoginRequest::parse(&request.emit()), Ok(request));
            let response = LoginResponse::parse(&bhs).unwrap();
            prop_assert_eq!(LoginResponse::parse(&response.emit()), Ok(response));
        }

        #[test]
        fn every_status_comes_back(code: u16) {
            prop_assert_eq!(LoginStatus::from_code(code).code(), code);
        }
    }
}
