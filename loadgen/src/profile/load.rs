//! From a profile, built in or a file, and flags to a run.

use super::group::Group;
use super::group_keys::GROUP_KEYS;
use super::run::Profile;
use super::run_keys::RUN_KEYS;
use std::collections::BTreeMap;
use tapecast::settings::{
    Assignment, Contents, Key, Numbers, Origin, Problem, contents, did_you_mean, find, nearest,
};

/// The name of the tables of groups.
const GROUP: &str = "group";

/// The built-in profiles, by name.
pub const BUILT_IN: &[(&str, &str)] = &[
    ("echo", include_str!("../../../profiles/load/echo.toml")),
    ("pipeline", include_str!("../../../profiles/load/pipeline.toml")),
    ("broadcast", include_str!("../../../profiles/load/broadcast.toml")),
    ("ticker", include_str!("../../../profiles/load/ticker.toml")),
    ("chat", include_str!("../../../profiles/load/chat.toml")),
    ("connect-storm", include_str!("../../../profiles/load/connect-storm.toml")),
    ("idle", include_str!("../../../profiles/load/idle.toml")),
    ("slow-reader", include_str!("../../../profiles/load/slow-reader.toml")),
    ("mixed", include_str!("../../../profiles/load/mixed.toml")),
];

/// All keys, of runs and of groups.
fn names() -> impl Iterator<Item = &'static str> {
    let run = RUN_KEYS.iter().map(|key| key.name);
    run.chain(GROUP_KEYS.iter().map(|key| key.name))
}

/// The text of a profile.
fn text(name: &str) -> Result<String, String> {
    if let Some((_, text)) = BUILT_IN.iter().find(|(known, _)| *known == name) {
        return Ok((*text).to_owned());
    }
    std::fs::read_to_string(name).map_err(|error| {
        let known = BUILT_IN.iter().map(|(known, _)| *known);
        let hint = match nearest(name, known.clone()) {
            Some(nearest) => format!("did you mean {nearest}?"),
            None => format!("built in are {}", known.collect::<Vec<_>>().join(", ")),
        };
        format!("{name}: no profile has this name, and no file can be read ({error}); {hint}")
    })
}

fn unknown(name: &str) -> String {
    if name.split('.').next() == Some(GROUP) {
        return format!("expected [[{GROUP}]] tables");
    }
    match name.split_once('.') {
        // A table where a value belongs.
        Some((key, _)) if names().any(|known| known == key) => {
            format!("{key}: expected a string, a number, true or false, not a table")
        }
        Some(_) => format!("unknown key {name}: the only tables are [[{GROUP}]]"),
        None => {
            let hint = match did_you_mean(name, names()).as_str() {
                "" => ": --help lists all keys".to_owned(),
                hint => hint.to_owned(),
            };
            format!("unknown key {name}{hint}")
        }
    }
}

/// A mistake in a value, after its key, unless the flag names it.
fn of_key(given: &Assignment, name: &str, error: &str) -> String {
    match given.origin {
        Origin::Flag(_) => error.to_owned(),
        _ => format!("{name}: {error}"),
    }
}

impl Profile {
    /// The profile called `name`, built in or a file, with the flags on top of it.
    ///
    /// # Errors
    /// Every mistake, each with its place.
    pub fn load(name: &str, flags: Vec<Assignment>) -> Result<Profile, Vec<String>> {
        let texts = |problems: Vec<Problem>| -> Vec<String> {
            problems.iter().map(ToString::to_string).collect()
        };
        let text = text(name).map_err(|problem| vec![problem])?;
        let found = contents(name, &text, Numbers::Fractional).map_err(texts)?;
        let Contents { mut assignments, mistaken } = found;
        let group_of = |given: &Assignment| given.in_table(GROUP).map(|(group, _)| group);
        // Keys of all groups first: those of one group are more specific.
        assignments.sort_by_key(|given| group_of(given).is_some());
        let groups = assignments.iter().filter_map(group_of).max().map_or(1, |last| last + 1);
        let mut profile = Profile {
            groups: (0..groups)
                .map(|group| Group { name: (group + 1).to_string(), ..Group::default() })
                .collect(),
            origins: vec![BTreeMap::new(); groups + 1],
            ..Profile::default()
        };
        assignments.extend(flags);
        let mut problems: Vec<Problem> = mistaken.into_iter().map(|(_, it)| it).collect();
        problems.extend(assignments.iter().filter_map(|given| profile.assign(given).err()));
        if !problems.is_empty() {
            return Err(texts(problems));
        }
        let contradictions = profile.contradictions();
        if contradictions.is_empty() { Ok(profile) } else { Err(contradictions) }
    }

    fn assign(&mut self, given: &Assignment) -> Result<(), Problem> {
        let problem = |message: String| Problem { origin: given.origin.clone(), message };
        let (group, name) = match given.in_table(GROUP) {
            Some((group, name)) => (Some(group), name),
            None => (None, given.key.as_str()),
        };
        if let Some(key) = find(GROUP_KEYS, name) {
            let groups = group.map_or(0..self.groups.len(), |group| group..group + 1);
            return groups.into_iter().try_for_each(|group| {
                self.assign_to_group(key, given, group)
                    .map_err(|it| problem(of_key(given, name, &it)))
            });
        }
        let Some(key) = find(RUN_KEYS, name) else {
            return Err(problem(unknown(name)));
        };
        if group.is_some() {
            return Err(problem(format!("{name} is a key of the run, not of a group")));
        }
        (key.set)(self, &given.values).map_err(|it| problem(of_key(given, name, &it)))?;
        self.origins[0].insert(key.name, given.origin.clone());
        Ok(())
    }

    fn assign_to_group(
        &mut self,
        key: &Key<Group>,
        given: &Assignment,
        group: usize,
    ) -> Result<(), String> {
        (key.set)(&mut self.groups[group], &given.values)?;
        let origins = &mut self.origins[group + 1];
        // One replaces the other, unless both were given together.
        let other = match key.name {
            "rate" => Some("in_flight"),
            "in_flight" => Some("rate"),
            _ => None,
        };
        if let Some(was) = other.and_then(|other| origins.remove(other))
            && was.is_same_source(&given.origin)
        {
            return Err("rate and in_flight exclude each other: open or closed loop".into());
        }
        origins.insert(key.name, given.origin.clone());
        Ok(())
    }
}
