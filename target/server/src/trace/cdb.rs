//! A command in words: its name and the fields that matter (SPC-4, SBC-3). Commands that this target does not know have their
//! names, too: they are what one looks for.

use std::fmt::Write;

/// Name and fields.
pub fn describe(cdb: &[u8; 16]) -> String {
    let mut text = name(cdb).map_or_else(|| format!("opcode {:#04x}", cdb[0]), str::to_owned);
    fields(cdb, &mut text);
    if name(cdb).is_none() {
        text.push_str(" cdb=");
        for byte in cdb {
            let _ = write!(text, "{byte:02x}");
        }
    }
    text
}

fn name(cdb: &[u8; 16]) -> Option<&'static str> {
    let action = cdb[1] & 0x1f;
    iesp_scsi::command_name(cdb).or_else(|| {
        Some(match (cdb[0], action) {
            (0x00, _) => "TEST UNIT READY",
            (0x01, _) => "REZERO UNIT",
            (0x04, _) => "FORMAT UNIT",
            (0x07, _) => "REASSIGN BLOCKS",
            (0x16, _) => "RESERVE(6)",
            (0x17, _) => "RELEASE(6)",
            (0x1c, _) => "RECEIVE DIAGNOSTIC RESULTS",
            (0x1d, _) => "SEND DIAGNOSTIC",
            (0x23, _) => "READ FORMAT CAPACITIES",
            (0x3b, _) => "WRITE BUFFER",
            (0x3c, _) => "READ BUFFER",
            (0x37, _) => "READ DEFECT DATA(10)",
            (0x3e, _) => "READ LONG(10)",
            (0x42, _) => "UNMAP",
            (0x48, _) => "SANITIZE",
            (0x4c, _) => "LOG SELECT",
            (0x4d, _) => "LOG SENSE",
            (0x56, _) => "RESERVE(10)",
            (0x57, _) => "RELEASE(10)",
            (0x5e, 0) => "PERSISTENT RESERVE IN READ KEYS",
            (0x5e, 1) => "PERSISTENT RESERVE IN READ RESERVATION",
            (0x5e, 2) => "PERSISTENT RESERVE IN REPORT CAPABILITIES",
            (0x5e, 3) => "PERSISTENT RESERVE IN READ FULL STATUS",
            (0x5e, _) => "PERSISTENT RESERVE IN",
            (0x5f, 0) => "PERSISTENT RESERVE OUT REGISTER",
            (0x5f, 1) => "PERSISTENT RESERVE OUT RESERVE",
            (0x5f, 2) => "PERSISTENT RESERVE OUT RELEASE",
            (0x5f, 3) => "PERSISTENT RESERVE OUT CLEAR",
            (0x5f, 4) => "PERSISTENT RESERVE OUT PREEMPT",
            (0x5f, 5) => "PERSISTENT RESERVE OUT PREEMPT AND ABORT",
            (0x5f, 6) => "PERSISTENT RESERVE OUT REGISTER AND IGNORE EXISTING KEY",
            (0x5f, 7) => "PERSISTENT RESERVE OUT REGISTER AND MOVE",
            (0x5f, _) => "PERSISTENT RESERVE OUT",
            (0x7f, _) => "variable length CDB",
            (0x83, 0x10) => "POPULATE TOKEN",
            (0x83, 0x11) => "WRITE USING TOKEN",
            (0x83, _) => "EXTENDED COPY",
            (0x84, 0x07) => "RECEIVE ROD TOKEN INFORMATION",
            (0x84, _) => "RECEIVE COPY RESULTS",
            (0x85, _) => "ATA PASS-THROUGH(16)",
            (0x86, _) => "ACCESS CONTROL IN",
            (0x87, _) => "ACCESS CONTROL OUT",
            (0x89, _) => "COMPARE AND WRITE",
            (0x8b, _) => "ORWRITE(16)",
            (0x94, _) => "ZBC OUT",
            (0x95, _) => "ZBC IN",
            (0x9b, _) => "READ BUFFER(16)",
            (0x9c, _) => "WRITE ATOMIC(16)",
            (0x9e, 0x12) => "GET LBA STATUS",
            (0x9e, _) => "SERVICE ACTION IN(16)",
            (0xa1, _) => "ATA PASS-THROUGH(12)",
            (0xa2, _) => "SECURITY PROTOCOL IN",
            (0xb5, _) => "SECURITY PROTOCOL OUT",
            (0xa3, 0x05) => "REPORT IDENTIFYING INFORMATION",
            (0xa3, 0x0f) => "REPORT TIMESTAMP",
            (0xa3, _) => "MAINTENANCE IN",
            (0xa4, 0x0a) => "SET TARGET PORT GROUPS",
            (0xa4, _) => "MAINTENANCE OUT",
            (0xb7, _) => "READ DEFECT DATA(12)",
            _ => return None,
        })
    })
}

