//! Why a ring can't be set up, with the setting to change.

use rustix::io::Errno;
use std::fmt;

/// The ring could not be set up.
///
/// ```
/// use tapecast::driver::SetupError;
///
/// let error = SetupError::Disabled(2);
/// assert!(error.to_string().contains("`sysctl kernel.io_uring_disabled=0`"));
/// ```
#[derive(Debug)]
pub enum SetupError {
    /// The kernel has no io_uring, or a sandbox hides it.
    Missing,
    /// The sysctl `kernel.io_uring_disabled` forbids it: its value.
    Disabled(u8),
    /// A seccomp filter or a security module forbids it.
    Forbidden,
    /// The kernel is older than 6.1, or lacks this feature.
    Feature(&'static str),
    /// Memory or descriptors ran out, or a step failed: which one, and how.
    Failed(&'static str, std::io::Error),
}

impl SetupError {
    pub(super) fn from_setup(error: std::io::Error) -> SetupError {
        match error.raw_os_error().map(Errno::from_raw_os_error) {
            Some(Errno::NOSYS) => SetupError::Missing,
            Some(Errno::PERM | Errno::ACCESS) => match disabled_sysctl() {
                Some(value @ 1..) => SetupError::Disabled(value),
                _ => SetupError::Forbidden,
            },
            Some(Errno::INVAL) => {
                SetupError::Feature("deferred task work (IORING_SETUP_DEFER_TASKRUN)")
            }
            _ => SetupError::Failed("io_uring_setup", error),
        }
    }
}

fn disabled_sysctl() -> Option<u8> {
    std::fs::read_to_string("/proc/sys/kernel/io_uring_disabled").ok()?.trim().parse().ok()
}

impl fmt::Display for SetupError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SetupError::Missing => formatter.write_str(
                "this kernel has no io_uring, or a sandbox hides it: Linux 6.1 or later is needed \
                 (under gVisor there is none)",
            ),
            SetupError::Disabled(value) => write!(
                formatter,
                "io_uring is disabled: kernel.io_uring_disabled is {value}; set it to 0 with \
                 `sysctl kernel.io_uring_disabled=0`{}",
                if *value == 1 { ", or join kernel.io_uring_group" } else { "" }
            ),
            SetupError::Forbidden => formatter.write_str(
                "io_uring is forbidden by a seccomp filter or security module: in a container, \
                 allow io_uring_setup, io_uring_enter and io_uring_register in the seccomp profile \
                 (`--security-opt seccomp=FILE`)",
            ),
            SetupError::Feature(feature) => {
                write!(formatter, "the kernel lacks {feature}: Linux 6.1 or later is needed")
            }
            SetupError::Failed(place, error) => write!(formatter, "{place} failed: {error}"),
        }
    }
}

impl std::error::Error for SetupError {}
