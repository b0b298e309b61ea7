//! From a login that is complete to a session, and how much memory either has.

use std::sync::Arc;

use iesp_iscsi::connection::OUTBOX_MIN;
use iesp_iscsi::login::Admission;
use iesp_iscsi::pdu::LoginStatus;
use iesp_iscsi::{Close, Outbox};
use tokio::time::Instant;

use super::tasks::{self, Workspace};
use super::{ANSWER_ROOM, Driver, End, OUTGOING, Refused, STALLED_ROOM};
use crate::luns::Luns;
use crate::statistics::Session;
use crate::target::Who;

impl Driver<'_> {
    /// Room for a session. False where there is no memory for it.
    pub(super) fn grow(&mut self) -> bool {
        let capacity = OUTGOING + STALLED_ROOM + ANSWER_ROOM.max(self.largest + OUTBOX_MIN);
        self.workspace = Workspace::new();
        self.inbox.grow(self.largest) && self.outgoing.grow(capacity)
    }

    /// Nothing is under way, and nothing came for a while: what others may need is given back.
    pub(super) fn give_back(&mut self) {
        self.slots = tasks::no_tasks();
        self.spare.clear();
        self.buffers.release();
        self.is_lean = true;
        if self.outgoing.is_empty() && self.inbox.pending().is_empty() && self.placing.is_none() {
            // Fresh memory is not there before it is used. Where there is none, the old one stays.
            let _ = self.grow();
        }
    }

    /// The login is refused after all.
    pub(super) fn refuse(&mut self, status: LoginStatus) -> End {
        self.outgoing.len = self.accepted_at;
        let mut out = Outbox::new(&mut self.outgoing.bytes, self.outgoing.len);
        self.protocol.refuse_completed(status, &mut out);
        self.outgoing.len = out.len();
        Close::LoginFailed(status).into()
    }

    /// The session that this login reinstates ends first (RFC 7143 6.3.5); the login's last response waits for that.
    pub(super) async fn join(&mut self) -> Result<(), Refused> {
        let Some(established) = self.protocol.established() else {
            return Err(Refused(LoginStatus::InitiatorError));
        };
        let (peer, name) = (self.peer, established.initiator.to_owned());
        let to = established.target.unwrap_or("discovery").to_owned();
        if let Some(wanted) = established.target {
            let (initiator, isid, authenticated) = (name.clone(), established.isid, established.authenticated);
            let (tsih, portal, peer, local) = (self.entry.tsih(), self.portal, self.peer, self.local);
            let (since, digests) = (Instant::now().into_std(), self.protocol.digests());
            let who = Who { initiator, isid, tsih, peer, portal, local, since, digests };
            let catalog = self.node.catalog();
            let offer = catalog.find(wanted, portal).ok_or(Refused(LoginStatus::NotFound))?;
            let (guest, luns) = offer.target.join(who, self.mail.clone(), catalog.settings.sessions).await?;
            // What is offered may have changed since the login began. Whoever changes it later sees this session.
            let catalog = self.node.catalog();
            let offer = catalog.find(wanted, portal).ok_or(Refused(LoginStatus::NotFound))?;
            match offer.access.admit(&name) {
                Admission::Open => {}
                Admission::Authenticated if authenticated => {}
                Admission::Authenticated => return Err(Refused(LoginStatus::AuthenticationFailure)),
                Admission::NotFound => return Err(Refused(LoginStatus::NotFound)),
                Admission::Forbidden => return Err(Refused(LoginStatus::AuthorizationFailure)),
                Admission::Unavailable => return Err(Refused(LoginStatus::ServiceUnavailable)),
            }
            self.luns = Arc::new(Luns::clone(&luns));
            self.entry.renew(&self.luns, self.protocol.statistics());
            self.guest = Some(guest);
            self.entry.keep();
            self.buffers.begin_session();
        }
        if !self.grow() {
            return Err(Refused(LoginStatus::OutOfResources));
        }
        self.joined = true;
        if let Some(established) = self.protocol.established() {
            let session = Session::new(&established, self.entry.tsih(), self.local, self.peer);
            self.node.statistics.session_began(self.entry.counters(), session);
        }
        tracing::info!(%peer, initiator = name, target = to, "logged in");
        Ok(())
    }
}
