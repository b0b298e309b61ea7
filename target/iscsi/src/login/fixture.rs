//! An initiator's side and a target's surroundings, for tests.

use core::net::SocketAddr;
use std::{format, string::String, vec, vec::Vec};

use proptest::prelude::ProptestConfig;
use proptest::test_runner::RngSeed;

use super::{Admission, Environment, Login, LoginResponse, LoginStatus, Progress};
use crate::params::Limits;
use crate::pdu::{LoginRequest, Stage};
use crate::text::{Pairs, TEXT_MAX};

/// The same cases in every run, but for those who set another seed by `PROPTEST_RNG_SEED`.
pub(crate) fn config() -> ProptestConfig {
    let default = ProptestConfig::default();
    let rng_seed = if default.rng_seed == RngSeed::Random { RngSeed::Fixed(7143) } else { default.rng_seed };
    ProptestConfig { rng_seed, failure_persistence: None, ..default }
}

pub(crate) const INITIATOR: &str = "iqn.2001-04.com.example:host";
pub(crate) const TARGET: &str = "iqn.2001-04.com.example:disk";
pub(crate) const TSIH: u16 = 7;

/// One target and one initiator, as a test wants them.
pub(crate) struct Site {
    pub(crate) admission: Admission,
    pub(crate) discovery: Admission,
    /// Whether there is a place for a session whose ISID is another than this.
    pub(crate) only_for: Option<[u8; 6]>,
    /// CHAP name and secret of the initiator.
    pub(crate) initiator: Option<(&'static str, &'static [u8])>,
    /// CHAP name and secret of the target.
    pub(crate) target: Option<(&'static str, &'static [u8])>,
    pub(crate) alias: Option<&'static str>,
    pub(crate) targets: Vec<String>,
    pub(crate) forbidden: Vec<String>,
    pub(crate) portals: Vec<SocketAddr>,
    /// The random source: a counter.
    pub(crate) random: u8,
}

impl Default for Site {
    fn default() -> Self {
        Self {
            admission: Admission::Open,
            discovery: Admission::Open,
            only_for: None,
            initiator: None,
            target: None,
            alias: None,
            targets: vec![TARGET.into()],
            forbidden: vec![],
            portals: vec!["192.0.2.1:3260".parse().unwrap(), "[2001:db8::1]:3260".parse().unwrap()],
            random: 0,
        }
    }
}

impl Environment for Site {
    fn random(&mut self, bytes: &mut [u8]) {
        for byte in bytes {
            self.random = self.random.wrapping_add(1);
            *byte = self.random;
        }
    }

    fn admit(&self, initiator: &str, target: Option<&str>) -> Admission {
        match target {
            None => self.discovery,
            Some(name) if self.forbidden.iter().any(|other| other == name) => Admission::Forbidden,
            Some(name) if !self.targets.iter().any(|other| other == name) => Admission::NotFound,
            Some(_) if initiator == INITIATOR => self.admission,
            Some(_) => Admission::Forbidden,
        }
    }

    fn has_room(&self, _: &str, isid: [u8; 6], target: Option<&str>) -> bool {
        target.is_none() || self.only_for.is_none_or(|only| only == isid)
    }

    fn has_session(&self, initiator: &str, _: [u8; 6], target: Option<&str>, tsih: u16) -> bool {
        (initiator, target, tsih) == (INITIATOR, Some(TARGET), TSIH)
    }

    fn initiator_secret(&self, initiator: &str, _: Option<&str>, name: &str, with: &mut dyn FnMut(&[u8])) {
        if let Some((known, secret)) = self.initiator
            && known == name
            && initiator == INITIATOR
        {
            with(secret);
        }
    }

    fn target_secret(&self, _: &str, _: Option<&str>, with: &mut dyn FnMut(&str, &[u8])) {
        if let Some((name, secret)) = self.target {
            with(name, secret);
        }
    }

    fn target(&self, index: usize) -> Option<&str> {
        self.targets.get(index).map(String::as_str)
    }

    fn portal(&self, _: usize, index: usize) -> Option<(SocketAddr, u16)> {
        Some((*self.portals.get(index)?, 1))
    }

    fn portal_group_tag(&self) -> u16 {
        1
    }

    fn alias(&self, _target: Option<&str>) -> Option<&str> {
        self.alias
    }
}

/// Pairs written `A=b C=d`, as the text that they are; a value holds no space here.
pub(crate) fn text(pairs: &str) -> Vec<u8> {
    pairs.split_whitespace().flat_map(|pair| [pair.as_bytes(), b"\0"].concat()).collect()
}

