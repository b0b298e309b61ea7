//! What a guest's kernel complains of, from its console.

/// A line with one of these is a complaint.
const COMPLAINTS: &[&str] = &[
    "I/O error",
    "critical target error",
    "critical medium error",
    "critical space allocation error",
    "protection error",
    "Buffer I/O error",
    "lost async page write",
    "EXT4-fs error",
    "EXT4-fs warning",
    "EXT4-fs (dm-0): Remounting filesystem read-only",
    "JBD2: ",
    "XFS (dm-0): Corruption",
    "XFS (dm-0): log I/O error",
    "XFS (dm-0): metadata I/O error",
    "Internal error xfs",
    "detected conn error",
    "session recovery timed out",
    "ping timeout of",
    "Sense Key",
    "rejecting I/O",
    "Unaligned partial completion",
    "WARNING: ",
    "BUG: ",
    "Oops",
    "general protection fault",
    "blocked for more than",
    "soft lockup",
    "Out of memory",
];

/// Lines that Debian's kernel says in runs without any fault, too.
const HARMLESS: &[&str] = &[
    // At logout: the initiator's own work queues.
    "workqueue: WQ_MEM_RECLAIM",
    "check_flush_dependency",
    // The guest says how it ends.
    "sysrq: Trigger a crash",
];

/// What the kernel complained of, each line as it stands, without those that contain one of `expected`.
pub fn complaints(lines: &[String], expected: &[&str]) -> Vec<String> {
    let is_complaint = |line: &str| {
        let holds = |texts: &[&str]| texts.iter().any(|text| line.contains(text));
        holds(COMPLAINTS) && !holds(HARMLESS) && !holds(expected)
    };
    // Only what the kernel says: `[   12.345678] …`; a program's output is judged by the script.
    let from_kernel = |line: &str| line.trim_start_matches('<').trim_start().starts_with('[');
    lines.iter().filter(|line| from_kernel(line) && is_complaint(line)).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<String> {
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn errors_of_disks_and_file_systems_are_found() {
        let log = lines(
            "[    1.0] sd 2:0:0:0: [sda] Attached SCSI disk\n\
             [   20.1] blk_update_request: I/O error, dev sda, sector 8 op 0x1:(WRITE)\n\
             I/O error: said by a program\n\
             [   20.2] EXT4-fs error (device dm-0): ext4_find_entry:1455\n\
             [   20.3] EXT4-fs (dm-0): mounted filesystem with ordered data mode",
        );
        assert_eq!(complaints(&log, &[]), [log[1].clone(), log[3].clone()]);
        assert_eq!(complaints(&log, &["dev sda"]), [log[3].clone()]);
    }

    #[test]
    fn the_warning_at_logout_is_known_and_others_are_not() {
        let log = lines(
            "[   30.0] workqueue: WQ_MEM_RECLAIM iscsi_conn_cleanup:__iscsi_unbind_session is flushing !WQ_MEM_RECLAIM\n\
             [   30.0] WARNING: CPU: 0 PID: 9 at kernel/workqueue.c:2623 check_flush_dependency+0x100\n\
             [   31.0] WARNING: CPU: 1 PID: 9 at block/blk-mq.c:1 somewhere",
        );
        assert_eq!(complaints(&log, &[]), [log[2].clone()]);
    }
}
