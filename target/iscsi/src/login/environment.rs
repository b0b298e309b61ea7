//! What login and discovery ask of the outside.

use core::net::SocketAddr;

use super::LoginStatus;

/// Whether an initiator may come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// It may.
    Open,
    /// It may when CHAP says that it is who it says.
    Authenticated,
    /// There is no such target.
    NotFound,
    /// There is one, but not for this initiator.
    Forbidden,
    /// There is one, but it serves no one now.
    Unavailable,
}

impl Admission {
    /// Whether CHAP is asked for.
    ///
    /// # Errors
    /// The status that refuses the login (RFC 7143 11.13.5).
    pub(crate) const fn authentication(self) -> Result<bool, LoginStatus> {
        match self {
            Self::Open => Ok(false),
            Self::Authenticated => Ok(true),
            Self::NotFound => Err(LoginStatus::NotFound),
            Self::Forbidden => Err(LoginStatus::AuthorizationFailure),
            Self::Unavailable => Err(LoginStatus::ServiceUnavailable),
        }
    }

    /// Whether SendTargets tells of the target (Appendix C: those that the initiator is authorized to access).
    pub(crate) const fn is_visible(self) -> bool {
        !matches!(self, Self::NotFound | Self::Forbidden)
    }
}

/// The targets, their portals and who may use them. Nothing of it is kept: each question is asked when it arises.
///
/// A target of `None` stands for discovery.
pub trait Environment {
    /// Fills `bytes` from a source that no peer can foretell: CHAP rests on it.
    fn random(&mut self, bytes: &mut [u8]);

    /// Whether an initiator may log in.
    fn admit(&self, initiator: &str, target: Option<&str>) -> Admission;

    /// Whether one more session has a place. One that reinstates another (RFC 7143 6.3.5: the same initiator, ISID and
    /// target) makes its own.
    fn has_room(&self, initiator: &str, isid: [u8; 6], target: Option<&str>) -> bool;

    /// Whether there is a session with this TSIH, of this initiator, ISID and target.
    fn has_session(&self, initiator: &str, isid: [u8; 6], target: Option<&str>, tsih: u16) -> bool;

    /// Hands the secret that a CHAP name (CHAP_N) proves to `with`, where that name may be used by this initiator for
    /// this target; otherwise does not call it. The secret goes no further than that call.
    fn initiator_secret(&self, initiator: &str, target: Option<&str>, name: &str, with: &mut dyn FnMut(&[u8]));

    /// Hands the CHAP name and the secret by which this target proves itself to `with`; does not call it where there
    /// are none. RFC 7143 9.2.1: the secret must be another than the initiator's.
    fn target_secret(&self, initiator: &str, target: Option<&str>, with: &mut dyn FnMut(&str, &[u8]));

    /// An answer to SendTargets begins. Until its end the indexes of [`Self::target`] and [`Self::portal`] mean the same.
    fn begin_listing(&self) {}

    /// The name of a target; `None` from the first index that is none.
    fn target(&self, index: usize) -> Option<&str>;

    /// Address and portal group tag of a target's portal, as the initiator of this connection reaches it; `None` from
    /// the first index that is none.
    fn portal(&self, target: usize, index: usize) -> Option<(SocketAddr, u16)>;

    /// The tag of the portal group that this connection came to.
    fn portal_group_tag(&self) -> u16;

    /// What people call a target: at most 255 bytes.
    fn alias(&self, target: Option<&str>) -> Option<&str>;
}
