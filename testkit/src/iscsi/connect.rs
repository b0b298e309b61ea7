//! From a URL to a session in the full feature phase whose logical unit is ready.

use std::ffi::CString;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use libiscsi_sys as sys;

use super::buffer::IoBuffer;
use super::command::{Cdb, Transfer};
use super::error::Error;
use super::sense::SenseKey;
use super::session::Session;
use super::slot::{Context, Core, Pinned, step_done};
use super::url::Url;

/// How often a target may move a login elsewhere (RFC 7143 11.13.5, status class 1).
const REDIRECTIONS: u32 = 3;
/// How many unit attention conditions may be pending when a session begins.
const UNIT_ATTENTIONS: u32 = 16;

/// Which header digest is offered; libiscsi 1.19 knows no data digest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HeaderDigest {
    /// `None`: what costs least.
    #[default]
    None,
    /// `None,CRC32C`: the target chooses.
    NoneOrCrc32c,
    /// `CRC32C` alone. A target that refuses it is talked to without: libiscsi goes on, and does not tell.
    Crc32c,
}

/// How a session is opened.
#[derive(Clone, Debug)]
pub struct Options {
    /// How long connecting and logging in may take together.
    pub connect_timeout: Duration,
    /// How long a command may take before the session is given up.
    pub timeout: Duration,
    /// Which header digest is offered.
    pub header_digest: HeaderDigest,
    /// Offer ImmediateData=Yes.
    pub immediate_data: bool,
    /// Offer InitialR2T=Yes.
    pub initial_r2t: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(10),
            timeout: Duration::from_secs(30),
            header_digest: HeaderDigest::None,
            immediate_data: true,
            initial_r2t: false,
        }
    }
}

impl<B: IoBuffer> Session<B> {
    /// Connects, logs in, and waits until the logical unit is ready; see [`Options::default`].
    ///
    /// # Errors
    /// [`Error::Url`], [`Error::InitiatorName`], [`Error::Connect`], [`Error::Login`], [`Error::TimedOut`], or
    /// [`Error::Command`] when the logical unit is not ready.
    pub fn connect(url: &str, initiator_name: &str) -> Result<Self, Error> {
        Self::open(&Url::parse(url)?, initiator_name, &Options::default())
    }

    /// The same with options.
    ///
    /// # Errors
    /// As for [`Session::connect`].
    pub fn open(url: &Url, initiator_name: &str, options: &Options) -> Result<Self, Error> {
        let initiator = CString::new(initiator_name)
            .ok()
            .filter(|name| (1..=sys::MAX_STRING_SIZE).contains(&name.as_bytes().len()))
            .ok_or_else(|| Error::InitiatorName(initiator_name.to_owned()))?;
        let deadline = Instant::now() + options.connect_timeout;
        let mut portal = url.portal.clone();
        for _ in 0..=REDIRECTIONS {
            let context = Context::new(&initiator)?;
            configure(&context, url, options)?;
            let core = Pinned::new(Core::default());
            let mut session = Self::new(context, core, portal.clone(), url.lun, options.timeout);
            match session.log_in(url, deadline, options.connect_timeout)? {
                LoggedIn::Here => {
                    session.become_ready()?;
                    return Ok(session);
                }
                LoggedIn::Moved(address) => portal = address,
            }
        }
        let reason = format!("it was redirected more than {REDIRECTIONS} times");
        Err(Error::Login { portal, target: url.target.clone(), reason })
    }

