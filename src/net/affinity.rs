//! Threads that stay on a core.

/// The cores of the first thread that was put on one: those of the process, as a rule.
#[cfg(target_os = "linux")]
static CORES_BEFORE: std::sync::OnceLock<rustix::thread::CpuSet> = std::sync::OnceLock::new();

/// Keeps the calling thread on a core. Returns `false` if it cannot be there.
pub(crate) fn pin(core: usize) -> bool {
    #[cfg(target_os = "linux")]
    if let Ok(cores) = rustix::thread::sched_getaffinity(None) {
        CORES_BEFORE.get_or_init(|| cores);
    }
    core_affinity::set_for_current(core_affinity::CoreId { id: core })
}

/// Lets the calling thread run on all cores again, after it was started by one that stays on its core. Linux only:
/// other systems do not pass it on.
pub(super) fn unpin() {
    #[cfg(target_os = "linux")]
    if let Some(cores) = CORES_BEFORE.get() {
        // Without the right to do it, the thread works as well.
        let _ = rustix::thread::sched_setaffinity(None, cores);
    }
}
