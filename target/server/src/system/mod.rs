//! What the systems do each in their own way: signals, users, processes, clocks, memory. The names are the same for all.

#[cfg_attr(unix, path = "unix.rs")]
#[cfg_attr(windows, path = "windows.rs")]
mod here;
mod memory;

pub use here::{
    FileId, Reload, Stop, cpu_time, data_folder, detach, file_id, is_alive, is_device, is_privileged, is_same, kernel,
    name, outlive_large_files, sync_folder,
};
pub use memory::{give_back, prepare};

#[cfg(windows)]
pub use here::{ask_to_reload, ask_to_stop};
