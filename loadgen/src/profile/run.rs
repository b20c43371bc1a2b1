//! A whole run: its groups, and the settings of all of them.

use super::bound::FailIf;
use super::group::Group;
use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};
use tapecast::settings::Origin;

/// A whole run.
#[derive(Clone, Debug)]
pub struct Profile {
    pub threads: u32,
    pub core: Option<usize>,
    pub ramp: Duration,
    pub warmup: Duration,
    pub duration: Duration,
    pub start_at: Option<SystemTime>,
    pub server_pid: Option<u32>,
    pub fail_if: Vec<FailIf>,
    pub groups: Vec<Group>,
    /// The origins of the keys that were set: those of the run, then those of each group.
    pub(super) origins: Vec<BTreeMap<&'static str, Origin>>,
}

impl Default for Profile {
    fn default() -> Self {
        Profile {
            threads: 1,
            core: None,
            ramp: Duration::ZERO,
            warmup: Duration::from_secs(1),
            duration: Duration::from_secs(10),
            start_at: None,
            server_pid: None,
            fail_if: Vec::new(),
            groups: vec![Group::default()],
            origins: vec![BTreeMap::new(); 2],
        }
    }
}

impl Profile {
    /// The start of a message about a group: empty, if there is only one.
    pub fn place(&self, group: &Group) -> String {
        if self.groups.len() == 1 { String::new() } else { format!("group {}: ", group.name) }
    }
}
