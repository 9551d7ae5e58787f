//! How the end of a child process is noticed.

use std::{io, process::Child};
#[cfg(target_os = "linux")]
use std::{
    os::fd::{AsRawFd, OwnedFd},
    process,
    sync::OnceLock,
};

#[cfg(target_os = "linux")]
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use signal_hook::consts::SIGCHLD;
use signal_hook_mio::v1_0::Signals;

#[cfg(target_os = "linux")]
use crate::net::DescriptorSource;
use crate::net::{Interest, PollSource, PollToken, Registry};

/// A source with an event when the process may have ended. It is made before the process, so that no end is missed.
pub(super) enum EndNotice {
    /// The descriptor of the process, once there is one: an event for this process alone. Linux, from 5.3 on.
    #[cfg(target_os = "linux")]
    Descriptor(Option<OwnedFd>),
    /// SIGCHLD, which is for all children: each of them looks whether it is the one.
    Signals(Signals),
}

impl EndNotice {
    pub(super) fn new() -> io::Result<Self> {
        #[cfg(target_os = "linux")]
        if has_descriptors() {
            return Ok(EndNotice::Descriptor(None));
        }
        EndNotice::by_signals()
    }

    pub(super) fn by_signals() -> io::Result<Self> {
        Signals::new([SIGCHLD]).map(EndNotice::Signals)
    }

    /// Watches this process.
    pub(super) fn watch(&mut self, child: &Child) -> io::Result<()> {
        match self {
            #[cfg(target_os = "linux")]
            EndNotice::Descriptor(descriptor) => {
                *descriptor = Some(pidfd_open(Pid::from_child(child), PidfdFlags::empty())?);
            }
            EndNotice::Signals(_) => {}
        }
        Ok(())
    }

    /// Returns `false` if no process has ended since the last call.
    pub(super) fn may_have_ended(&mut self) -> bool {
        match self {
            #[cfg(target_os = "linux")]
            EndNotice::Descriptor(_) => true,
            EndNotice::Signals(signals) => signals.pending().count() > 0,
        }
    }
}

/// Returns `true` if the system has descriptors of processes.
#[cfg(target_os = "linux")]
fn has_descriptors() -> bool {
    static HAS_DESCRIPTORS: OnceLock<bool> = OnceLock::new();
    let own = || i32::try_from(process::id()).ok().and_then(Pid::from_raw);
    *HAS_DESCRIPTORS.get_or_init(|| own().is_some_and(|own| pidfd_open(own, PidfdFlags::empty()).is_ok()))
}

impl PollSource for EndNotice {
    fn register(&mut self, registry: &Registry, token: PollToken, interest: Interest) -> io::Result<()> {
        match self {
            #[cfg(target_os = "linux")]
            EndNotice::Descriptor(Some(descriptor)) => {
                DescriptorSource(&descriptor.as_raw_fd()).register(registry, token, interest)
            }
            #[cfg(target_os = "linux")]
            EndNotice::Descriptor(None) => Ok(()),
            EndNotice::Signals(signals) => signals.register(registry, token, interest),
        }
    }

    fn reregister(&mut self, _: &Registry, _: PollToken, _: Interest) -> io::Result<()> {
        // What is watched never changes.
        Ok(())
    }

    fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        match self {
            #[cfg(target_os = "linux")]
            EndNotice::Descriptor(Some(descriptor)) => DescriptorSource(&descriptor.as_raw_fd()).deregister(registry),
            #[cfg(target_os = "linux")]
            EndNotice::Descriptor(None) => Ok(()),
            EndNotice::Signals(signals) => signals.deregister(registry),
        }
    }
}
