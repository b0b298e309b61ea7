//! Structures of the C headers, with a table of their sizes and offsets.

use core::ffi::{c_char, c_int, c_uchar, c_uint, c_void};
use core::marker::{PhantomData, PhantomPinned};

use crate::values::{MAX_STRING_SIZE, SCSI_CDB_MAX_SIZE};

/// One session's state; opaque.
#[repr(C)]
pub struct iscsi_context {
    _opaque: [u8; 0],
    _not_send_not_sync_not_unpin: PhantomData<(*mut u8, PhantomPinned)>,
}

/// The library's chain of memory that belongs to a task; opaque.
#[repr(C)]
pub struct scsi_allocated_memory {
    _opaque: [u8; 0],
    _not_send_not_sync_not_unpin: PhantomData<(*mut u8, PhantomPinned)>,
}

/// A structure's size, alignment and the offset of each field, as they are here.
pub struct Layout {
    /// The structure's tag in C.
    pub name: &'static str,
    /// Size in bytes.
    pub size: usize,
    /// Alignment in bytes.
    pub align: usize,
    /// Name, offset and size of each field.
    pub fields: &'static [(&'static str, usize, usize)],
}

/// The size of the field that `_pick` points out.
const fn size_of_field<S, F>(_pick: fn(&S) -> &F) -> usize {
    size_of::<F>()
}

/// Declares structures and records each in [`LAYOUTS`]. Fields whose name begins with `_` have no name in C.
macro_rules! structures {
    ($($(#[$doc:meta])* struct $name:ident { $($(#[$fdoc:meta])* $field:ident: $ty:ty,)* })*) => {
        $($(#[$doc])* #[repr(C)] #[derive(Clone, Copy)] pub struct $name { $($(#[$fdoc])* pub $field: $ty,)* })*
        /// Every structure declared by this crate that C code reads or writes.
        pub const LAYOUTS: &[Layout] = &[$(Layout {
            name: stringify!($name),
            size: size_of::<$name>(),
            align: align_of::<$name>(),
            fields: &[$((
                stringify!($field),
                core::mem::offset_of!($name, $field),
                size_of_field::<$name, $ty>(|s| &s.$field),
            )),*],
        }),*];
    };
}

structures! {
    /// A parsed iSCSI URL; strings end with a zero byte.
    struct iscsi_url {
        /// `host[:port]`.
        portal: [c_char; MAX_STRING_SIZE + 1],
        /// The target's iSCSI name.
        target: [c_char; MAX_STRING_SIZE + 1],
        /// CHAP name of the initiator; empty for none.
        user: [c_char; MAX_STRING_SIZE + 1],
        /// CHAP secret of the initiator.
        passwd: [c_char; MAX_STRING_SIZE + 1],
        /// CHAP name of the target; empty for none.
        target_user: [c_char; MAX_STRING_SIZE + 1],
        /// CHAP secret of the target.
        target_passwd: [c_char; MAX_STRING_SIZE + 1],
        /// Logical unit number.
        lun: c_int,
        /// The context that it was parsed with.
        iscsi: *mut iscsi_context,
        /// TCP (0) or iSER (1).
        transport: c_uint,
    }

    /// Bytes with their length.
    struct iscsi_data {
        /// Length in bytes.
        size: usize,
        /// The bytes.
        data: *mut c_uchar,
    }

    /// Sense data as the library parsed it.
    struct scsi_sense {
        /// Response code: 70h to 73h.
        error_type: c_uchar,
        /// Sense key.
        key: c_uint,
        /// Additional sense code and qualifier: `asc << 8 | ascq`.
        ascq: c_int,
        /// Three one-bit fields: sense specific valid, parameter in CDB, bit pointer valid.
        _bits: u8,
        /// Bit that is wrong.
        bit_pointer: c_uchar,
        /// Byte that is wrong.
        field_pointer: u16,
    }

    /// Bytes that belong to a task.
    struct scsi_data {
        /// Length in bytes.
        size: c_int,
        /// The bytes; may be null when the length is 0.
        data: *mut c_uchar,
    }

    /// The POSIX `struct iovec`.
    struct scsi_iovec {
        /// First byte.
        iov_base: *mut c_void,
        /// Length in bytes.
        iov_len: usize,
    }

    /// How far a task's vector was used.
    struct scsi_iovector {
        /// The vector.
        iov: *mut scsi_iovec,
        /// Number of elements.
        niov: c_int,
        /// Number of elements allocated by the library; 0 when the vector is the caller's.
        nalloc: c_int,
        /// Bytes before the first element that is not consumed.
        offset: usize,
        /// Elements consumed.
        consumed: c_int,
    }

    /// A SCSI command and its result.
    struct scsi_task {
        /// Status: one of `SCSI_STATUS_*`.
        status: c_int,
        /// Length of the CDB in bytes.
        cdb_size: c_int,
        /// Direction: one of `SCSI_XFER_*`.
        xfer_dir: c_int,
        /// Expected data transfer length in bytes.
        expxferlen: c_int,
        /// The command descriptor block.
        cdb: [c_uchar; SCSI_CDB_MAX_SIZE],
        /// One of `SCSI_RESIDUAL_*`.
        residual_status: c_uint,
        /// Residual count in bytes.
        residual: usize,
        /// Sense data after CHECK CONDITION.
        sense: scsi_sense,
        /// Data-in without a vector; after CHECK CONDITION the sense length (two bytes) and the sense data.
        datain: scsi_data,
        /// The library's own.
        mem: *mut scsi_allocated_memory,
        /// The library's own.
        ptr: *mut c_void,
        /// Initiator task tag.
        itt: u32,
        /// CmdSN that it was sent with.
        cmdsn: u32,
        /// Logical unit number.
        lun: u32,
        /// The caller's vector for data-in.
        iovector_in: scsi_iovector,
        /// The caller's vector for data-out.
        iovector_out: scsi_iovector,
    }
}
