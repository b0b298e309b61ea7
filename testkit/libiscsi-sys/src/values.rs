//! Enumerations and constants of the C headers.

use core::ffi::{c_int, c_uint};

/// Discovery or normal session.
pub type iscsi_session_type = c_uint;
/// The header digests that are offered.
pub type iscsi_header_digest = c_uint;
/// What is offered for ImmediateData.
pub type iscsi_immediate_data = c_uint;
/// What is offered for InitialR2T.
pub type iscsi_initial_r2t = c_uint;
/// A task management function's code.
pub type iscsi_task_mgmt_funcs = c_uint;

/// A constant of the C headers as it is declared here.
pub struct Constant {
    /// Its name in the C headers.
    pub name: &'static str,
    /// Its value here.
    pub value: i64,
}

/// Declares constants and records each in [`CONSTANTS`].
macro_rules! constants {
    ($($(#[$doc:meta])* $name:ident: $ty:ty = $value:expr;)*) => {
        $($(#[$doc])* pub const $name: $ty = $value;)*
        /// Every constant declared by this crate.
        pub const CONSTANTS: &[Constant] =
            &[$(Constant { name: stringify!($name), value: $value }),*];
    };
}

constants! {
    /// A session for SCSI commands.
    ISCSI_SESSION_NORMAL: iscsi_session_type = 2;

    /// `HeaderDigest=None`.
    ISCSI_HEADER_DIGEST_NONE: iscsi_header_digest = 0;
    /// `HeaderDigest=None,CRC32C`.
    ISCSI_HEADER_DIGEST_NONE_CRC32C: iscsi_header_digest = 1;
    /// `HeaderDigest=CRC32C,None`.
    ISCSI_HEADER_DIGEST_CRC32C_NONE: iscsi_header_digest = 2;
    /// `HeaderDigest=CRC32C`.
    ISCSI_HEADER_DIGEST_CRC32C: iscsi_header_digest = 3;

    /// `ImmediateData=No`.
    ISCSI_IMMEDIATE_DATA_NO: iscsi_immediate_data = 0;
    /// `ImmediateData=Yes`.
    ISCSI_IMMEDIATE_DATA_YES: iscsi_immediate_data = 1;
    /// `InitialR2T=No`.
    ISCSI_INITIAL_R2T_NO: iscsi_initial_r2t = 0;
    /// `InitialR2T=Yes`.
    ISCSI_INITIAL_R2T_YES: iscsi_initial_r2t = 1;

    /// ABORT TASK.
    ISCSI_TM_ABORT_TASK: iscsi_task_mgmt_funcs = 1;
    /// ABORT TASK SET.
    ISCSI_TM_ABORT_TASK_SET: iscsi_task_mgmt_funcs = 2;
    /// LOGICAL UNIT RESET.
    ISCSI_TM_LUN_RESET: iscsi_task_mgmt_funcs = 5;
    /// TARGET WARM RESET.
    ISCSI_TM_TARGET_WARM_RESET: iscsi_task_mgmt_funcs = 6;

    /// SAM status GOOD.
    SCSI_STATUS_GOOD: c_int = 0;
    /// SAM status CHECK CONDITION.
    SCSI_STATUS_CHECK_CONDITION: c_int = 2;
    /// SAM status CONDITION MET.
    SCSI_STATUS_CONDITION_MET: c_int = 4;
    /// SAM status BUSY.
    SCSI_STATUS_BUSY: c_int = 8;
    /// SAM status RESERVATION CONFLICT.
    SCSI_STATUS_RESERVATION_CONFLICT: c_int = 0x18;
    /// SAM status TASK SET FULL.
    SCSI_STATUS_TASK_SET_FULL: c_int = 0x28;
    /// SAM status ACA ACTIVE.
    SCSI_STATUS_ACA_ACTIVE: c_int = 0x30;
    /// SAM status TASK ABORTED.
    SCSI_STATUS_TASK_ABORTED: c_int = 0x40;
    /// The library's own: the target moved; see [`crate::iscsi_get_target_address`].
    SCSI_STATUS_REDIRECT: c_int = 0x101;
    /// The library's own: given up because the connection was lost or the context destroyed.
    SCSI_STATUS_CANCELLED: c_int = 0x0f00_0000;
    /// The library's own: rejected by the target or answered in a way that makes no sense.
    SCSI_STATUS_ERROR: c_int = 0x0f00_0001;
    /// The library's own: timed out.
    SCSI_STATUS_TIMEOUT: c_int = 0x0f00_0002;

    /// No data.
    SCSI_XFER_NONE: c_int = 0;
    /// Data from the target.
    SCSI_XFER_READ: c_int = 1;
    /// Data to the target.
    SCSI_XFER_WRITE: c_int = 2;

    /// All data was transferred.
    SCSI_RESIDUAL_NO_RESIDUAL: c_uint = 0;
    /// Fewer bytes than expected were transferred.
    SCSI_RESIDUAL_UNDERFLOW: c_uint = 1;
    /// More bytes than expected would have been transferred.
    SCSI_RESIDUAL_OVERFLOW: c_uint = 2;

    /// Longest CDB that a task holds.
    SCSI_CDB_MAX_SIZE: usize = 16;
    /// Longest string in an [`crate::iscsi_url`], without its terminating zero.
    MAX_STRING_SIZE: usize = 255;
}
