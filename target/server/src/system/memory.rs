//! Memory and files that the system lends: how much of either there may be, and that it is given back.

/// Allocations from this size on are mappings of their own, which go back to the system at once.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const MAPPED: libc::c_int = 128 << 10;

/// To be called once, before there are threads.
pub fn prepare() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        // glibc raises its limit with each mapping that is freed: buffers of ended connections would stay in its heaps, used.
        // SAFETY: mallopt(3) is called before there are threads.
        unsafe { libc::mallopt(libc::M_MMAP_THRESHOLD, MAPPED) };
    }
    #[cfg(unix)]
    raise_file_limit();
}

/// As many open files as the system lets this process have: each connection is one.
#[cfg(unix)]
fn raise_file_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    // Where it is refused there are fewer connections, and each that is one too many is told of.
    let _ = setrlimit(Resource::Nofile, rustix::process::Rlimit { current: limit.maximum, ..limit });
}

/// Gives unused memory of the allocator's heaps back to the system.
pub fn give_back() {
    // SAFETY: malloc_trim(3) may be called at any time, by any thread.
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    unsafe {
        libc::malloc_trim(0)
    };
}
