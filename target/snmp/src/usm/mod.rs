//! Version 3 of SNMP: messages (RFC 3412) and the user-based security model (RFC 3414, RFC 3826, RFC 7860), for an engine
//! that answers and never asks.

mod keys;
mod message;
#[cfg(test)]
mod tests;
pub(crate) mod wire;

use alloc::string::String;
use alloc::vec::Vec;

use crate::agent::Engine;
use crate::objects::AgentSource;
use crate::pdu;
use crate::value::Value;
pub use keys::{Authentication, Key, Privacy};
pub(crate) use message::Refused;

/// RFC 3414 2.2.2: with this many boots an engine takes no authenticated message any more: it needs a new identity.
const BOOTS_MAX: u32 = i32::MAX as u32;

/// RFC 3414 2.2.3, in seconds.
const WINDOW: u32 = 150;

/// Who may ask: what this engine keeps of an account.
#[derive(Debug, Clone)]
pub struct User {
    name: Vec<u8>,
    authentication: (Authentication, Key),
    privacy: Option<(Privacy, Key)>,
}

/// A user as people write one down. No log shows the passwords.
#[derive(Clone, PartialEq, Eq)]
pub struct Account {
    /// securityName.
    pub name: String,
    /// How its messages show who sent them.
    pub authentication: Authentication,
    /// The password for that.
    pub password: String,
    /// How its messages are hidden, and the password for that; `None`: they are not.
    pub privacy: Option<(Privacy, String)>,
}

impl core::fmt::Debug for Account {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let privacy = self.privacy.as_ref().map(|(privacy, _)| privacy);
        let mut account = f.debug_struct("Account");
        account.field("name", &self.name).field("authentication", &self.authentication).field("privacy", &privacy);
        account.finish_non_exhaustive()
    }
}

/// Why an account is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// RFC 3414 5: usmUserName.
    #[error("a user's name has 1 to 32 bytes")]
    Name,
    /// RFC 3414 11.2.
    #[error("a password has 8 characters at least")]
    Password,
}

impl Account {
    /// Whether it can be a user's.
    ///
    /// # Errors
    /// What is wrong.
    pub fn check(&self) -> Result<(), Unfit> {
        if !(1..=32).contains(&self.name.len()) {
            return Err(Unfit::Name);
        }
        let passwords = [Some(&self.password), self.privacy.as_ref().map(|(_, password)| password)];
        if passwords.into_iter().flatten().any(|password| password.len() < 8) {
            return Err(Unfit::Password);
        }
        Ok(())
    }

    /// The user of the engine with this ID. It costs hashes over some MiB.
    ///
    /// # Errors
    /// As [`Self::check`].
    pub fn user(&self, engine: &[u8]) -> Result<User, Unfit> {
        self.check()?;
        let privacy = self
            .privacy
            .as_ref()
            .map(|(privacy, password)| (*privacy, privacy.key(self.authentication, password.as_bytes(), engine)));
        Ok(User {
            name: self.name.clone().into_bytes(),
            authentication: (self.authentication, self.authentication.key(self.password.as_bytes(), engine)),
            privacy,
        })
    }
}

/// How well a message is secured (RFC 3411 3.4.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    /// noAuthNoPriv.
    Open,
    /// authNoPriv.
    Authenticated,
    /// authPriv.
    Private,
}

/// The engine.
#[derive(Debug)]
pub(crate) struct Usm {
    id: Vec<u8>,
    boots: u32,
    salt: u64,
    users: Vec<User>,
    counters: Counters,
}

#[derive(Debug, Default, Clone, Copy)]
struct Counters {
    unknown_security_models: u32,
    invalid_messages: u32,
    unknown_pdu_handlers: u32,
    unknown_contexts: u32,
    unsupported_levels: u32,
    not_in_time_windows: u32,
    unknown_users: u32,
    unknown_engines: u32,
    wrong_digests: u32,
    decryption_errors: u32,
}

impl Counters {
    fn get_mut(&mut self, source: AgentSource) -> Option<&mut u32> {
        Some(match source {
            AgentSource::UnknownSecurityModels => &mut self.unknown_security_models,
            AgentSource::InvalidMessages => &mut self.invalid_messages,
            AgentSource::UnknownPduHandlers => &mut self.unknown_pdu_handlers,
            AgentSource::UnknownContexts => &mut self.unknown_contexts,
            AgentSource::UnsupportedLevels => &mut self.unsupported_levels,
            AgentSource::NotInTimeWindows => &mut self.not_in_time_windows,
            AgentSource::UnknownUsers => &mut self.unknown_users,
            AgentSource::UnknownEngines => &mut self.unknown_engines,
            AgentSource::WrongDigests => &mut self.wrong_digests,
            AgentSource::DecryptionErrors => &mut self.decryption_errors,
            _ => return None,
        })
    }

    fn get(mut self, source: AgentSource) -> Option<u32> {
        self.get_mut(source).copied()
    }
}

impl Usm {
    pub(crate) fn new(engine: Engine) -> Self {
        let Engine { id, boots, salt, users } = engine;
        Self { id, boots: boots.min(BOOTS_MAX), salt, users, counters: Counters::default() }
    }

    /// What the engine tells of itself.
    pub(crate) fn value(&self, source: AgentSource, time: u32) -> Option<Value> {
        Some(Value::Number(match source {
            AgentSource::EngineId => return Some(Value::Bytes(self.id.clone())),
            AgentSource::EngineBoots => self.boots.into(),
            AgentSource::EngineTime => time.into(),
            AgentSource::EngineMaxSize => pdu::MESSAGE_MAX as u64,
            other => self.counters.get(other)?.into(),
        }))
    }

    fn count(&mut self, source: AgentSource) -> u32 {
        self.counters.get_mut(source).map_or(0, |counter| {
            *counter = counter.wrapping_add(1);
            *counter
        })
    }

    /// RFC 3414 3.2 7 a.
    const fn is_timely(&self, boots: u32, message_time: u32, time: u32) -> bool {
        self.boots != BOOTS_MAX && boots == self.boots && message_time.abs_diff(time) <= WINDOW
    }
}
