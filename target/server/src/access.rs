//! Who may log in, and what proves it.

use std::fmt;

use iesp_iscsi::login::Admission;

/// A CHAP name and its secret, which no log shows.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// CHAP_N.
    pub name: String,
    /// The secret.
    pub secret: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Credentials {
    /// RFC 7143 9.2.1: fewer bits than this are guessed from a login that somebody listened to.
    const SECRET_MIN: usize = 12;

    /// What a secret that is too short means; `None` for any other.
    pub fn weakness(&self) -> Option<String> {
        let Self { name, secret } = self;
        let bytes = secret.len();
        (bytes < Self::SECRET_MIN).then(|| {
            format!(
                "the CHAP secret of \"{name}\" has {bytes} bytes: whoever listens to a login can guess it, and Windows \
                 refuses it: take {min} to 16",
                min = Self::SECRET_MIN
            )
        })
    }
}

/// A CHAP name that initiators may prove.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Its name and secret.
    pub credentials: Credentials,
    /// Who may use it; `None`: whoever may log in.
    pub initiators: Option<Vec<Pattern>>,
}

/// Names of initiators: one, or all that begin so where it ends with `*`. RFC 3722 3: capitals mean the same as small letters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern(String);

impl Pattern {
    /// Of what a user wrote.
    pub fn new(text: &str) -> Self {
        Self(text.to_lowercase())
    }

    fn matches(&self, name: &str) -> bool {
        let name = name.to_lowercase();
        match self.0.strip_suffix('*') {
            Some(start) => name.starts_with(start),
            None => name == self.0,
        }
    }
}

/// Who may log in to a target, or ask for the targets.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Access {
    /// By their names; `None`: all.
    pub initiators: Option<Vec<Pattern>>,
    /// What initiators prove: one of these. Empty: nothing.
    pub users: Vec<User>,
    /// What the target proves.
    pub own: Option<Credentials>,
}

impl Access {
    /// Whether an initiator of this name may come in.
    pub fn admit(&self, initiator: &str) -> Admission {
        if !may(self.initiators.as_deref(), initiator) {
            Admission::Forbidden
        } else if self.users.is_empty() {
            Admission::Open
        } else {
            Admission::Authenticated
        }
    }

    /// All that is proven, by initiators and by the target.
    pub fn credentials(&self) -> impl Iterator<Item = &Credentials> {
        self.users.iter().map(|user| &user.credentials).chain(&self.own)
    }

    /// The secret that this CHAP name proves, where the initiator may use it.
    pub fn secret(&self, initiator: &str, name: &str) -> Option<&str> {
        let fits = |user: &&User| user.credentials.name == name && may(user.initiators.as_deref(), initiator);
        Some(&self.users.iter().find(fits)?.credentials.secret)
    }
}

fn may(patterns: Option<&[Pattern]>, initiator: &str) -> bool {
    patterns.is_none_or(|patterns| patterns.iter().any(|pattern| pattern.matches(initiator)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patterns(names: &[&str]) -> Option<Vec<Pattern>> {
        Some(names.iter().map(|name| Pattern::new(name)).collect())
    }

    #[test]
    fn capitals_in_a_name_mean_the_same() {
        let access = Access { initiators: patterns(&["iqn.A:*", "IQN.b:One"]), ..Access::default() };
        for name in ["iqn.a:one", "IQN.A:One", "iqn.b:one", "iqn.B:ONE"] {
            assert_eq!(access.admit(name), Admission::Open, "{name}");
        }
        assert_eq!(access.admit("iqn.b:two"), Admission::Forbidden);
    }

    #[test]
    fn who_may_log_in_and_as_whom() {
        let credentials = Credentials { name: "anna".into(), secret: "the secret".into() };
        let user = User { credentials, initiators: patterns(&["iqn.a:one"]) };
        let access = Access { initiators: patterns(&["iqn.a:*", "iqn.b"]), users: vec![user], own: None };
        assert_eq!(access.admit("iqn.a:one"), Admission::Authenticated);
        assert_eq!(access.admit("iqn.b:one"), Admission::Forbidden);
        assert_eq!(access.secret("iqn.a:one", "anna"), Some("the secret"));
        assert_eq!(access.secret("iqn.a:two", "anna"), None);
        assert_eq!(access.secret("iqn.a:one", "bert"), None);
        assert_eq!(Access::default().admit("anybody"), Admission::Open);
        assert!(!format!("{access:?}").contains("the secret"));
    }

    #[test]
    fn a_secret_of_less_than_96_bits_is_weak() {
        let with = |secret: &str| Credentials { name: "anna".into(), secret: secret.into() };
        assert_eq!(with("twelve bytes").weakness(), None);
        let weakness = with("eleven byte").weakness().expect("it is short");
        assert!(weakness.contains("\"anna\" has 11 bytes") && !weakness.contains("eleven byte"), "{weakness}");
    }
}
