//! The target as a login sees it, through the connection that it came by.

use core::net::SocketAddr;

use iesp_iscsi::login::{Admission, Environment, is_same_name};

use super::{PORTAL_GROUP, Target};
use crate::board::{Board, Random};

pub(super) struct Door<'t, 'm, B: Board, const CONNECTIONS: usize> {
    pub(super) target: &'t Target<'m, B, CONNECTIONS>,
    /// The address that the initiator reached.
    pub(super) local: SocketAddr,
}

impl<B: Board, const CONNECTIONS: usize> Door<'_, '_, B, CONNECTIONS> {
    fn knows(&self, target: Option<&str>) -> bool {
        target.is_none_or(|name| is_same_name(name, &self.target.name))
    }
}

impl<B: Board, const CONNECTIONS: usize> Environment for Door<'_, '_, B, CONNECTIONS> {
    fn random(&mut self, bytes: &mut [u8]) {
        self.target.random.borrow_mut().fill(bytes);
    }

    fn admit(&self, _initiator: &str, target: Option<&str>) -> Admission {
        if !self.knows(target) {
            Admission::NotFound
        } else if self.target.credentials.is_some() {
            Admission::Authenticated
        } else {
            Admission::Open
        }
    }

    fn has_room(&self, _initiator: &str, _isid: [u8; 6], _target: Option<&str>) -> bool {
        // There are as many seats as connections.
        true
    }

    fn has_session(&self, initiator: &str, isid: [u8; 6], target: Option<&str>, _tsih: u16) -> bool {
        target.is_some() && self.target.seats.find(initiator, isid).is_some()
    }

    fn initiator_secret(&self, _initiator: &str, target: Option<&str>, name: &str, with: &mut dyn FnMut(&[u8])) {
        if let Some(user) = &self.target.credentials
            && user.name == name
            && self.knows(target)
        {
            with(user.secret.as_bytes());
        }
    }

    fn target_secret(&self, _initiator: &str, _target: Option<&str>, _with: &mut dyn FnMut(&str, &[u8])) {}

    fn target(&self, index: usize) -> Option<&str> {
        (index == 0).then_some(self.target.name.as_str())
    }

    fn portal(&self, target: usize, index: usize) -> Option<(SocketAddr, u16)> {
        (target == 0 && index == 0).then_some((self.target.portal.unwrap_or(self.local), PORTAL_GROUP))
    }

    fn portal_group_tag(&self) -> u16 {
        PORTAL_GROUP
    }

    fn alias(&self, _target: Option<&str>) -> Option<&str> {
        None
    }
}
