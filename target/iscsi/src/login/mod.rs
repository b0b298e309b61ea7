//! Login (RFC 7143 clause 6): from the first request of a connection to full feature phase, or to its refusal.
//!
//! One [`Login`] belongs to one connection. It is told each Login Request with its text and says what to send. It asks
//! an [`Environment`] who may come in, and knows no session but the one that it makes: the driver reinstates a session
//! of the same initiator and ISID (6.3.5) and chooses the TSIH when it is told [`Progress::Complete`].

mod environment;
#[cfg(test)]
pub(crate) mod fixture;
mod names;
mod security;
#[cfg(test)]
mod tests;

use core::fmt;

pub use environment::{Admission, Environment};
pub use names::{NAME_MAX, is_same_name};
pub(crate) use names::{Names, has_format, is_name};

use crate::keys::{Class, Rule, Sender, Use};
use crate::params::{Answer, Limits, Parameters, negotiate};
pub use crate::pdu::LoginStatus;
use crate::pdu::{LoginRequest, LoginResponse, Stage};
use crate::text::{self, Assembly, NoRoom, Pair, Pairs, TEXT_MAX, Writer};
use security::Security;

/// What to do after a Login Request. The driver sets StatSN, ExpCmdSN and MaxCmdSN of every response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Send this with so many bytes of text; login goes on.
    Continue(LoginResponse, usize),
    /// Send this with so many bytes of text and a TSIH: full feature phase begins behind it.
    Complete(LoginResponse, usize),
    /// Send this without data and close the connection.
    Failed(LoginResponse),
}

/// What a login led to.
#[derive(Debug, Clone, Copy)]
pub struct Established<'a> {
    /// InitiatorName.
    pub initiator: &'a str,
    /// InitiatorAlias.
    pub initiator_alias: Option<&'a str>,
    /// TargetName; `None` in a discovery session.
    pub target: Option<&'a str>,
    /// ISID.
    pub isid: [u8; 6],
    /// CID.
    pub cid: u16,
    /// The initiator has proven by CHAP who it is.
    pub authenticated: bool,
    /// What holds now.
    pub parameters: &'a Parameters,
}

/// The login of one connection.
pub struct Login<const TEXT: usize = TEXT_MAX> {
    limits: Limits,
    parameters: Parameters,
    stage: Stage,
    phase: Phase,
    /// What the first request said, and every other has to.
    identity: Option<Identity>,
    names: Option<Names>,
    authentication: bool,
    security: Security,
    /// Rows of the key table that came, and those that came in this stage.
    seen: u64,
    seen_in_stage: u64,
    told_group_tag: bool,
    told_segment_length: bool,
    text: Assembly<TEXT>,
    /// Why the login was refused, where the status does not say it.
    why: &'static str,
}

/// A login that is refused: the status, and for the log what it does not say.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Refused(LoginStatus, &'static str);

impl From<LoginStatus> for Refused {
    fn from(status: LoginStatus) -> Self {
        Self(status, "")
    }
}

/// 11.13.5, 0200h: the initiator broke a rule.
const fn broken(why: &'static str) -> Refused {
    Refused(LoginStatus::InitiatorError, why)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Text is gathered.
    Asking,
    /// A whole text is answered, from here on.
    Answering(Part),
    /// Full feature phase.
    Complete,
    /// Refused.
    Failed,
}

/// What of the answer is next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    /// Keys from this offset of the text on; first those that depend on no other, then those that do.
    Keys {
        dependent: bool,
        offset: usize,
    },
    Security,
    Declarations,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Identity {
    isid: [u8; 6],
    tsih: u16,
    cid: u16,
}

/// What a response says besides its text.
struct Turn {
    transit: bool,
    cont: bool,
    len: usize,
}

