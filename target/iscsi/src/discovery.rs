//! Text exchanges in full feature phase (RFC 7143 6.4, 11.10): SendTargets (Appendix C), and the keys that may be
//! negotiated anew.

use core::fmt;
use core::net::SocketAddr;

use crate::keys::{Rule, Sender, Use};
use crate::login::{Environment, Established, has_format, is_name, is_same_name};
use crate::params::{Answer, Limits, Parameters, negotiate};
use crate::pdu::{Numbers, RESERVED_TAG, RejectReason, TextRequest, TextResponse};
use crate::text::{self, Assembly, NoRoom, Pairs, TEXT_MAX, Writer};

const SEND_TARGETS: &str = "SendTargets";

/// Who asks, and in which kind of session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Nexus<'a> {
    /// InitiatorName.
    pub initiator: &'a str,
    /// TargetName; `None` in a discovery session.
    pub target: Option<&'a str>,
}

impl<'a> From<&Established<'a>> for Nexus<'a> {
    fn from(login: &Established<'a>) -> Self {
        Self { initiator: login.initiator, target: login.target }
    }
}

/// The text exchange of one connection: there is at most one at a time (RFC 7143 11.10).
pub struct TextPhase<const TEXT: usize = TEXT_MAX> {
    exchange: Option<Exchange>,
    text: Assembly<TEXT>,
    next_tag: u32,
}

#[derive(Debug, Clone, Copy)]
struct Exchange {
    itt: u32,
    /// The Target Transfer Tag that the initiator's next request has.
    ttt: u32,
    /// What the exchange makes of the parameters, once it is complete.
    parameters: Parameters,
    seen: u64,
    phase: Phase,
}

#[derive(Debug, Clone, Copy)]
enum Phase {
    /// Text is gathered.
    Asking,
    /// Keys are answered, from this offset of the text on.
    Keys(usize),
    /// Targets are told.
    Targets(Listing),
}

/// What of the targets is left to tell.
#[derive(Debug, Clone, Copy)]
struct Listing {
    target: usize,
    end: usize,
    /// The portal that is next; `None` where the target's name is.
    portal: Option<usize>,
}

impl<const TEXT: usize> TextPhase<TEXT> {
    /// No exchange yet.
    pub const fn new() -> Self {
        Self { exchange: None, text: Assembly::new(), next_tag: 0 }
    }

    /// No exchange, as at the start.
    pub(crate) fn renew(&mut self) {
        let Self { exchange, text, next_tag } = self;
        *exchange = None;
        text.clear();
        *next_tag = 0;
    }

    /// Takes one Text Request with its whole data segment, and writes the text of the answer to the front of `out`, of
    /// which no more is used than a unit to the initiator may carry. What does not fit goes into the answers to the
    /// requests that follow. The response's StatSN, ExpCmdSN and MaxCmdSN are the driver's.
    ///
    /// # Errors
    /// The reason of the Reject to send. It ends the exchange, and nothing of it takes effect (7.11).
    pub fn request(
        &mut self,
        request: &TextRequest,
        data: &[u8],
        nexus: Nexus<'_>,
        parameters: &mut Parameters,
        env: &dyn Environment,
        out: &mut [u8],
    ) -> Result<(TextResponse, usize), RejectReason> {
        let room = out.len().min(parameters.peer_max_recv_data_segment_length as usize);
        let mut writer = Writer::new(&mut out[..room]);
        let turn = self
            .resume(request, parameters)
            .and_then(|exchange| self.turn(exchange, request, data, nexus, env, &mut writer));
        let (exchange, is_final, cont) = match turn {
            Ok(turn) => turn,
            Err(reason) => {
                self.end();
                return Err(reason);
            }
        };
        let (itt, mut ttt) = (exchange.itt, exchange.ttt);
        if is_final {
            // 6.4: what was negotiated takes effect with the end of the exchange.
            *parameters = exchange.parameters;
            self.end();
            ttt = RESERVED_TAG;
        } else {
            self.exchange = Some(exchange);
        }
        let response = TextResponse { is_final, cont, lun: 0, itt, ttt, numbers: Numbers::default() };
        Ok((response, writer.len()))
    }

    /// Whether an exchange was begun and not ended.
    pub const fn is_open(&self) -> bool {
        self.exchange.is_some()
    }

