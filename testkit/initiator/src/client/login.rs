//! Logins: to a target or for discovery, with CHAP in either direction.

use iesp_iscsi::outbox::Digests;
use iesp_iscsi::pdu::{LoginRequest, LoginResponse, LoginStatus, Stage};

use super::{Client, Error};
use crate::answer::{Answer, text};
use crate::chap::{Challenge, hex};
use crate::initiator::INITIATOR;
use crate::pdu::Pdu;

/// The challenge to the target, in CHAP of both directions.
const OUR_CHALLENGE: [u8; 16] = *b"sixteen of these";

/// What a login asks for.
#[derive(Debug, Clone)]
pub struct Login<'a> {
    initiator: &'a str,
    target: Option<&'a str>,
    keys: String,
    tsih: u16,
    cid: u16,
    chap: Option<Chap<'a>>,
}

/// Credentials, and whether the target has to show its own.
#[derive(Debug, Clone)]
struct Chap<'a> {
    name: &'a str,
    secret: &'a [u8],
    algorithms: &'a str,
    mutual: bool,
}

/// How a login ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoggedIn {
    /// The last response.
    pub response: LoginResponse,
    /// All text of the target's, written `A=b C=d`.
    pub text: String,
    /// The target's CHAP_N and CHAP_R, in CHAP of both directions.
    pub mutual: Option<(String, String)>,
}

impl LoggedIn {
    /// The value of a key that the target sent.
    #[must_use]
    pub fn key(&self, key: &str) -> Option<&str> {
        find(&self.text, key)
    }

    /// Whether the target knows the secret of its own.
    #[must_use]
    pub fn is_target(&self, secret: &[u8]) -> bool {
        let algorithm = self.key("CHAP_A").and_then(|number| number.parse().ok());
        let Some(algorithm) = algorithm.and_then(iesp_iscsi::chap::Algorithm::from_number) else { return false };
        let challenge = Challenge { algorithm, identifier: 1, bytes: OUR_CHALLENGE.to_vec() };
        self.mutual.as_ref().is_some_and(|(_, response)| challenge.is_response(secret, response))
    }
}

impl<'a> Login<'a> {
    /// To a target, for a normal session.
    #[must_use]
    pub const fn normal(target: &'a str) -> Self {
        let keys = String::new();
        Self { initiator: INITIATOR, target: Some(target), keys, tsih: 0, cid: 0, chap: None }
    }

    /// For a discovery session.
    #[must_use]
    pub fn discovery() -> Self {
        Self { target: None, ..Self::normal("") }
    }

    /// InitiatorName.
    #[must_use]
    pub const fn initiator(mut self, name: &'a str) -> Self {
        self.initiator = name;
        self
    }

    /// Operational keys, written `A=b C=d`.
    #[must_use]
    pub fn keys(mut self, pairs: &str) -> Self {
        self.keys = format!("{} {pairs}", self.keys);
        self
    }

    /// Digests of headers and data.
    #[must_use]
    pub fn digests(self) -> Self {
        self.keys("HeaderDigest=CRC32C DataDigest=CRC32C")
    }

    /// TSIH: the session that the connection is for.
    #[must_use]
    pub const fn tsih(mut self, tsih: u16) -> Self {
        self.tsih = tsih;
        self
    }

    /// CID.
    #[must_use]
    pub const fn cid(mut self, cid: u16) -> Self {
        self.cid = cid;
        self
    }

    /// CHAP by MD5.
    #[must_use]
    pub const fn chap(mut self, name: &'a str, secret: &'a [u8]) -> Self {
        self.chap = Some(Chap { name, secret, algorithms: "5", mutual: false });
        self
    }

    /// CHAP by one of these algorithms (IANA's numbers, written `7,5`).
    ///
    /// # Panics
    /// Without [`Login::chap`] before.
    #[must_use]
    pub const fn algorithms(mut self, algorithms: &'a str) -> Self {
        let chap = self.chap.as_mut().expect("CHAP is wanted");
        chap.algorithms = algorithms;
        self
    }