impl<const TEXT: usize> Login<TEXT> {
    /// A login that has heard nothing yet.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            parameters: Parameters::default(),
            stage: Stage::SecurityNegotiation,
            phase: Phase::Asking,
            identity: None,
            names: None,
            authentication: true,
            security: Security::Undecided,
            seen: 0,
            seen_in_stage: 0,
            told_group_tag: false,
            told_segment_length: false,
            text: Assembly::new(),
            why: "",
        }
    }

    /// As [`Login::new`], in place.
    pub(crate) fn renew(&mut self, limits: Limits) {
        let Self {
            limits: its_limits,
            parameters,
            stage,
            phase,
            identity,
            names,
            authentication,
            security,
            seen,
            seen_in_stage,
            told_group_tag,
            told_segment_length,
            text,
            why,
        } = self;
        *its_limits = limits;
        *parameters = Parameters::default();
        *stage = Stage::SecurityNegotiation;
        *phase = Phase::Asking;
        *identity = None;
        *names = None;
        *authentication = true;
        *security = Security::Undecided;
        (*seen, *seen_in_stage) = (0, 0);
        (*told_group_tag, *told_segment_length) = (false, false);
        text.clear();
        *why = "";
    }

    /// Takes one Login Request with its whole data segment, and writes the text of the answer to the front of `out`.
    ///
    /// `out` wants `TEXT` bytes; what does not fit goes into the answers to the requests that follow.
    pub fn request(
        &mut self,
        request: &LoginRequest,
        data: &[u8],
        env: &mut dyn Environment,
        out: &mut [u8],
    ) -> Progress {
        let mut response = request.response(LoginStatus::Success);
        match self.turn(request, data, env, out) {
            Ok(turn) => {
                response.transit = turn.transit;
                response.cont = turn.cont;
                if turn.transit {
                    response.next_stage = request.next_stage;
                }
                if self.phase == Phase::Complete {
                    Progress::Complete(response, turn.len)
                } else {
                    Progress::Continue(response, turn.len)
                }
            }
            Err(Refused(status, why)) => {
                self.phase = Phase::Failed;
                self.text.clear();
                self.why = why;
                response.status = status;
                Progress::Failed(response)
            }
        }
    }

    /// Why it was refused, for the log: what the status does not say. Empty where it says all.
    pub const fn refusal(&self) -> &'static str {
        self.why
    }

    /// Whether a request came.
    pub const fn has_begun(&self) -> bool {
        self.identity.is_some()
    }

    /// The initiator's name and that of the target that it wants, once they were said.
    pub(crate) fn asked(&self) -> Option<(&str, Option<&str>)> {
        let names = self.names.as_ref()?;
        Some((&names.initiator, names.session_target()))
    }

    /// What the login led to, once it is complete.
    pub fn established(&self) -> Option<Established<'_>> {
        let (names, identity) = (self.names.as_ref()?, self.identity?);
        (self.phase == Phase::Complete).then(|| Established {
            initiator: &names.initiator,
            initiator_alias: names.alias.as_deref(),
            target: names.session_target(),
            isid: identity.isid,
            cid: identity.cid,
            authenticated: self.authentication,
            parameters: &self.parameters,
        })
    }

    fn turn(
        &mut self,
        request: &LoginRequest,
        data: &[u8],
        env: &mut dyn Environment,
        out: &mut [u8],
    ) -> Result<Turn, Refused> {
        if matches!(self.phase, Phase::Complete | Phase::Failed) {
            return Err(LoginStatus::InvalidDuringLogin.into());
        }
        self.check_header(request)?;
        let part = match self.phase {
            Phase::Asking => {
                // 6.1: 8192 bytes are what a target has to take, where it has the memory.
                self.text
                    .append(data)
                    .map_err(|NoRoom| Refused(LoginStatus::OutOfResources, "its text is too long"))?;
                if request.cont {
                    // 11.12.2: answered by a response without data.
                    return Ok(Turn { transit: false, cont: false, len: 0 });
                }
                self.begin(env)?;
                Part::Keys { dependent: false, offset: 0 }
            }
            // 11.13.2: while the answer goes on, the initiator sends no text.
            Phase::Answering(part) if data.is_empty() && !request.cont => part,
            _ => return Err(broken("text while the answer goes on")),
        };
        let room = out.len().min(TEXT);
        let mut writer = Writer::new(&mut out[..room]);
        if let Err(part) = self.answer(part, env, &mut writer)? {
            // A pair that no unit holds would go on for ever.
            if writer.is_empty() {
                return Err(Refused(LoginStatus::OutOfResources, "an answer that no unit holds"));
            }
            self.phase = Phase::Answering(part);
            return Ok(Turn { transit: false, cont: true, len: writer.len() });
        }
        self.phase = Phase::Asking;
        self.text.clear();
        let len = writer.len();
        Ok(Turn { transit: request.transit && self.transit(request.next_stage, env)?, cont: false, len })
    }

    /// The header alone: version, stages, flags, and who speaks.
    fn check_header(&mut self, request: &LoginRequest) -> Result<(), Refused> {
        // 11.12.4, 11.12.5: version 0 is the only one; an initiator that needs a later one cannot be served.
        if request.version_min > 0 {
            return Err(LoginStatus::UnsupportedVersion.into());
        }
        let identity = Identity { isid: request.isid, tsih: request.tsih, cid: request.cid };
        let first = *self.identity.get_or_insert_with(|| {
            // 6.3: a login begins in either stage.
            self.stage = request.current_stage;
            identity
        });
        let stages = request.current_stage == self.stage
            && matches!(self.stage, Stage::SecurityNegotiation | Stage::OperationalNegotiation);
        // 11.12.3: forward only, and not to the reserved value.
        let transit = !request.transit
            || request.next_stage > request.current_stage && request.next_stage != Stage::Reserved && !request.cont;
        match (identity == first, stages && transit) {
            (true, true) => Ok(()),
            (false, _) => Err(broken("ISID, TSIH or CID is another than in the first request")),
            (true, false) => Err(broken("its stages (CSG, NSG, T, C) cannot follow")),
        }
    }

    /// A whole text is there: looks at its form and, at the first one, at who wants what.
    fn begin(&mut self, env: &dyn Environment) -> Result<(), Refused> {
        let keys = Pairs::new(self.text.bytes());
        keys.check().map_err(|_| broken("its text is not made of key=value pairs"))?;
        if self.names.is_some() {
            return Ok(());
        }
        let names = self.names.insert(Names::parse(&keys)?);
        let target = names.session_target();
        self.authentication = env.admit(&names.initiator, target).authentication()?;
        // 6.3: a target that wants authentication refuses an initiator that leaves it out.
        if self.authentication && self.stage == Stage::OperationalNegotiation {
            return Err(Refused(LoginStatus::AuthenticationFailure, "it leaves CHAP out"));
        }
        // Which sessions there are is told to those alone that proved who they are.
        if self.authentication { Ok(()) } else { self.check_session(env) }
    }

    /// Whether the session that the initiator wants can be had.
    fn check_session(&self, env: &dyn Environment) -> Result<(), Refused> {
        let (Some(names), Some(Identity { isid, tsih, .. })) = (&self.names, self.identity) else { return Ok(()) };
        let target = names.session_target();
        // MaxConnections is 1: no connection is added to a session. 6.3.4: taking over a session's connection SHOULD
        // be possible at recovery level 0; the initiator has session reinstatement (6.3.5), which always is.
        if tsih != 0 {
            return Err(if env.has_session(&names.initiator, isid, target, tsih) {
                LoginStatus::TooManyConnections.into()
            } else {
                LoginStatus::SessionDoesNotExist.into()
            });
        }
        if !env.has_room(&names.initiator, isid, target) {
            return Err(LoginStatus::OutOfResources.into());
        }
        Ok(())
    }

    /// Answers the text from `part` on; `Ok(Err(…))` tells where to go on when the response is full.
    fn answer(
        &mut self,
        mut part: Part,
        env: &mut dyn Environment,
        out: &mut Writer<'_>,
    ) -> Result<Result<(), Part>, Refused> {
        loop {
            part = match part {
                Part::Keys { dependent, offset } => match self.answer_keys(dependent, offset, out)? {
                    Err(offset) => return Ok(Err(Part::Keys { dependent, offset })),
                    Ok(()) if !dependent => Part::Keys { dependent: true, offset: 0 },
                    Ok(()) => Part::Security,
                },
                Part::Security => {
                    if self.stage == Stage::SecurityNegotiation
                        && let Some(names) = &self.names
                    {
                        let keys = Pairs::new(self.text.bytes());
                        let algorithms = self.limits.algorithms;
                        let step = self.security.step(&keys, names, self.authentication, algorithms, env, out)?;
                        if step.is_err() {
                            return Ok(Err(part));
                        }
                    }
                    Part::Declarations
                }
                Part::Declarations => return Ok(self.declare(env, out).map_err(|NoRoom| part)),
            };
        }
    }

    /// `Ok(Err(offset))` where the pair at this offset has no room any more.
    fn answer_keys(
        &mut self,
        dependent: bool,
        offset: usize,
        out: &mut Writer<'_>,
    ) -> Result<Result<(), usize>, Refused> {
        let mut offset = offset;
        loop {
            let mut keys = Pairs::resume(self.text.bytes(), offset);
            let Some(pair) = keys.next() else { return Ok(Ok(())) };
            let pair = pair.map_err(|_| broken("its text is not made of key=value pairs"))?;
            let rule = Rule::find(pair.key);
            if rule.is_some_and(|rule| rule.dependent) == dependent {
                let before = (self.parameters, self.seen, self.seen_in_stage);
                let (key, next) = (pair.key, keys.offset());
                let state = State {
                    stage: self.stage,
                    limits: &self.limits,
                    names: self.names.as_mut(),
                    parameters: &mut self.parameters,
                    seen: &mut self.seen,
                    seen_in_stage: &mut self.seen_in_stage,
                };
                let answer = state.key(rule, pair)?;
                if answer != Answer::Nothing && out.pair(key, answer).is_err() {
                    (self.parameters, self.seen, self.seen_in_stage) = before;
                    return Ok(Err(offset));
                }
                offset = next;
            } else {
                offset = keys.offset();
            }
        }
    }

    /// What the target says unasked, each thing once.
    fn declare(&mut self, env: &dyn Environment, out: &mut Writer<'_>) -> Result<(), NoRoom> {
        // 13.9: in the first response to a whole text that has TargetName.
        if !self.told_group_tag && self.names.as_ref().is_some_and(|names| names.target.is_some()) {
            let written = out.len();
            out.pair("TargetPortalGroupTag", env.portal_group_tag())?;
            let target = self.names.as_ref().and_then(Names::session_target);
            if let Some(alias) = env.alias(target)
                && let Err(no_room) = out.pair("TargetAlias", alias)
            {
                out.truncate(written);
                return Err(no_room);
            }
            self.told_group_tag = true;
        }
        // 13.12: a declaration of the operational stage.
        if !self.told_segment_length && self.stage == Stage::OperationalNegotiation {
            let length = self.limits.declared_segment_length();
            out.pair("MaxRecvDataSegmentLength", length)?;
            self.parameters.max_recv_data_segment_length = length;
            self.told_segment_length = true;
        }
        Ok(())
    }

    /// The initiator wants to go on: whether the target does, and then it does.
    fn transit(&mut self, next: Stage, env: &dyn Environment) -> Result<bool, Refused> {
        if self.stage == Stage::SecurityNegotiation {
            if !self.security.may_leave(self.authentication)? {
                return Ok(false);
            }
            if self.authentication {
                self.check_session(env)?;
            }
        }
        self.stage = next;
        self.seen_in_stage = 0;
        if next == Stage::FullFeaturePhase {
            self.parameters.settle();
            self.phase = Phase::Complete;
        }
        Ok(true)
    }
}

