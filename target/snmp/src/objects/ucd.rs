//! UCD-SNMP-MIB and UCD-DISKIO-MIB: memory, disks, CPU.

use super::Kind::{Counter32, Counter64, Integer, Text, Unsigned};
use super::Table::Disks;
use super::{Group, Source as S, bare, column, scalar};

/// memory, in kB.
pub(super) static MEMORY: Group = Group {
    prefix: &[1, 3, 6, 1, 4, 1, 2021, 4],
    objects: &[
        scalar(1, Integer, S::Fixed(0)),
        scalar(2, Text, S::Word("swap")),
        scalar(3, Integer, S::SwapTotal),
        scalar(4, Integer, S::SwapFree),
        scalar(5, Integer, S::RamTotal),
        scalar(6, Integer, S::RamUnused),
        // memTotalFree: iESP's free RAM.
        scalar(11, Integer, S::FreeRam),
        scalar(14, Integer, S::RamBuffers),
        scalar(15, Integer, S::RamCached),
        scalar(18, Counter64, S::SwapTotal),
        scalar(19, Counter64, S::SwapFree),
        scalar(20, Counter64, S::RamTotal),
        scalar(21, Counter64, S::RamUnused),
        scalar(22, Counter64, S::FreeRam),
        scalar(25, Counter64, S::RamBuffers),
        scalar(26, Counter64, S::RamCached),
    ],
};

/// dskTable: a row a logical unit.
pub(super) static DISK: Group = Group {
    prefix: &[1, 3, 6, 1, 4, 1, 2021, 9, 1],
    objects: &[
        column(1, Disks, Integer, S::DiskIndex),
        column(2, Disks, Text, S::DiskName),
        column(3, Disks, Text, S::DiskName),
        // dskMinimum, dskMinPercent: no limit is watched.
        column(4, Disks, Integer, S::Fixed(0)),
        column(5, Disks, Integer, S::Fixed(0)),
        column(6, Disks, Integer, S::DiskTotal),
        column(7, Disks, Integer, S::DiskAvailable),
        column(8, Disks, Integer, S::DiskUsed),
        // dskPercent: what is free, as iESP has it, where the MIB has what is used.
        column(9, Disks, Integer, S::DiskFree),
        column(11, Disks, Unsigned, S::DiskTotalLow),
        column(12, Disks, Unsigned, S::DiskTotalHigh),
        column(13, Disks, Unsigned, S::DiskAvailableLow),
        column(14, Disks, Unsigned, S::DiskAvailableHigh),
        column(15, Disks, Unsigned, S::DiskUsedLow),
        column(16, Disks, Unsigned, S::DiskUsedHigh),
        column(100, Disks, Integer, S::DiskErrorFlag),
        column(101, Disks, Text, S::DiskErrorMessage),
    ],
};

/// systemStats.
pub(super) static SYSTEM_STATISTICS: Group = Group {
    prefix: &[1, 3, 6, 1, 4, 1, 2021, 11],
    objects: &[
        scalar(1, Integer, S::Fixed(1)),
        scalar(2, Text, S::Word("systemStats")),
        // ssCpuUser: the program's share, as iESP has it.
        scalar(9, Integer, S::CpuUse),
        scalar(50, Counter32, S::CpuUser),
        scalar(51, Counter32, S::CpuNice),
        scalar(52, Counter32, S::CpuSystem),
        scalar(53, Counter32, S::CpuIdle),
        // The wait of iSCSI commands at iESP's place, the CPUs' at the MIB's.
        bare(54, Counter32, S::IoWait),
        scalar(54, Counter32, S::CpuWait),
    ],
};

/// diskIOTable: all disks at iESP's places, a row a logical unit at the MIB's.
pub(super) static DISK_IO: Group = Group {
    prefix: &[1, 3, 6, 1, 4, 1, 2021, 13, 15, 1, 1],
    objects: &[
        column(1, Disks, Integer, S::DiskIndex),
        bare(2, Text, S::DiskName),
        column(2, Disks, Text, S::DiskName),
        bare(3, Counter64, S::BytesRead),
        column(3, Disks, Counter32, S::BytesRead),
        bare(4, Counter64, S::BytesWritten),
        column(4, Disks, Counter32, S::BytesWritten),
        bare(5, Counter64, S::Reads),
        column(5, Disks, Counter32, S::Reads),
        bare(6, Counter64, S::Writes),
        column(6, Disks, Counter32, S::Writes),
        column(12, Disks, Counter64, S::BytesRead),
        column(13, Disks, Counter64, S::BytesWritten),
    ],
};

/// version.
pub(super) static VERSION: Group = Group {
    prefix: &[1, 3, 6, 1, 4, 1, 2021, 100],
    objects: &[bare(1, Integer, S::Fixed(1)), bare(2, Text, S::Version), bare(3, Text, S::BuildDate)],
};
