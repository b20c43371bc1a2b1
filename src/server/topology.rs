//! Cores for shards, and descriptors for connections.

use super::ServerError;
use crate::base::Limits;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::num::NonZeroU16;

/// A core that a shard runs on.
#[derive(Clone, Copy, Debug)]
pub struct Core(usize);

impl Core {
    /// Keeps the calling thread on this core.
    pub fn pin(self) {
        let mut set = CpuSet::new();
        set.set(self.0);
        if let Err(error) = sched_setaffinity(None, &set) {
            tracing::warn!(core = self.0, %error, "a shard could not be pinned to its core");
        }
    }
}

/// The cores for `shards` shards, or for one on every core, out of those that
/// this process may use.
pub fn cores(shards: Option<NonZeroU16>) -> Result<Vec<Core>, ServerError> {
    let allowed = sched_getaffinity(None).unwrap_or_default();
    let cores: Vec<Core> =
        (0..CpuSet::MAX_CPU).filter(|&core| allowed.is_set(core)).map(Core).collect();
    // A quota of the control group may grant less time than there are cores.
    let granted = std::thread::available_parallelism().map_or(1, usize::from);
    let per_core = cores.len().min(granted).max(1);
    let count = shards.map_or(per_core, |shards| usize::from(shards.get()));
    if count > cores.len() {
        return Err(ServerError::Shards(count as u16, cores.len()));
    }
    Ok(cores[..count].to_vec())
}

/// The connections that a shard has room for: a ring's table of descriptors is at
/// most as long as the limit of open files, which is raised as far as it may be.
pub fn slots_max(limits: &Limits) -> usize {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let descriptors = match setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        Ok(()) => maximum,
        Err(_) => current,
    };
    let descriptors = descriptors.map_or(usize::MAX, |count| count as usize);
    let wanted = limits.connections_max.saturating_add(limits.connections_refusing_max);
    // The kernel's own bound of a table is 2^20.
    wanted.min(descriptors).min(1 << 20)
}

/// A number that nobody can guess.
pub fn random_seed() -> u64 {
    RandomState::new().build_hasher().finish()
}
