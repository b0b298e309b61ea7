//! Reservations that are granted and not kept.

use std::collections::HashSet;

use super::pdu::{DATA_OUT, Pdu, SCSI_COMMAND};
use super::proxy::Tamper;

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
            SCSI_COMMAND if reserves(pdu.cdb()) => {
                pdu.make_test_unit_ready();
                self.orphans.insert(pdu.tag());
            }
            SCSI_COMMAND => {
                self.orphans.remove(&pdu.tag());
            }
            DATA_OUT => return !self.orphans.contains(&pdu.tag()),
            _ => {}
        }
        true
    }

    fn response(&mut self, _: &mut Pdu) {}
}

#[cfg(test)]
mod tests {
    use super::super::pdu::BHS;
    use super::*;

    fn pdu(opcode: u8, tag: u8, cdb: &[u8]) -> Pdu {
        let mut header = [0; BHS];
        (header[0], header[1], header[19], header[23]) = (opcode, 0xa1, tag, 24);
        header[32..32 + cdb.len()].copy_from_slice(cdb);
        Pdu { header, additional: Vec::new(), data: vec![1; 24] }
    }

    #[test]
    fn reservations_become_test_unit_ready_and_their_data_goes_nowhere() {
        let mut tamper = LoseReservations::default();
        for cdb in [&[0x16][..], &[0x56], &[0x5f, 1], &[0x5f, 4]] {
            let mut command = pdu(SCSI_COMMAND, 7, cdb);
            assert!(tamper.request(&mut command));
            assert_eq!((command.cdb(), command.word(20), command.data.len()), ([0; 16], 0, 0));
            assert_eq!((command.header[1], command.tag()), (0x81, 7));
            assert!(!tamper.request(&mut pdu(DATA_OUT, 7, &[])));
            assert!(tamper.request(&mut pdu(DATA_OUT, 8, &[])));
        }
        // Registering, releasing and everything else stays what it is.
        for cdb in [&[0x17][..], &[0x5f, 0], &[0x5f, 2], &[0x2a]] {
            let mut command = pdu(SCSI_COMMAND, 7, cdb);
            assert!(tamper.request(&mut command));
            assert_eq!(command, pdu(SCSI_COMMAND, 7, cdb));
            assert!(tamper.request(&mut pdu(DATA_OUT, 7, &[])));
        }
    }
}
