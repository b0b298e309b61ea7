//! SecurityNegotiation (RFC 7143 6.3.2, 12.1): which method, and CHAP.

use super::{Environment, LoginStatus, Names, Refused, broken};
use crate::chap::{Algorithm, CHALLENGE_LEN, CHALLENGE_MAX, Challenge, RESPONSE_MAX, Response};
use crate::text::{self, Hex, NoRoom, Pairs, VALUE_MAX, Writer};

const NO_ALGORITHM: Refused =
    Refused(LoginStatus::AuthenticationFailure, "it offers no CHAP algorithm that is allowed");

const HALF: Refused = Refused(LoginStatus::AuthenticationFailure, "CHAP_I or CHAP_C is missing, or is none");

/// Which of name, response and challenge is wrong, [`Environment`] knows.
const FAILURE: Refused = Refused(LoginStatus::AuthenticationFailure, "");

/// How far authentication is.
#[derive(Clone, Copy)]
pub(crate) enum Security {
    /// AuthMethod was not offered yet.
    Undecided,
    /// CHAP was agreed on; CHAP_A is to come.
    Chosen,
    /// The challenge was sent; CHAP_N and CHAP_R are to come.
    Challenged(Challenge),
    /// The method is None, or CHAP is through.
    Settled,
}

impl Security {
    /// What the keys of one whole text lead to. On `NoRoom` nothing has changed, and it is asked again with an empty
    /// writer.
    pub(crate) fn step(
        &mut self,
        keys: &Pairs<'_>,
        names: &Names,
        required: bool,
        algorithms: &[Algorithm],
        env: &mut dyn Environment,
        out: &mut Writer<'_>,
    ) -> Result<Result<(), NoRoom>, Refused> {
        let (before, written) = (*self, out.len());
        loop {
            let step = match *self {
                Self::Undecided => self.choose_method(keys, required, out)?,
                Self::Chosen => self.challenge(keys, algorithms, env, out)?,
                Self::Challenged(challenge) => self.verify(&challenge, keys, names, env, out)?,
                Self::Settled => Step::Wait,
            };
            match step {
                Step::Next => {}
                Step::Wait => return Ok(Ok(())),
                Step::NoRoom => {
                    *self = before;
                    out.truncate(written);
                    return Ok(Err(NoRoom));
                }
            }
        }
    }

    /// Whether the connection may leave this stage.
    ///
    /// # Errors
    /// Where an initiator wants to, and offered no authentication though it is required.
    pub(crate) const fn may_leave(&self, required: bool) -> Result<bool, Refused> {
        match self {
            Self::Settled => Ok(true),
            Self::Undecided if required => Err(Refused(LoginStatus::AuthenticationFailure, "it leaves CHAP out")),
            // 12.1: an initiator that offers no method wants none.
            Self::Undecided => Ok(true),
            Self::Chosen | Self::Challenged(_) => Ok(false),
        }
    }

    fn choose_method(&mut self, keys: &Pairs<'_>, required: bool, out: &mut Writer<'_>) -> Result<Step, Refused> {
        let Some(offered) = keys.find("AuthMethod") else {
            return if has_chap_keys(keys) { Err(broken("keys of CHAP without AuthMethod")) } else { Ok(Step::Wait) };
        };
        // 6.2.1: the first that the target supports and is allowed to use with this initiator. CHAP without a secret
        // is none, and None where CHAP is required is not allowed.
        let method = if required { "CHAP" } else { "None" };
        if !text::list(offered).ok_or(broken("AuthMethod is no list"))?.any(|offer| offer == method) {
            let why = if required { "it offers no CHAP" } else { "it wants CHAP, for which there is no user" };
            return Err(Refused(LoginStatus::AuthenticationFailure, why));
        }
        if out.pair("AuthMethod", method).is_err() {
            return Ok(Step::NoRoom);
        }
        *self = if required { Self::Chosen } else { Self::Settled };
        Ok(Step::Next)
    }

