//! The agent: whose message it is, who may ask, and what the agent counts by itself.

use alloc::vec::Vec;
use core::fmt;

use crate::community::{self, Silence};
use crate::objects::{AgentSource, Index, Object, Source, Table};
use crate::pdu::Dialect;
use crate::usm::{User, Usm};
use crate::value::{Value, Values};

/// What the agent is to do.
pub struct Config {
    /// What requests of versions 1 and 2c must name; `None`: they are not answered.
    pub community: Option<Vec<u8>>,
    /// The engine of version 3 and its users; `None`: that version is not answered.
    pub engine: Option<Engine>,
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A community is all that version 2c asks for: it is not to be read in a log.
        f.debug_struct("Config").field("engine", &self.engine).finish_non_exhaustive()
    }
}

/// An engine of version 3 (RFC 3411 3.1.1).
#[derive(Debug)]
pub struct Engine {
    /// snmpEngineID: 5 to 32 bytes, no other engine's, and the same for as long as `boots` is kept.
    pub id: Vec<u8>,
    /// snmpEngineBoots: one more than at the last start, from 1 on; it must have been kept before this one answers.
    pub boots: u32,
    /// Any number that was not used with these boots: where the salts of encryption begin.
    pub salt: u64,
    /// Who may ask.
    pub users: Vec<User>,
}

/// An agent.
#[derive(Debug)]
pub struct Agent {
    community: Option<Community>,
    usm: Option<Usm>,
    counters: Counters,
    plain_tables: bool,
}

struct Community(Vec<u8>);

impl fmt::Debug for Community {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Community")
    }
}

/// What it counts (RFC 3418).
#[derive(Debug, Default, Clone, Copy)]
struct Counters {
    packets: u32,
    bad_versions: u32,
    bad_communities: u32,
    parse_errors: u32,
}

impl Agent {
    /// One that has counted nothing yet.
    pub fn new(config: Config) -> Self {
        let Config { community, engine } = config;
        let (community, usm) = (community.map(Community), engine.map(Usm::new));
        Self { community, usm, counters: Counters::default(), plain_tables: false }
    }

    /// With walks that pass by iESP's own names, which stand among the tables' rows and are none: for those who take
    /// tables as the MIBs have them. GET finds these names all the same.
    #[must_use]
    pub fn with_plain_tables(self, plain_tables: bool) -> Self {
        Self { plain_tables, ..self }
    }

    /// The datagram that answers this one; `None` where there is none to give. `time` is in seconds since the engine's
    /// boots were counted up, and never goes back.
    pub fn answer(&mut self, datagram: &[u8], time: u32, values: &dyn Values) -> Option<Vec<u8>> {
        self.counters.packets = self.counters.packets.wrapping_add(1);
        let Some(version) = version(datagram) else {
            count(&mut self.counters.parse_errors);
            return None;
        };
        let dialect = match version {
            0 => Dialect::V1,
            1 => Dialect::V2,
            3 if self.usm.is_some() => return self.answer_v3(datagram, time, values),
            _ => {
                count(&mut self.counters.bad_versions);
                return None;
            }
        };
        let Some(Community(community)) = &self.community else {
            count(&mut self.counters.bad_versions);
            return None;
        };
        let own = Own { counters: self.counters, plain_tables: self.plain_tables, time };
        let all = All { values, own, usm: self.usm.as_ref() };
        match community::answer(dialect, datagram, community, &all) {
            Ok(answer) => Some(answer),
            Err(Silence::Unreadable) => {
                count(&mut self.counters.parse_errors);
                None
            }
            Err(Silence::Community) => {
                count(&mut self.counters.bad_communities);
                None
            }
            Err(Silence::NoRequest) => None,
        }
    }

    fn answer_v3(&mut self, datagram: &[u8], time: u32, values: &dyn Values) -> Option<Vec<u8>> {
        let usm = self.usm.as_mut()?;
        match usm.receive(datagram, time) {
            Ok(request) => {
                let usm = &*usm;
                let own = Own { counters: self.counters, plain_tables: self.plain_tables, time };
                let all = All { values, own, usm: Some(usm) };
                let answer = usm.response(request, &all)?;
                self.usm.as_mut()?.seal(&answer, time)
            }
            Err(crate::usm::Refused::Report(report)) => usm.report(&report, time),
            Err(crate::usm::Refused::Unreadable) => {
                count(&mut self.counters.parse_errors);
                None
            }
            Err(crate::usm::Refused::Silent) => None,
        }
    }
}

fn count(counter: &mut u32) {
    *counter = counter.wrapping_add(1);
}

/// The version that a message says it has: its first element (RFC 3412 6.1).
fn version(datagram: &[u8]) -> Option<u8> {
    let message = crate::usm::wire::element(datagram, 0x30)?;
    match crate::usm::wire::element(message.content, 0x02)?.content {
        [version] => Some(*version),
        _ => None,
    }
}

/// What the agent itself adds to the program's values.
struct Own {
    counters: Counters,
    plain_tables: bool,
    time: u32,
}

/// The program's values and the agent's own.
struct All<'a> {
    values: &'a dyn Values,
    own: Own,
    usm: Option<&'a Usm>,
}

impl Values for All<'_> {
    fn rows(&self, table: Table) -> &[Index] {
        self.values.rows(table)
    }

    fn is_walked(&self, object: &Object) -> bool {
        !(self.own.plain_tables && object.is_bare())
    }

    fn value(&self, source: Source, row: Option<usize>) -> Option<Value> {
        let number = |number: u32| Some(Value::Number(number.into()));
        match source {
            Source::Fixed(fixed) => number(fixed),
            Source::Word(word) => Some(Value::Text(word.into())),
            Source::Pointer(name) => Some(Value::Name(name.into())),
            Source::Bits(bits) => Some(Value::Bytes(bits.into())),
            Source::Agent(AgentSource::InPackets) => number(self.own.counters.packets),
            Source::Agent(AgentSource::BadVersions) => number(self.own.counters.bad_versions),
            Source::Agent(AgentSource::BadCommunities) => number(self.own.counters.bad_communities),
            Source::Agent(AgentSource::ParseErrors) => number(self.own.counters.parse_errors),
            Source::Agent(own) => self.usm?.value(own, self.own.time),
            other => self.values.value(other, row),
        }
    }
}