    fn end(&mut self) {
        self.exchange = None;
        self.text.clear();
    }

    /// The exchange that a request belongs to.
    fn resume(&mut self, request: &TextRequest, parameters: &Parameters) -> Result<Exchange, RejectReason> {
        // 11.2.1.8: the reserved tag is no task's.
        if request.itt == RESERVED_TAG {
            return Err(RejectReason::InvalidPduField);
        }
        // 11.10.4, 6.4: the reserved tag begins an exchange, and drops one that was going on. Some initiators leave the field
        // 0, which goes on with nothing where there is no exchange.
        if request.ttt == RESERVED_TAG || request.ttt == 0 && self.exchange.is_none() {
            self.end();
            self.next_tag = (self.next_tag + 1) % RESERVED_TAG;
            return Ok(Exchange {
                itt: request.itt,
                ttt: self.next_tag,
                parameters: *parameters,
                seen: 0,
                phase: Phase::Asking,
            });
        }
        // 11.10.3, 11.10.4: the tags of the request before.
        let known = |exchange: &Exchange| exchange.itt == request.itt && exchange.ttt == request.ttt;
        self.exchange.filter(known).ok_or(RejectReason::ProtocolError)
    }

    /// The exchange afterwards, and the F and C bits of the answer.
    fn turn(
        &mut self,
        mut exchange: Exchange,
        request: &TextRequest,
        data: &[u8],
        nexus: Nexus<'_>,
        env: &dyn Environment,
        out: &mut Writer<'_>,
    ) -> Result<(Exchange, bool, bool), RejectReason> {
        let phase = match exchange.phase {
            Phase::Asking => {
                // 6.1: 8192 bytes are what a target has to take.
                self.text.append(data).map_err(|NoRoom| RejectReason::LongOperationReject)?;
                if request.cont {
                    // 11.10.2: answered by a response without data.
                    return Ok((exchange, false, false));
                }
                self.begin(nexus, env)?
            }
            // 11.11.2: while the answer goes on, the initiator sends no text.
            phase if data.is_empty() && !request.cont => phase,
            _ => return Err(RejectReason::ProtocolError),
        };
        let left = match phase {
            Phase::Targets(listing) => listing.tell(nexus, env, out).err().map(Phase::Targets),
            Phase::Keys(offset) => self.answer_keys(&mut exchange, offset, nexus, out)?.err().map(Phase::Keys),
            Phase::Asking => None,
        };
        if let Some(phase) = left {
            // A pair that no unit holds would go on for ever.
            if out.is_empty() {
                return Err(RejectReason::LongOperationReject);
            }
            exchange.phase = phase;
            return Ok((exchange, false, true));
        }
        exchange.phase = Phase::Asking;
        self.text.clear();
        // 11.11.1: the answer is final only where the request is.
        Ok((exchange, request.is_final, false))
    }

    /// A whole text is there: what it asks for.
    fn begin(&self, nexus: Nexus<'_>, env: &dyn Environment) -> Result<Phase, RejectReason> {
        let keys = Pairs::new(self.text.bytes());
        keys.check().map_err(|_| RejectReason::ProtocolError)?;
        let Some(pair) = keys.clone().flatten().find(|pair| is_like_send_targets(pair.key)) else {
            return Ok(Phase::Keys(0));
        };
        // Appendix C: exactly one key, and it MUST be SendTargets. A key that only looks like it, and by 6.2 would be
        // "NotUnderstood", is taken for a SendTargets gone wrong: libiscsi's test-tool wants it rejected.
        if pair.key != SEND_TARGETS || keys.count() != 1 {
            return Err(RejectReason::ProtocolError);
        }
        env.begin_listing();
        Listing::find(pair.value, nexus, env).map(Phase::Targets).ok_or(RejectReason::ProtocolError)
    }