    fn challenge(
        &mut self,
        keys: &Pairs<'_>,
        allowed: &[Algorithm],
        env: &mut dyn Environment,
        out: &mut Writer<'_>,
    ) -> Result<Step, Refused> {
        let Some(offered) = keys.find("CHAP_A") else { return Ok(Step::Wait) };
        // 6.2.1 again: the order of preference is the initiator's. Weak ones are kept out by what is allowed.
        let algorithm = text::list(offered)
            .ok_or(NO_ALGORITHM)?
            .filter_map(|number| Algorithm::from_number(text::number(number)?))
            .find(|algorithm| allowed.contains(algorithm))
            .ok_or(NO_ALGORITHM)?;
        let mut random = [0; 1 + CHALLENGE_LEN];
        env.random(&mut random);
        let [identifier, bytes @ ..] = random;
        let written = out
            .pair("CHAP_A", algorithm as u8)
            .and_then(|()| out.pair("CHAP_I", identifier))
            .and_then(|()| out.pair("CHAP_C", Hex(&bytes)));
        if written.is_err() {
            return Ok(Step::NoRoom);
        }
        *self = Self::Challenged(Challenge { algorithm, identifier, bytes });
        Ok(Step::Wait)
    }

    /// 12.1.3: anything but a right name and response is answered "authentication failure", and no more than that:
    /// which of them was wrong is not told.
    fn verify(
        &mut self,
        challenge: &Challenge,
        keys: &Pairs<'_>,
        names: &Names,
        env: &mut dyn Environment,
        out: &mut Writer<'_>,
    ) -> Result<Step, Refused> {
        const ABSENT: Refused = Refused(LoginStatus::AuthenticationFailure, "CHAP_N or CHAP_R is missing, or is none");
        let name = keys.find("CHAP_N").filter(|name| name.len() <= VALUE_MAX).ok_or(ABSENT)?;
        let mut room = [0; RESPONSE_MAX];
        let response = text::binary(keys.find("CHAP_R").ok_or(ABSENT)?, &mut room).ok_or(ABSENT)?;

        // A name without a secret takes the same way with a secret that no one knows.
        let mut nobody = [0; CHALLENGE_LEN];
        env.random(&mut nobody);
        let mut expected = challenge.response(&nobody);
        let mut known = false;
        env.initiator_secret(&names.initiator, names.session_target(), name, &mut |secret| {
            expected = challenge.response(secret);
            known = true;
        });
        if !(expected.matches(response) & known) {
            return Err(FAILURE);
        }

        let written = match (keys.find("CHAP_I"), keys.find("CHAP_C")) {
            (None, None) => Ok(()),
            (Some(identifier), Some(theirs)) => prove(challenge, response, identifier, theirs, names, env, out)?,
            _ => return Err(HALF),
        };
        if written.is_err() {
            return Ok(Step::NoRoom);
        }
        *self = Self::Settled;
        Ok(Step::Wait)
    }
}

/// The target proves itself: mutual authentication.
fn prove(
    ours: &Challenge,
    response: &[u8],
    identifier: &str,
    challenge: &str,
    names: &Names,
    env: &dyn Environment,
    out: &mut Writer<'_>,
) -> Result<Result<(), NoRoom>, Refused> {
    let identifier = text::number(identifier).and_then(|number| u8::try_from(number).ok()).ok_or(HALF)?;
    let mut room = [0; CHALLENGE_MAX];
    let challenge = text::binary(challenge, &mut room).filter(|bytes| !bytes.is_empty()).ok_or(HALF)?;
    // 9.2.1: a challenge that comes back MUST be detected, and the connection closed.
    if ours.is_reflected(challenge) {
        return Err(Refused(LoginStatus::AuthenticationFailure, "its CHAP challenge is the target's own"));
    }
    let mut outcome = Err(FAILURE);
    env.target_secret(&names.initiator, names.session_target(), &mut |name, secret| {
        // 9.2.1: one secret for both directions would let each side answer for the other.
        if ours.response(secret).matches(response) {
            return;
        }
        let proof: Response = ours.algorithm.response(identifier, secret, challenge);
        outcome = Ok(out.pair("CHAP_N", name).and_then(|()| out.pair("CHAP_R", Hex(proof.bytes()))));
    });
    outcome
}

fn has_chap_keys(keys: &Pairs<'_>) -> bool {
    ["CHAP_A", "CHAP_I", "CHAP_C", "CHAP_N", "CHAP_R"].iter().any(|key| keys.find(key).is_some())
}

enum Step {
    Next,
    Wait,
    NoRoom,
}
