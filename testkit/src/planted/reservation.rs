//! Reservations that are granted and not kept.

use std::collections::HashSet;

use iesp_initiator::Pdu;
use iesp_initiator::proxy::Tamper;
use iesp_iscsi::pdu::Opcode;

/// Answers GOOD to every RESERVE, and to PERSISTENT RESERVE OUT with the service actions that reserve, and forgets it.
#[derive(Debug, Default)]
pub struct LoseReservations {
    /// Commands whose data must not reach the target: it never saw what it belongs to.
    orphans: HashSet<u32>,
}

/// RESERVE(6) and RESERVE(10) (SPC-2 7.21, 7.22).
const RESERVE: [u8; 2] = [0x16, 0x56];
/// PERSISTENT RESERVE OUT (SPC-4 6.16).
const PERSISTENT_RESERVE_OUT: u8 = 0x5f;
/// Its service actions RESERVE, PREEMPT, PREEMPT AND ABORT.
const RESERVING: [u8; 3] = [0x01, 0x04, 0x05];

fn reserves(cdb: [u8; 16]) -> bool {
    RESERVE.contains(&cdb[0]) || (cdb[0] == PERSISTENT_RESERVE_OUT && RESERVING.contains(&(cdb[1] & 0x1f)))
}

impl Tamper for LoseReservations {
    fn request(&mut self, pdu: &mut Pdu) -> bool {
        match pdu.opcode() {
            Some(Opcode::ScsiCommand) if reserves(pdu.cdb()) => {
                pdu.make_test_unit_ready();
                self.orphans.insert(pdu.itt());
            }
            Some(Opcode::ScsiCommand) => {
                self.orphans.remove(&pdu.itt());
            }
            Some(Opcode::DataOut) => return !self.orphans.contains(&pdu.itt()),
            _ => {}
        }
        true
    }

    fn response(&mut self, _: &mut Pdu) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use iesp_initiator::field;

    use super::*;

    fn pdu(opcode: Opcode, tag: u8, cdb: &[u8]) -> Pdu {
        let mut pdu = Pdu::new(opcode).with(field::FLAGS, 0xa1).with(field::EXPECTED_LENGTH, 24).with_data(&[1; 24]);
        pdu.set(field::INITIATOR_TASK_TAG, u64::from(tag));
        pdu.bhs.0[32..32 + cdb.len()].copy_from_slice(cdb);
        pdu
    }

    #[test]
    fn reservations_become_test_unit_ready_and_their_data_goes_nowhere() {
        let mut tamper = LoseReservations::default();
        for cdb in [&[0x16][..], &[0x56], &[0x5f, 1], &[0x5f, 4]] {
            let mut command = pdu(Opcode::ScsiCommand, 7, cdb);
            assert!(tamper.request(&mut command));
            assert_eq!((command.cdb(), command.get(field::EXPECTED_LENGTH), command.data.len()), ([0; 16], 0, 0));
            assert_eq!((command.bhs.0[1], command.itt()), (0x81, 7));
            assert!(!tamper.request(&mut pdu(Opcode::DataOut, 7, &[])));
            assert!(tamper.request(&mut pdu(Opcode::DataOut, 8, &[])));
        }
        // Registering, releasing and everything else stays what it is.
        for cdb in [&[0x17][..], &[0x5f, 0], &[0x5f, 2], &[0x2a]] {
            let mut command = pdu(Opcode::ScsiCommand, 7, cdb);
            assert!(tamper.request(&mut command));
            assert_eq!(command, pdu(Opcode::ScsiCommand, 7, cdb));
            assert!(tamper.request(&mut pdu(Opcode::DataOut, 7, &[])));
        }
    }
}
