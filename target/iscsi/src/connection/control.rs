//! Login, text, NOP and logout: what a connection answers by itself.

use super::{Close, Connection, Event, Phase};
use crate::discovery::Nexus;
use crate::login::{Environment, Progress};
use crate::outbox::{Digests, Outbox};
use crate::pdu::{
    Bhs, LoginRequest, LoginResponse, LoginStatus, LogoutReason, LogoutRequest, LogoutResponse, NopIn, NopOut, Opcode,
    RESERVED_TAG, RejectReason, TextRequest,
};

impl<const TASKS: usize, const TEXT: usize> Connection<TASKS, TEXT> {
    /// A unit before full feature phase (RFC 7143 6.3).
    pub(super) fn login<'b>(
        &mut self,
        bhs: &Bhs,
        data: &[u8],
        out: &mut Outbox<'_>,
        env: &mut dyn Environment,
    ) -> Result<Event<'b>, Close> {
        let request = match LoginRequest::parse(bhs) {
            Ok(request) if bhs.opcode() == Some(Opcode::LoginRequest) => request,
            _ => {
                self.statistics.format_errors += 1;
                return Err(Close::LoginFailed(self.refuse_login(bhs, out)));
            }
        };
        if !self.login.has_begun() {
            // 11.12.9: a login is immediate: its CmdSN is the one that the first command will have.
            self.window = super::window::Window::new(request.cmd_sn);
            self.stat_sn = request.exp_stat_sn;
        }
        let mut text = [0; TEXT];
        match self.login.request(&request, data, env, &mut text) {
            Progress::Continue(response, len) => {
                self.login_response(response, &text[..len], out);
                Ok(Event::Handled)
            }
            Progress::Complete(response, len) => {
                self.login_response(LoginResponse { tsih: self.tsih, ..response }, &text[..len], out);
                self.accepted = Some(response);
                if let Some(established) = self.login.established() {
                    self.parameters = *established.parameters;
                    self.discovery = established.target.is_none();
                }
                self.phase = Phase::Full;
                self.digests = Digests::of(&self.parameters);
                Ok(Event::LoggedIn)
            }
            Progress::Failed(response) => {
                self.login_response(response, &[], out);
                Err(Close::LoginFailed(response.status))
            }
        }
    }

    /// Refuses a login after [`Event::LoggedIn`]: who may come in has changed meanwhile, or another took the last place. What the
    /// outbox was given for the event must have been taken back; the connection is closed once this was sent.
    pub fn refuse_completed(&mut self, status: LoginStatus, out: &mut Outbox<'_>) {
        let Some(accepted) = self.accepted.take() else { return };
        self.digests = Digests::default();
        // RFC 7143 11.13.4: the StatSN of the response that is not sent.
        self.stat_sn = self.stat_sn.wrapping_sub(1);
        self.phase = Phase::Login;
        // 11.13.5: a refusal has no stages and no TSIH.
        self.login_response(LoginResponse { status, tsih: 0, transit: false, ..accepted }, &[], out);
    }

    fn login_response(&mut self, response: LoginResponse, text: &[u8], out: &mut Outbox<'_>) {
        let numbers = self.next_status();
        // 6.3: no digests before full feature phase.
        out.push(Digests::default(), LoginResponse { numbers, ..response }.emit(), text);
    }

    /// 11.13.5, 020bh: "invalid during login"; or 0200h for a login that is malformed.
    pub(super) fn refuse_login(&mut self, bhs: &Bhs, out: &mut Outbox<'_>) -> LoginStatus {
        let is_login = bhs.opcode() == Some(Opcode::LoginRequest);
        let status = if is_login { LoginStatus::InitiatorError } else { LoginStatus::InvalidDuringLogin };
        if out.room() >= Self::OUTBOX_MIN {
            let response = LoginResponse::failure(bhs, status);
            self.login_response(response, &[], out);
        }
        status
    }

    pub(super) fn text_request(
        &mut self,
        bhs: &Bhs,
        data: &[u8],
        out: &mut Outbox<'_>,
        env: &mut dyn Environment,
    ) -> Event<'static> {
        let Ok(request) = TextRequest::parse(bhs) else {
            self.reject(RejectReason::InvalidPduField, bhs, out);
            return Event::Handled;
        };
        let mut text = [0; TEXT];
        let Some(established) = self.login.established() else { return Event::Handled };
        let nexus = Nexus::from(&established);
        match self.text.request(&request, data, nexus, &mut self.parameters, env, &mut text) {
            Ok((response, len)) => {
                self.accept(request.immediate);
                let numbers = self.next_status();
                let response = crate::pdu::TextResponse { numbers, ..response };
                out.push(self.digests, response.emit(), &text[..len]);
            }
            Err(reason) => self.reject(reason, bhs, out),
        }
        Event::Handled
    }

    pub(super) fn nop_out(&mut self, bhs: &Bhs, data: &[u8], out: &mut Outbox<'_>) -> Event<'static> {
        let Ok(ping) = NopOut::parse(bhs) else {
            self.reject(RejectReason::InvalidPduField, bhs, out);
            return Event::Handled;
        };
        self.accept(ping.immediate);
        // 11.18.1: with the reserved task tag it is an answer to a NOP-In, or wants none.
        if ping.itt == RESERVED_TAG {
            return Event::Handled;
        }
        let numbers = self.next_status();
        let pong = NopIn { lun: ping.lun, itt: ping.itt, ttt: RESERVED_TAG, numbers };
        // 11.19: as much of the ping's data as the initiator can take.
        let len = data.len().min(self.parameters.peer_max_recv_data_segment_length as usize);
        out.push(self.digests, pong.emit(), &data[..len]);
        self.statistics.nops_sent += 1;
        Event::Handled
    }

    pub(super) fn logout_request(&mut self, bhs: &Bhs, out: &mut Outbox<'_>) -> Event<'static> {
        let Ok(request) = LogoutRequest::parse(bhs) else {
            self.reject(RejectReason::InvalidPduField, bhs, out);
            return Event::Handled;
        };
        let here = self.login.established().is_some_and(|established| established.cid == request.cid);
        let response = match request.reason {
            LogoutReason::CloseSession => 0,
            LogoutReason::CloseConnection if here => 0,
            LogoutReason::CloseConnection => 1,
            // 11.14: recovery needs ErrorRecoveryLevel 2.
            LogoutReason::RemoveForRecovery => 2,
            LogoutReason::Unknown(_) => {
                self.reject(RejectReason::InvalidPduField, bhs, out);
                return Event::Handled;
            }
        };
        self.accept(request.immediate);
        if response == 0 {
            self.statistics.logout = Some(request.reason);
            self.phase = Phase::LoggingOut { itt: request.itt };
            return Event::Logout;
        }
        self.answer_logout(request.itt, response, out);
        Event::Handled
    }

    /// Answers the logout: all tasks are quiet. The connection is closed once this was sent. The outbox has room for
    /// [`super::OUTBOX_MIN`] bytes.
    pub fn logout_response(&mut self, out: &mut Outbox<'_>) {
        if let Phase::LoggingOut { itt } = self.phase {
            self.answer_logout(itt, 0, out);
        }
    }

    fn answer_logout(&mut self, itt: u32, response: u8, out: &mut Outbox<'_>) {
        let response = LogoutResponse {
            response,
            itt,
            numbers: self.next_status(),
            time2wait: self.parameters.default_time2wait,
            time2retain: self.parameters.default_time2retain,
        };
        out.push(self.digests, response.emit(), &[]);
    }
}
