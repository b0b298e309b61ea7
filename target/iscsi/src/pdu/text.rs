//! Text Request and Text Response (RFC 7143 11.10, 11.11). Their text is their data.

use super::{Bhs, Malformed, Numbers, Opcode};

const FINAL: u8 = 0x80;
const CONTINUE: u8 = 0x40;

/// Keys of an initiator in full feature phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TextRequest {
    /// I: apart from the order of CmdSN.
    pub immediate: bool,
    /// F: the initiator has nothing more to say in this exchange.
    pub is_final: bool,
    /// C: the text goes on in the next request.
    pub cont: bool,
    /// LUN: what the target sent beside its Target Transfer Tag.
    pub lun: u64,
    /// Initiator Task Tag, the same in all requests of one exchange.
    pub itt: u32,
    /// Target Transfer Tag: the target's, or the reserved one where an exchange begins (11.10.4).
    pub ttt: u32,
    /// CmdSN.
    pub cmd_sn: u32,
    /// ExpStatSN.
    pub exp_stat_sn: u32,
}

impl TextRequest {
    /// The unit in a header whose opcode says so.
    ///
    /// # Errors
    /// Byte 1 where F and C are both set.
    pub const fn parse(bhs: &Bhs) -> Result<Self, Malformed> {
        // 11.10.2: a request whose text goes on is never the final one.
        if bhs.0[1] & (FINAL | CONTINUE) == FINAL | CONTINUE {
            return Err(Malformed { at: 1 });
        }
        Ok(Self {
            immediate: bhs.immediate(),
            is_final: bhs.0[1] & FINAL != 0,
            cont: bhs.0[1] & CONTINUE != 0,
            lun: bhs.lun(),
            itt: bhs.itt(),
            ttt: bhs.u32(20),
            cmd_sn: bhs.cmd_sn(),
            exp_stat_sn: bhs.exp_stat_sn(),
        })
    }

    /// The header, without the length of its data.
    pub fn emit(&self) -> Bhs {
        let mut bhs = Bhs::new(Opcode::TextRequest);
        if self.immediate {
            bhs.0[0] |= 0x40;
        }
        bhs.0[1] = flags(self.is_final, self.cont);
        bhs.set_u64(8, self.lun);
        bhs.set_u32(16, self.itt);
        bhs.set_u32(20, self.ttt);
        bhs.set_u32(24, self.cmd_sn);
        bhs.set_u32(28, self.exp_stat_sn);
        bhs
    }
}

/// The target's answer to a [`TextRequest`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TextResponse {
    /// F: the exchange is over.
    pub is_final: bool,
    /// C: the text goes on in the next response.
    pub cont: bool,
    /// LUN: comes back beside the tag.
    pub lun: u64,
    /// Initiator Task Tag.
    pub itt: u32,
    /// Target Transfer Tag: the reserved one where `is_final` is set, any other where it is not (11.11.4).
    pub ttt: u32,
    /// StatSN, ExpCmdSN, MaxCmdSN.
    pub numbers: Numbers,
}

impl TextResponse {
    /// The unit in a header whose opcode says so.
    ///
    /// # Errors
    /// Byte 1 where F and C are both set.
    pub const fn parse(bhs: &Bhs) -> Result<Self, Malformed> {
        // 11.11.2: a response whose text goes on is never the final one.
        if bhs.0[1] & (FINAL | CONTINUE) == FINAL | CONTINUE {
            return Err(Malformed { at: 1 });
        }
        Ok(Self {
            is_final: bhs.0[1] & FINAL != 0,
            cont: bhs.0[1] & CONTINUE != 0,
            lun: bhs.lun(),
            itt: bhs.itt(),
            ttt: bhs.u32(20),
            numbers: Numbers::parse(bhs),
        })
    }

    /// The header, without the length of its data.
    pub fn emit(&self) -> Bhs {
        let mut bhs = Bhs::new(Opcode::TextResponse);
        bhs.0[1] = flags(self.is_final, self.cont);
        bhs.set_u64(8, self.lun);
        bhs.set_u32(16, self.itt);
        bhs.set_u32(20, self.ttt);
        self.numbers.emit(&mut bhs);
        bhs
    }
}

const fn flags(is_final: bool, cont: bool) -> u8 {
    (if is_final { FINAL } else { 0 }) | (if cont { CONTINUE } else { 0 })
}

#[cfg(test)]
mod tests {
    use super::super::RESERVED_TAG;
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn request_both_ways() {
        let request = TextRequest {
            immediate: true,
            is_final: true,
            cont: false,
            lun: 0,
            itt: 0x0102_0304,
            ttt: RESERVED_TAG,
            cmd_sn: 0x11,
            exp_stat_sn: 0x22,
        };
        let mut bytes = [0; 48];
        bytes[..2].copy_from_slice(&[0x44, 0x80]);
        bytes[16..24].copy_from_slice(&[1, 2, 3, 4, 0xff, 0xff, 0xff, 0xff]);
        (bytes[27], bytes[31]) = (0x11, 0x22);
        assert_eq!(request.emit().0, bytes);
        assert_eq!(TextRequest::parse(&Bhs(bytes)), Ok(request));
    }

    #[test]
    fn response_both_ways() {
        let response = TextResponse {
            is_final: false,
            cont: true,
            lun: 1 << 48,
            itt: 5,
            ttt: 0xa0b0_c0d0,
            numbers: Numbers { stat_sn: 1, exp_cmd_sn: 2, max_cmd_sn: 3 },
        };
        let mut bytes = [0; 48];
        bytes[..2].copy_from_slice(&[0x24, 0x40]);
        bytes[9] = 1;
        bytes[19..24].copy_from_slice(&[5, 0xa0, 0xb0, 0xc0, 0xd0]);
        (bytes[27], bytes[31], bytes[35]) = (1, 2, 3);
        assert_eq!(response.emit().0, bytes);
        assert_eq!(TextResponse::parse(&Bhs(bytes)), Ok(response));
    }

    #[test]
    fn final_and_continued_is_malformed() {
        let mut bhs = Bhs::new(Opcode::TextRequest);
        bhs.0[1] = 0xc0;
        assert_eq!(TextRequest::parse(&bhs), Err(Malformed { at: 1 }));
        assert_eq!(TextResponse::parse(&bhs), Err(Malformed { at: 1 }));
    }

    proptest! {
        #![proptest_config(crate::login::fixture::config())]

        #[test]
        fn what_is_parsed_comes_back(bytes: [[u8; 16]; 3]) {
            let bhs = Bhs(bytes.concat().try_into().unwrap());
            if let Ok(request) = TextRequest::parse(&bhs) {
                prop_assert_eq!(TextRequest::parse(&request.emit()), Ok(request));
            }
            if let Ok(response) = TextResponse::parse(&bhs) {
                prop_assert_eq!(TextResponse::parse(&response.emit()), Ok(response));
            }
        }
    }
}