/// What a key of a text acts on.
struct State<'a> {
    stage: Stage,
    limits: &'a Limits,
    names: Option<&'a mut Names>,
    parameters: &'a mut Parameters,
    seen: &'a mut u64,
    seen_in_stage: &'a mut u64,
}

impl State<'_> {
    fn key(self, rule: Option<&Rule>, pair: Pair<'_>) -> Result<Answer, Refused> {
        // An answer to what the target declared; or to nothing, which is let pass.
        let answers = text::is_reserved(pair.value);
        let Some(rule) = rule else {
            // 6.2: a key that is not known, a private one too, does no harm.
            return Ok(if answers { Answer::Nothing } else { Answer::Word(text::NOT_UNDERSTOOD) });
        };
        // 13.6, 13.8, 13.9: the target alone declares these. From an initiator they say nothing, and want no answer.
        if rule.sender == Sender::Target || answers && rule.name == "MaxRecvDataSegmentLength" {
            return Ok(Answer::Nothing);
        }
        let (bit, names) = (rule.bit(), self.names.ok_or(broken("the text before had no names"))?);
        let early = *self.seen & !*self.seen_in_stage & bit != 0;
        let again = *self.seen_in_stage & bit != 0;
        *self.seen |= bit;
        *self.seen_in_stage |= bit;
        // 6.3: negotiating again MUST be answered with "initiator error".
        const TWICE: Refused = broken("a key comes a second time");
        match rule.usage {
            _ if again => return Err(TWICE),
            // What was not in the first text cannot be said later.
            Use::Login | Use::All if matches!(rule.class, Class::Declaration) => {
                return if names.declare(rule.name, pair.value) {
                    Ok(Answer::Nothing)
                } else {
                    Err(broken("a name, alias or session type is said too late, or changed"))
                };
            }
            // 12.1: the method belongs to SecurityNegotiation. Where that was left out, None is what holds: tgt lets it pass, too.
            Use::Security if self.stage == Stage::OperationalNegotiation => {
                let mut offered = text::list(pair.value).into_iter().flatten();
                return match rule.name {
                    _ if early => Err(TWICE),
                    "AuthMethod" if offered.any(|method| method == "None") => Ok(Answer::Word("None")),
                    _ => Err(broken("a key of CHAP outside SecurityNegotiation")),
                };
            }
            Use::FullFeature => return Err(broken("a key of full feature phase")),
            _ => {}
        }
        // 13: operational keys belong to the operational stage. An early one means what it would mean there.
        let before = *self.parameters;
        let answer = negotiate(rule, pair.value, self.limits, names.discovery, self.parameters)
            // 7.11: a declaration that is not acceptable ends the login.
            .map_err(|_| broken("MaxRecvDataSegmentLength is no length"))?;
        // An offer that comes again in the next stage may change nothing: that alone is let through.
        if early && (matches!(rule.class, Class::Authentication) || before != *self.parameters) {
            return Err(TWICE);
        }
        Ok(answer)
    }
}

impl<const TEXT: usize> fmt::Debug for Login<TEXT> {
    // Neither the text nor the challenge: they are authentication's.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login")
            .field("stage", &self.stage)
            .field("phase", &self.phase)
            .field("names", &self.names)
            .finish_non_exhaustive()
    }
}
