//! Who logs in to what: the leading keys of a login (RFC 7143 6.3, 13.4, 13.5, 13.7, 13.21).

use heapless::String;

use super::{LoginStatus, Refused, broken};
use crate::text::{Pairs, VALUE_MAX};

/// Most bytes of an iSCSI name (RFC 7143 4.2.7.1).
pub const NAME_MAX: usize = 223;

/// Whether a name keeps to what any iSCSI name does: no more than 223 bytes, and none that the stringprep profile of
/// RFC 3722 prohibits as white space or control.
pub(crate) fn is_name(name: &str) -> bool {
    (1..=NAME_MAX).contains(&name.len()) && !name.chars().any(|c| c.is_whitespace() || c.is_control())
}

/// The names of a login, from its first text.
#[derive(Debug, Clone)]
pub(crate) struct Names {
    pub(crate) initiator: String<NAME_MAX>,
    pub(crate) alias: Option<String<VALUE_MAX>>,
    pub(crate) target: Option<String<NAME_MAX>>,
    pub(crate) discovery: bool,
}

impl Names {
    /// The names of the first text of a login.
    ///
    /// # Errors
    /// What 11.13.5 says of a name that is missing or none.
    pub(crate) fn parse(text: &Pairs<'_>) -> Result<Self, Refused> {
        // 13.5: InitiatorName MUST be in the first request.
        let initiator = match text.find("InitiatorName") {
            None | Some("") => return Err(Refused(LoginStatus::MissingParameter, "it has no InitiatorName")),
            Some(name) => parse_name(name)?,
        };
        let discovery = match text.find("SessionType") {
            None | Some("Normal") => false,
            Some("Discovery") => true,
            Some(_) => return Err(LoginStatus::SessionTypeNotSupported.into()),
        };
        let target = match text.find("TargetName") {
            None | Some("") => None,
            Some(name) => Some(parse_name(name)?),
        };
        // 13.4: TargetName MUST be in the first request of a session that is not for discovery.
        if target.is_none() && !discovery {
            return Err(Refused(LoginStatus::MissingParameter, "it has no TargetName"));
        }
        Ok(Self { initiator, alias: None, target, discovery })
    }

    /// The target of a normal session.
    pub(crate) fn session_target(&self) -> Option<&str> {
        self.target.as_deref().filter(|_| !self.discovery)
    }

    /// Takes one of these keys wherever it comes; `false` where it contradicts what was said.
    ///
    /// 6.3: a second declaration is refused. One that repeats the first in the next stage changes nothing, and libiscsi
    /// sends it: that alone is let through.
    pub(crate) fn declare(&mut self, key: &str, value: &str) -> bool {
        match key {
            "InitiatorName" => is_same_name(&self.initiator, value),
            "TargetName" => self.target.as_deref().is_some_and(|target| is_same_name(target, value)),
            "SessionType" => value == if self.discovery { "Discovery" } else { "Normal" },
            "InitiatorAlias" => {
                if self.alias.is_none() {
                    self.alias = String::try_from(value).ok();
                }
                self.alias.as_deref() == Some(value)
            }
            _ => false,
        }
    }
}

/// An iSCSI name is kept in small letters, any other as it is.
fn parse_name(name: &str) -> Result<String<NAME_MAX>, Refused> {
    let mut kept = String::try_from(name).ok().filter(|_| is_name(name)).ok_or(broken("a name is no iSCSI name"))?;
    if has_format(name) {
        kept.make_ascii_lowercase();
    }
    Ok(kept)
}

/// Whether a name begins as one of the three formats does (RFC 7143 4.2.7).
pub(crate) fn has_format(name: &str) -> bool {
    let begins = |format: &str| name.get(..format.len()).is_some_and(|start| start.eq_ignore_ascii_case(format));
    ["iqn.", "eui.", "naa."].iter().any(|format| begins(format))
}

/// Whether two names are the same. RFC 7143 4.2.7.2, RFC 3722 3: case does not count in an iSCSI name. It does in a plain one,
/// as iESP takes them, too.
pub fn is_same_name(one: &str, other: &str) -> bool {
    if has_format(one) { one.eq_ignore_ascii_case(other) } else { one == other }
}