    fn log_in(&mut self, url: &Url, deadline: Instant, after: Duration) -> Result<LoggedIn, Error> {
        let portal = self.portal().to_owned();
        let c_portal = CString::new(portal.as_str()).map_err(|_| Error::Connect {
            portal: portal.clone(),
            reason: "the address holds a zero byte".to_owned(),
        })?;
        let connected = self.step("connect", deadline, after, |context, core| {
            // SAFETY: context and core live (the session owns both); the portal is copied by the library.
            unsafe { sys::iscsi_connect_async(context, c_portal.as_ptr(), Some(step_done), core) }
        });
        match connected {
            Ok((sys::SCSI_STATUS_GOOD, _)) => {}
            Ok((_, reason)) | Err(Error::Lost { reason, .. }) => return Err(Error::Connect { portal, reason }),
            Err(error) => return Err(error),
        }
        let logged_in = self.step("login", deadline, after, |context, core| {
            // SAFETY: context and core live (the session owns both).
            unsafe { sys::iscsi_login_async(context, Some(step_done), core) }
        });
        match logged_in {
            Ok((sys::SCSI_STATUS_GOOD, _)) => Ok(LoggedIn::Here),
            Ok((sys::SCSI_STATUS_REDIRECT, reason)) => self.redirected_to().map(LoggedIn::Moved).ok_or(Error::Login {
                portal,
                target: url.target.clone(),
                reason,
            }),
            Ok((_, reason)) | Err(Error::Lost { reason, .. }) => {
                Err(Error::Login { portal, target: url.target.clone(), reason })
            }
            Err(error) => Err(error),
        }
    }

    /// A new I_T nexus finds unit attention conditions (SAM-5 5.14): each TEST UNIT READY takes one away.
    fn become_ready(&mut self) -> Result<(), Error> {
        const WHAT: &str = "TEST UNIT READY";
        let mut attempt = 0;
        loop {
            let Err(failure) = self.execute(&Cdb::test_unit_ready(), Transfer::None)?.result else { return Ok(()) };
            attempt += 1;
            let attention = failure.sense().is_some_and(|sense| sense.key == SenseKey::UnitAttention);
            if !attention || attempt > UNIT_ATTENTIONS {
                return Err(Error::Command { what: WHAT, failure });
            }
        }
    }
}

enum LoggedIn {
    Here,
    Moved(String),
}

/// Sets what the login offers.
fn configure(context: &Context, url: &Url, options: &Options) -> Result<(), Error> {
    // Each session of this process is an I_T nexus of its own: the qualifier tells them apart (RFC 7143 11.12.5).
    static QUALIFIER: AtomicU32 = AtomicU32::new(0);
    let qualifier = QUALIFIER.fetch_add(1, Ordering::Relaxed);

    let refuse = |reason: &str| Error::Url { url: url.to_string(), reason: reason.to_owned() };
    let target = CString::new(url.target.as_str()).map_err(|_| refuse("it holds a zero byte"))?;
    let digest = match options.header_digest {
        HeaderDigest::None => sys::ISCSI_HEADER_DIGEST_NONE,
        HeaderDigest::NoneOrCrc32c => sys::ISCSI_HEADER_DIGEST_NONE_CRC32C,
        HeaderDigest::Crc32c => sys::ISCSI_HEADER_DIGEST_CRC32C,
    };
    let immediate = if options.immediate_data { sys::ISCSI_IMMEDIATE_DATA_YES } else { sys::ISCSI_IMMEDIATE_DATA_NO };
    let r2t = if options.initial_r2t { sys::ISCSI_INITIAL_R2T_YES } else { sys::ISCSI_INITIAL_R2T_NO };
    let raw = context.as_ptr();
    // SAFETY: the context lives and is not logged in; the strings end with a zero byte and are copied.
    let refused = unsafe {
        // Time is kept by `Session`: the library frees a PDU on timeout that may be half sent.
        sys::iscsi_set_timeout(raw, 0);
        sys::iscsi_set_noautoreconnect(raw, 1);
        let mut refused = sys::iscsi_set_targetname(raw, target.as_ptr())
            | sys::iscsi_set_session_type(raw, sys::ISCSI_SESSION_NORMAL)
            | sys::iscsi_set_header_digest(raw, digest)
            | sys::iscsi_set_immediate_data(raw, immediate)
            | sys::iscsi_set_initial_r2t(raw, r2t)
            | sys::iscsi_set_isid_random(raw, std::process::id() & 0xff_ffff, qualifier & 0xffff);
        if let Some(chap) = &url.chap {
            refused |= sys::iscsi_set_initiator_username_pwd(raw, chap.user.as_ptr(), chap.secret.as_ptr());
        }
        if let Some(chap) = &url.mutual_chap {
            refused |= sys::iscsi_set_target_username_pwd(raw, chap.user.as_ptr(), chap.secret.as_ptr());
        }
        refused
    };
    if refused == 0 { Ok(()) } else { Err(refuse(&context.error())) }
}