fn fields(cdb: &[u8; 16], text: &mut String) {
    let wide = |from: usize, len: usize| cdb[from..from + len].iter().fold(0_u64, |n, byte| n << 8 | u64::from(*byte));
    // Into a string: it cannot fail.
    let mut put = |name: &str, value: u64| {
        let _ = write!(text, " {name}={value}");
    };
    let mut flags: Vec<&str> = Vec::new();
    let mut flag = |bit: u8, name: &'static str| {
        if cdb[1] & bit != 0 {
            flags.push(name);
        }
    };
    match cdb[0] {
        0x08 | 0x0a => {
            put("lba", wide(1, 3) & 0x1f_ffff);
            put("blocks", if cdb[4] == 0 { 256 } else { cdb[4].into() });
        }
        0x28 | 0x2a | 0x2e | 0x2f | 0x34 | 0x35 | 0x41 => {
            put("lba", wide(2, 4));
            put("blocks", wide(7, 2));
        }
        0xa8 | 0xaa | 0xae | 0xaf => {
            put("lba", wide(2, 4));
            put("blocks", wide(6, 4));
        }
        0x88 | 0x8a | 0x8b | 0x8e | 0x8f | 0x90 | 0x91 | 0x93 => {
            put("lba", wide(2, 8));
            put("blocks", wide(10, 4));
        }
        0x89 => {
            put("lba", wide(2, 8));
            put("blocks", cdb[13].into());
        }
        0x9e if cdb[1] & 0x1f == 0x12 => {
            put("lba", wide(2, 8));
            put("allocation", wide(10, 4));
        }
        0x9e => put("allocation", wide(10, 4)),
        0x12 => {
            if cdb[1] & 1 != 0 {
                let _ = write!(text, " page={:#04x}", cdb[2]);
            }
            let _ = write!(text, " allocation={}", wide(3, 2));
        }
        0x03 => put("allocation", cdb[4].into()),
        0x1a | 0x5a => {
            let _ = write!(text, " page={:#04x} subpage={:#04x} control={}", cdb[2] & 0x3f, cdb[3], cdb[2] >> 6);
            let allocation = if cdb[0] == 0x1a { cdb[4].into() } else { wide(7, 2) };
            let _ = write!(text, " allocation={allocation}");
        }
        0x4d => {
            let _ = write!(text, " page={:#04x} allocation={}", cdb[2] & 0x3f, wide(7, 2));
        }
        0x15 => put("list", cdb[4].into()),
        0x55 | 0x42 => put("list", wide(7, 2)),
        0x5e => put("allocation", wide(7, 2)),
        0x5f => {
            let _ = write!(text, " scope-type={:#04x} list={}", cdb[2], wide(5, 4));
        }
        0x83 => put("list", wide(10, 4)),
        0x84 => put("allocation", wide(10, 4)),
        0x1b => {
            put("start", (cdb[4] & 1).into());
            put("power-condition", (cdb[4] >> 4).into());
        }
        0x1e => put("prevent", (cdb[4] & 3).into()),
        0xa0 => {
            let _ = write!(text, " select={:#04x} allocation={}", cdb[2], wide(6, 4));
        }
        0xa3 => put("allocation", wide(6, 4)),
        _ => {}
    }
    match cdb[0] {
        0x28 | 0x2a | 0x88 | 0x8a | 0xa8 | 0xaa | 0x89 => {
            flag(0x10, "DPO");
            flag(0x08, "FUA");
        }
        0x2f | 0x8f | 0xaf | 0x2e | 0x8e | 0xae => {
            flag(0x02, "BYTCHK");
            flag(0x04, "BYTCHK1");
        }
        0x35 | 0x91 | 0x34 | 0x90 => flag(0x02, "IMMED"),
        0x41 | 0x93 => {
            flag(0x10, "ANCHOR");
            flag(0x08, "UNMAP");
            flag(0x01, "NDOB");
        }
        0x1b => flag(0x01, "IMMED"),
        0x15 | 0x55 => {
            flag(0x10, "PF");
            flag(0x01, "SP");
        }
        0x1a | 0x5a => flag(0x08, "DBD"),
        _ => {}
    }
    for flag in flags {
        let _ = write!(text, " {flag}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_by_name() {
        let cdb = |bytes: &[u8]| {
            let mut cdb = [0; 16];
            cdb[..bytes.len()].copy_from_slice(bytes);
            describe(&cdb)
        };
        assert_eq!(cdb(&[0x12, 1, 0x83, 0, 0xff]), "INQUIRY page=0x83 allocation=255");
        assert_eq!(cdb(&[0x93, 9, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 8]), "WRITE SAME(16) lba=256 blocks=8 UNMAP NDOB");
        assert_eq!(
            cdb(&[0x5f, 6, 5, 0, 0, 0, 0, 0, 24]),
            "PERSISTENT RESERVE OUT REGISTER AND IGNORE EXISTING KEY scope-type=0x05 list=24"
        );
        assert_eq!(cdb(&[0xc0, 1]), "opcode 0xc0 cdb=c0010000000000000000000000000000");
        assert_eq!(cdb(&[0x0a, 0, 1, 0, 0]), "WRITE(6) lba=256 blocks=256");
    }
}