/// A text, written as [`text`] takes it.
pub(crate) fn untext(bytes: &[u8]) -> String {
    let pairs = Pairs::new(bytes).map(|pair| pair.map(|pair| format!("{}={}", pair.key, pair.value)).unwrap());
    pairs.collect::<Vec<_>>().join(" ")
}

pub(crate) const SECURITY: Stage = Stage::SecurityNegotiation;
pub(crate) const OPERATIONAL: Stage = Stage::OperationalNegotiation;
pub(crate) const FULL: Stage = Stage::FullFeaturePhase;

/// A request of a new session that does not ask for a transition.
pub(crate) fn stay(stage: Stage) -> LoginRequest {
    LoginRequest {
        transit: false,
        cont: false,
        current_stage: stage,
        next_stage: SECURITY,
        version_max: 0,
        version_min: 0,
        isid: [0x80, 0, 0, 1, 2, 3],
        tsih: 0,
        itt: 1,
        cid: 0,
        cmd_sn: 1,
        exp_stat_sn: 0,
    }
}

/// A request of a new session that asks for a transition.
pub(crate) fn go(stage: Stage, next: Stage) -> LoginRequest {
    LoginRequest { transit: true, next_stage: next, ..stay(stage) }
}

/// The names of a normal session, before further keys.
pub(crate) fn normal(more: &str) -> String {
    format!("InitiatorName={INITIATOR} TargetName={TARGET} SessionType=Normal {more}")
}

/// The names of a discovery session, before further keys.
pub(crate) fn discovery(more: &str) -> String {
    format!("InitiatorName={INITIATOR} SessionType=Discovery {more}")
}

/// A login with its surroundings.
pub(crate) struct Talk {
    pub(crate) login: Login,
    pub(crate) site: Site,
}

impl Talk {
    pub(crate) fn new(site: Site) -> Self {
        Self::with(site, Limits::default())
    }

    pub(crate) fn with(site: Site, limits: Limits) -> Self {
        Self { login: Login::new(limits), site }
    }

    pub(crate) fn raw(&mut self, request: LoginRequest, data: &[u8]) -> (Progress, Vec<u8>) {
        let mut out = vec![0; TEXT_MAX];
        let progress = self.login.request(&request, data, &mut self.site, &mut out);
        if let Progress::Continue(_, len) | Progress::Complete(_, len) = progress {
            out.truncate(len);
        } else {
            out.clear();
        }
        (progress, out)
    }

    /// A request whose login goes on: the response and its text.
    pub(crate) fn on(&mut self, request: LoginRequest, pairs: &str) -> (LoginResponse, String) {
        let (progress, out) = self.raw(request, &text(pairs));
        let Progress::Continue(response, _) = progress else { panic!("{progress:?}") };
        assert_eq!((response.status, response.isid, response.itt), (LoginStatus::Success, request.isid, request.itt));
        assert_eq!(response.current_stage, request.current_stage);
        (response, untext(&out))
    }

    /// A request that completes the login: the text of its response.
    pub(crate) fn complete(&mut self, request: LoginRequest, pairs: &str) -> String {
        let (progress, out) = self.raw(request, &text(pairs));
        let Progress::Complete(response, _) = progress else { panic!("{progress:?}") };
        assert_eq!((response.status, response.transit, response.cont), (LoginStatus::Success, true, false));
        assert_eq!((response.current_stage, response.next_stage), (request.current_stage, FULL));
        assert!(self.login.established().is_some());
        untext(&out)
    }

    /// A request that is refused: why.
    pub(crate) fn fail(&mut self, request: LoginRequest, pairs: &str) -> LoginStatus {
        self.fail_raw(request, &text(pairs))
    }

    pub(crate) fn fail_raw(&mut self, request: LoginRequest, data: &[u8]) -> LoginStatus {
        let (progress, _) = self.raw(request, data);
        let Progress::Failed(response) = progress else { panic!("{progress:?}") };
        assert!(!response.transit && !response.cont);
        assert!(self.login.established().is_none());
        response.status
    }
}

/// What one text in the operational stage of a normal session is answered with, but for what the target declares.
pub(crate) fn answer(limits: Limits, pairs: &str) -> String {
    let text = Talk::with(Site::default(), limits).complete(go(OPERATIONAL, FULL), &normal(pairs));
    let declared = ["TargetPortalGroupTag=", "MaxRecvDataSegmentLength="];
    let answers = text.split(' ').filter(|pair| !declared.iter().any(|key| pair.starts_with(key)));
    answers.collect::<Vec<_>>().join(" ")
}