    /// The target has to show its secret, too.
    ///
    /// # Panics
    /// Without [`Login::chap`] before.
    #[must_use]
    pub const fn mutual(mut self) -> Self {
        let chap = self.chap.as_mut().expect("CHAP is wanted");
        chap.mutual = true;
        self
    }

    /// The keys that name initiator and target.
    fn names(&self) -> String {
        match self.target {
            Some(target) => format!("InitiatorName={} SessionType=Normal TargetName={target}", self.initiator),
            None => format!("InitiatorName={} SessionType=Discovery", self.initiator),
        }
    }

    pub(super) async fn run(&self, client: &mut Client) -> Result<LoggedIn, Error> {
        use Stage::{FullFeaturePhase, OperationalNegotiation, SecurityNegotiation};
        let mut all = String::new();
        let mut mutual = None;
        let pairs = match &self.chap {
            // Without a key of the security stage the login begins behind it (RFC 7143 6.3).
            None => format!("{} {}", self.names(), self.keys),
            Some(chap) => {
                let pairs = format!("{} AuthMethod=CHAP", self.names());
                let (_, text) = self.exchange(client, [SecurityNegotiation; 2], &pairs).await?;
                if find(&text, "AuthMethod") != Some("CHAP") {
                    return Err(Error::Chap("the target wants none"));
                }
                let pairs = format!("CHAP_A={}", chap.algorithms);
                let (_, text) = self.exchange(client, [SecurityNegotiation; 2], &pairs).await?;
                let challenge =
                    Challenge::find(|key| find(&text, key)).ok_or(Error::Chap("the challenge is incomplete"))?;
                all = text;
                let mut pairs = format!("CHAP_N={} CHAP_R={}", chap.name, challenge.response(chap.secret));
                if chap.mutual {
                    pairs += &format!(" CHAP_I=1 CHAP_C={}", hex(&OUR_CHALLENGE));
                }
                let stages = [SecurityNegotiation, OperationalNegotiation];
                let (_, text) = self.exchange(client, stages, &pairs).await?;
                mutual = find(&text, "CHAP_N").zip(find(&text, "CHAP_R")).map(|(n, r)| (n.to_owned(), r.to_owned()));
                self.keys.clone()
            }
        };
        let (response, text) = self.exchange(client, [OperationalNegotiation, FullFeaturePhase], &pairs).await?;
        all = format!("{all} {text}");
        let has = |key| find(&text, key) == Some("CRC32C");
        client.set_digests(Digests { header: has("HeaderDigest"), data: has("DataDigest") });
        Ok(LoggedIn { response, text: all.trim().to_owned(), mutual })
    }

    /// One request and its response, which has to be a success.
    async fn exchange(
        &self,
        client: &mut Client,
        [stage, next]: [Stage; 2],
        pairs: &str,
    ) -> Result<(LoginResponse, String), Error> {
        let request = client.initiator.login_request(stage, next);
        let (tsih, cid) = (self.tsih, self.cid);
        let (transit, next_stage) = if stage == next { (false, Stage::SecurityNegotiation) } else { (true, next) };
        let request = LoginRequest { transit, next_stage, tsih, cid, ..request };
        client.send(&Pdu::of(&request.emit(), &text(pairs))).await?;
        match client.answer().await? {
            Answer::Login(response, text) if response.status == LoginStatus::Success => Ok((response, text)),
            Answer::Login(response, _) => Err(Error::Login(response.into())),
            got => Err(Error::Unexpected { wanted: "a Login Response", got: got.into() }),
        }
    }
}

/// The value of a key in a text written `A=b C=d`.
fn find<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    text.split(' ').filter_map(|pair| pair.split_once('=')).find(|(name, _)| *name == key).map(|(_, value)| value)
}
