//! Cores for shards, and descriptors for connections.

use super::error::ServerError;
use crate::base::Limits;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::num::NonZeroU16;
use std::path::{Path, PathBuf};

/// A core that a shard runs on.
#[derive(Clone, Copy, Debug)]
pub struct Core(usize);

impl Core {
    /// Keeps the calling thread on this core.
    pub fn pin(self) {
        let mut set = CpuSet::new();
        set.set(self.0);
        if let Err(error) = sched_setaffinity(None, &set) {
            tracing::warn!(core = self.0, %error, "can't pin a shard to its core");
        }
    }
}

/// The cores for `shards` shards, or for one on every core that
/// this process may use.
pub fn cores(shards: Option<NonZeroU16>) -> Result<Vec<Core>, ServerError> {
    let allowed = sched_getaffinity(None).unwrap_or_default();
    let cores: Vec<Core> =
        (0..CpuSet::MAX_CPU).filter(|&core| allowed.is_set(core)).map(Core).collect();
    // A quota of the control group may grant less time than the cores have.
    let granted = std::thread::available_parallelism().map_or(1, usize::from);
    let per_core = cores.len().min(granted).max(1);
    let count = shards.map_or(per_core, |shards| usize::from(shards.get()));
    if count > cores.len() {
        return Err(ServerError::Shards(count as u16, cores.len()));
    }
    Ok(cores[..count].to_vec())
}

/// How many connections a shard has room for. A ring's table of descriptors is at
/// most as long as the limit of open files, which is raised to its maximum.
pub fn slots_max(limits: &Limits) -> usize {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let descriptors = match setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        Ok(()) => maximum,
        Err(_) => current,
    };
    let descriptors = descriptors.map_or(usize::MAX, |count| count as usize);
    let wanted = limits.connections_max.saturating_add(limits.connections_refusing_max);
    // The kernel limits a table to 2^20.
    wanted.min(descriptors).min(1 << 20)
}

/// Bytes of memory that this process may use: the least of the machine's memory and the limits of
/// its control groups. `None` if none can be read.
pub fn memory_bytes() -> Option<u64> {
    let machine = std::fs::read_to_string("/proc/meminfo").ok();
    let machine = machine.as_deref().and_then(memory_total);
    let groups = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let limits = groups.lines().flat_map(limit_files);
    let limits = limits.filter_map(|file| std::fs::read_to_string(file).ok()?.trim().parse().ok());
    limits.chain(machine).min()
}

/// `MemTotal` of `/proc/meminfo`, in bytes.
fn memory_total(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? << 10)
}

/// The files that may hold a memory limit for a line of `/proc/self/cgroup`: those of the
/// group and of every group above it. In a container the group's own path may be missing,
/// but its root exists.
fn limit_files(line: &str) -> Vec<PathBuf> {
    let mut words = line.splitn(3, ':').skip(1);
    let (Some(controllers), Some(path)) = (words.next(), words.next()) else { return Vec::new() };
    let (root, file) = match controllers {
        "" => ("/sys/fs/cgroup", "memory.max"),
        _ if controllers.split(',').any(|name| name == "memory") => {
            ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")
        }
        _ => return Vec::new(),
    };
    let group = Path::new(path.trim_start_matches('/'));
    group.ancestors().map(|group| Path::new(root).join(group).join(file)).collect()
}

/// An unpredictable number.
pub fn random_seed() -> u64 {
    RandomState::new().build_hasher().finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_from_the_machine_and_its_control_groups() {
        assert_eq!(memory_total("MemTotal:  16 kB\nMemFree: 1 kB\n"), Some(16 << 10));
        assert_eq!(memory_total("MemFree: 1 kB\n"), None);
        let files = |line| -> Vec<String> {
            limit_files(line).iter().map(|file| file.display().to_string()).collect()
        };
        assert_eq!(
            files("0::/pods/one"),
            [
                "/sys/fs/cgroup/pods/one/memory.max",
                "/sys/fs/cgroup/pods/memory.max",
                "/sys/fs/cgroup/memory.max"
            ]
        );
        assert_eq!(files("4:cpu,memory:/"), ["/sys/fs/cgroup/memory/memory.limit_in_bytes"]);
        assert!(files("5:devices:/").is_empty() && files("").is_empty());
        assert!(memory_bytes().is_some_and(|bytes| bytes > 1 << 20));
    }
}
