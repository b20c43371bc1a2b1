//! `--print-profile`: the effective profile, which is a profile itself.

use super::group_keys::GROUP_KEYS;
use super::run::Profile;
use super::run_keys::RUN_KEYS;
use std::collections::BTreeMap;
use tapecast::settings::{Key, Origin};

impl Profile {
    /// Every key with its value and its origin.
    pub fn text(&self) -> String {
        let mut text = lines(RUN_KEYS, self, &self.origins[0]);
        for (group, origins) in self.groups.iter().zip(&self.origins[1..]) {
            text += "\n[[group]]\n";
            text += &lines(GROUP_KEYS, group, origins);
        }
        text
    }
}

fn lines<T>(keys: &[Key<T>], target: &T, origins: &BTreeMap<&'static str, Origin>) -> String {
    let line = |key: &Key<T>| {
        let origin = origins.get(key.name).unwrap_or(&Origin::Default);
        match (key.get)(target) {
            // TOML has no value for it.
            value if value.is_empty() => format!("# {} is not set\n", key.name),
            value => format!("{} = {value} # {origin}\n", key.name),
        }
    };
    keys.iter().map(line).collect()
}
