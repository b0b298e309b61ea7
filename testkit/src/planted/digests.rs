//! Sessions without digests, so that what is changed on the way has no wrong one.

use iesp_initiator::Pdu;
use iesp_initiator::proxy::Tamper;
use iesp_iscsi::pdu::Opcode;

/// Offers the target no digests, whatever the initiator offers.
#[derive(Debug)]
pub struct NoDigests;

impl Tamper for NoDigests {
    fn request(&mut self, pdu: &mut Pdu) -> bool {
        if pdu.is(Opcode::LoginRequest) {
            pdu.set_key("HeaderDigest", "None");
            pdu.set_key("DataDigest", "None");
        }
        true
    }

    fn response(&mut self, _: &mut Pdu) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_offers_no_digests() {
        let text = b"InitiatorName=x\0HeaderDigest=CRC32C,None\0DataDigest=CRC32C\0";
        let mut login = Pdu::new(Opcode::LoginRequest).with_data(text);
        assert!(NoDigests.request(&mut login));
        assert_eq!(login.data, b"InitiatorName=x\0HeaderDigest=None\0DataDigest=None\0");
        let mut ping = Pdu::new(Opcode::NopOut).with_data(text);
        assert!(NoDigests.request(&mut ping));
        assert_eq!(ping.data, text);
    }
}
