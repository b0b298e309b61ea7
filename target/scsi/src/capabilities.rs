//! What a backend can do, and the limits of the commands that follow from it.

/// What the backend can do. The Block Limits, Logical Block Provisioning and Block Device Characteristics VPD pages, the
/// caching mode page and the command set are derived from it.
#[derive(Debug, Clone)]
pub struct Capabilities {
    /// Number of logical blocks.
    pub blocks: u64,
    /// Bytes in a logical block: 512 or 4096.
    pub block_size: u32,
    /// log2 of logical blocks in a physical block (3 = 512e on 4096).
    pub physical_block_exponent: u8,
    /// Writes are refused (DATA PROTECT, WRITE PROTECTED).
    pub read_only: bool,
    /// Writes may sit in a volatile cache until a flush.
    pub volatile_cache: bool,
    /// Deallocation, where the backend has it; blocks that were deallocated read as zeros (LBPRZ).
    pub unmap: Option<Unmap>,
    /// Most logical blocks that one command may transfer.
    pub max_transfer_blocks: u32,
    /// Logical blocks of a transfer that the backend likes best.
    pub optimal_transfer_blocks: u32,
    /// A spinning disk (RPM unknown) rather than a solid state one.
    pub rotational: bool,
}

/// Deallocation as the backend does it.
#[derive(Debug, Clone, Copy)]
pub struct Unmap {
    /// Logical blocks in the smallest unit that can be deallocated.
    pub granularity: u32,
    /// First logical block of such a unit.
    pub alignment: u32,
}

/// The most blocks that one WRITE SAME writes: bounds the time that it takes.
const WRITE_SAME_BLOCKS: u64 = 1 << 15;

/// UNMAP block descriptors in one command: with the header they fit in 4096 bytes.
const UNMAP_DESCRIPTORS: u32 = 255;

/// Limits on single commands: enforced at decoding, reported in the Block Limits VPD page (SBC-3 6.5.3).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// MAXIMUM TRANSFER LENGTH, at least 1.
    pub transfer: u32,
    /// OPTIMAL TRANSFER LENGTH; 0 = not reported.
    pub optimal_transfer: u32,
    /// MAXIMUM COMPARE AND WRITE LENGTH; 0 = COMPARE AND WRITE isn't there.
    pub compare_and_write: u8,
    /// MAXIMUM WRITE SAME LENGTH.
    pub write_same: u64,
    /// MAXIMUM UNMAP BLOCK DESCRIPTOR COUNT; 0 = UNMAP isn't there.
    pub unmap_descriptors: u32,
}

impl Limits {
    pub(crate) fn of(capabilities: &Capabilities) -> Self {
        // Lengths in bytes are 32 bits wide in iSCSI: a larger transfer can't be asked for.
        let most = u32::MAX / capabilities.block_size.max(1);
        let transfer = match capabilities.max_transfer_blocks {
            0 => most,
            n => n.min(most),
        };
        let optimal = capabilities.optimal_transfer_blocks;
        Self {
            transfer,
            optimal_transfer: if optimal > transfer { 0 } else { optimal },
            // Its Data-Out Buffer carries each block twice.
            compare_and_write: u8::try_from(transfer / 2).unwrap_or(u8::MAX),
            write_same: WRITE_SAME_BLOCKS,
            unmap_descriptors: if capabilities.unmap.is_some() { UNMAP_DESCRIPTORS } else { 0 },
        }
    }
}