    /// `Ok(Err(offset))` where the pair at this offset has no room any more.
    fn answer_keys(
        &self,
        exchange: &mut Exchange,
        mut offset: usize,
        nexus: Nexus<'_>,
        out: &mut Writer<'_>,
    ) -> Result<Result<(), usize>, RejectReason> {
        loop {
            let mut keys = Pairs::resume(self.text.bytes(), offset);
            let Some(pair) = keys.next() else { return Ok(Ok(())) };
            let pair = pair.map_err(|_| RejectReason::ProtocolError)?;
            let answers = text::is_reserved(pair.value);
            let answer = match Rule::find(pair.key) {
                // An answer, to nothing or to what login declared.
                _ if answers => Answer::Nothing,
                None => Answer::Word(text::NOT_UNDERSTOOD),
                Some(rule) => {
                    let allowed = matches!(rule.usage, Use::OperationalAndFullFeature | Use::All)
                        && rule.sender != Sender::Target;
                    // 6.4: a key that came before MUST be rejected so; so is one whose place is login alone.
                    if !allowed || exchange.seen & rule.bit() != 0 {
                        return Err(RejectReason::ProtocolError);
                    }
                    exchange.seen |= rule.bit();
                    // No key that may come here is bounded by the target's limits.
                    let (limits, discovery) = (Limits::default(), nexus.target.is_none());
                    negotiate(rule, pair.value, &limits, discovery, &mut exchange.parameters)
                        .map_err(|_| RejectReason::ProtocolError)?
                }
            };
            // What has an answer here was not understood, and has changed nothing.
            if answer != Answer::Nothing && out.pair(pair.key, answer).is_err() {
                return Ok(Err(offset));
            }
            offset = keys.offset();
        }
    }
}

fn is_like_send_targets(key: &str) -> bool {
    key.get(..SEND_TARGETS.len()).is_some_and(|start| start.eq_ignore_ascii_case(SEND_TARGETS))
}

impl Listing {
    const NOTHING: Self = Self { target: 0, end: 0, portal: None };

    /// What a value of SendTargets asks for (Appendix C); `None` where it is no value.
    fn find(value: &str, nexus: Nexus<'_>, env: &dyn Environment) -> Option<Self> {
        let name = match (value, nexus.target) {
            ("All", None) => return Some(Self { end: usize::MAX, ..Self::NOTHING }),
            ("", None) => return Some(Self::NOTHING),
            // "All" MUST NOT be supported in a normal session, whose initiator learns of its own target alone.
            ("All" | "", Some(own)) => own,
            (name, Some(own)) if !is_same_name(name, own) => {
                return is_iscsi_name(name).then_some(Self::NOTHING);
            }
            (name, _) => name,
        };
        let mut targets = (0..).map_while(|index| Some((index, env.target(index)?)));
        match targets.find(|target| is_same_name(target.1, name)) {
            Some((target, _)) => Some(Self { target, end: target + 1, portal: None }),
            // A name that no target has is answered with nothing.
            None => is_iscsi_name(name).then_some(Self::NOTHING),
        }
    }

    /// Writes what is left; what is left after that is the error.
    fn tell(mut self, nexus: Nexus<'_>, env: &dyn Environment, out: &mut Writer<'_>) -> Result<(), Self> {
        while self.target < self.end
            && let Some(name) = env.target(self.target)
        {
            if env.admit(nexus.initiator, Some(name)).is_visible() {
                self.tell_target(name, env, out).map_err(|NoRoom| self)?;
            }
            self.target += 1;
            self.portal = None;
        }
        Ok(())
    }

    fn tell_target(&mut self, name: &str, env: &dyn Environment, out: &mut Writer<'_>) -> Result<(), NoRoom> {
        if self.portal.is_none() {
            out.pair("TargetName", name)?;
        }
        let portal = self.portal.insert(self.portal.unwrap_or(0));
        while let Some((address, tag)) = env.portal(self.target, *portal) {
            out.pair("TargetAddress", Address(address, tag))?;
            *portal += 1;
        }
        Ok(())
    }
}

/// Whether a name has one of the three formats (RFC 7143 4.2.7).
fn is_iscsi_name(name: &str) -> bool {
    is_name(name) && has_format(name)
}

/// The value of TargetAddress (13.8): an IPv6 address in brackets, an IPv4 address without, its port, its group tag.
struct Address(SocketAddr, u16);

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The scope of a link-local address means nothing to the peer: it is left out.
        match self.0 {
            SocketAddr::V4(address) => write!(f, "{}:{},{}", address.ip(), address.port(), self.1),
            SocketAddr::V6(address) => write!(f, "[{}]:{},{}", address.ip(), address.port(), self.1),
        }
    }
}

impl<const TEXT: usize> Default for TextPhase<TEXT> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const TEXT: usize> fmt::Debug for TextPhase<TEXT> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TextPhase").field("exchange", &self.exchange).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
