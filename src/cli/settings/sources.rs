//! From the sources to settings: defaults, profile, configuration file, environment, flags.
//! A later source overrides an earlier one.

use super::keys::KEYS;
use super::topics::{self, TOPICS};
use super::values::Settings;
use crate::settings::{
    Assignment, Contents, Key, Numbers, Origin, Problem, contents, did_you_mean, find,
};
use std::path::Path;

/// The profiles that are built in.
const PROFILES: &[(&str, &str)] = &[
    ("container", include_str!("../../../profiles/server/container.toml")),
    ("latency", include_str!("../../../profiles/server/latency.toml")),
    ("memory", include_str!("../../../profiles/server/memory.toml")),
    ("throughput", include_str!("../../../profiles/server/throughput.toml")),
];

/// The prefix of environment variables that are settings.
const PREFIX: &str = "TAPECAST_";

/// The settings as they were given, before any of them is checked.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// `--config`.
    pub config: Option<String>,
    /// Assignments by flag, `profile` among them.
    pub flags: Vec<Assignment>,
    /// Variables of the environment.
    pub environment: Vec<(String, String)>,
}

impl Sources {
    /// Takes the environment of the process.
    #[must_use]
    pub fn with_environment(mut self) -> Sources {
        let variables = std::env::vars_os();
        self.environment = variables
            .filter_map(|(name, value)| {
                Some((name.into_string().ok()?, value.to_string_lossy().into_owned()))
            })
            .filter(|(name, value)| name.starts_with(PREFIX) && !is_service_link(name, value))
            .collect();
        self.environment.sort();
        self
    }

    /// The settings that follow.
    ///
    /// # Errors
    /// Everything that is wrong, in the order of the sources.
    pub fn resolve(self) -> Result<Settings, Vec<Problem>> {
        let mut problems = Vec::new();
        let (environment, config_variable) = environment(self.environment);
        let mut assignments = Vec::new();
        let mut mistaken = Vec::new();
        let mut take = |contents: Contents, problems: &mut Vec<Problem>| {
            for (key, problem) in contents.mistaken {
                problems.push(problem);
                mistaken.push(key);
            }
            contents.assignments
        };
        // Nothing is known of the settings of a file that can't be read.
        let mut is_all_known = true;
        let config = self.config.map(|path| (path, Origin::Flag("--config".into())));
        if let Some((path, origin)) = config.or(config_variable) {
            match read(&path, &origin) {
                Ok(found) => assignments.extend(take(found, &mut problems)),
                Err(found) => {
                    is_all_known = false;
                    problems.extend(found);
                }
            }
        }
        assignments.extend(environment);
        assignments.extend(self.flags);
        // The profile is a setting too, and the strongest source decides it.
        let (profiles, mut assignments): (Vec<_>, Vec<_>) =
            assignments.into_iter().partition(|assignment| assignment.key == "profile");
        if let Some(asked) = profiles.last() {
            match profile(asked) {
                Ok(found) => drop(assignments.splice(..0, take(found, &mut problems))),
                Err(found) => {
                    is_all_known = false;
                    problems.extend(found);
                }
            }
        }
        let mut settings = Settings::default();
        for assignment in assignments {
            let key = assignment.key.clone();
            if let Err(problem) = settings.assign(assignment) {
                problems.push(problem);
                mistaken.push(key);
            }
        }
        if is_all_known {
            problems.extend(settings.contradictions(&mistaken));
            match topics::rules(&settings.topics, &settings.limits) {
                Ok(rules) => settings.rules = rules,
                // A rule without its mistaken key is another rule.
                Err(_) if mistaken.iter().any(|key| key.starts_with(TOPICS)) => {}
                Err(found) => problems.extend(found),
            }
        }
        if problems.is_empty() { Ok(settings) } else { Err(problems) }
    }
}

/// Whether Kubernetes set this variable: it describes every service of the namespace to every
/// container, a service named tapecast-admin as `TAPECAST_ADMIN_SERVICE_HOST`, `TAPECAST_ADMIN_SERVICE_PORT` with and
/// without a port's name behind it, `TAPECAST_ADMIN_PORT=tcp://...`, and
/// `TAPECAST_ADMIN_PORT_9090_TCP` with and without `_PROTO`, `_PORT` and `_ADDR`.
pub(super) fn is_service_link(name: &str, value: &str) -> bool {
    if name.ends_with("_SERVICE_HOST")
        || name.ends_with("_SERVICE_PORT")
        || name.contains("_SERVICE_PORT_")
    {
        return true;
    }
    let is_address = ["tcp://", "udp://", "sctp://"].iter().any(|start| value.starts_with(start));
    if name.ends_with("_PORT") && is_address {
        return true;
    }
    name.split("_PORT_").skip(1).any(|rest| {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let is_protocol = ["_TCP", "_UDP", "_SCTP"].iter().any(|it| rest[digits..].starts_with(it));
        digits > 0 && is_protocol
    })
}

/// The assignments of the environment, and the configuration file that it names.
/// `TAPECAST_LIMITS_HEAD_BYTES_MAX` is `limits.head_bytes_max`; commas separate the values
/// of a list.
fn environment(variables: Vec<(String, String)>) -> (Vec<Assignment>, Option<(String, Origin)>) {
    let mut config = None;
    let mut found = Vec::new();
    for (name, value) in variables {
        let origin = Origin::Environment(name.clone());
        let word = name[PREFIX.len()..].to_lowercase();
        if word == "config" {
            config = Some((value, origin));
            continue;
        }
        let key = match word.strip_prefix("limits_") {
            Some(limit) => format!("limits.{limit}"),
            None => word,
        };
        let values = if find(KEYS, &key).is_some_and(Key::is_list) {
            let values = value.split(',').map(str::trim).filter(|value| !value.is_empty());
            values.map(str::to_owned).collect()
        } else {
            vec![value]
        };
        found.push(Assignment { key, values, origin });
    }
    (found, config)
}

fn read(path: &str, origin: &Origin) -> Result<Contents, Vec<Problem>> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        let message = format!("{path} can't be read: {error}");
        vec![Problem { origin: origin.clone(), message }]
    })?;
    contents(path, &text, Numbers::Whole)
}

/// The assignments of a profile, given by its name or its file.
fn profile(asked: &Assignment) -> Result<Contents, Vec<Problem>> {
    let problem = |message| vec![Problem { origin: asked.origin.clone(), message }];
    let [name] = asked.values.as_slice() else {
        return Err(problem("profile: expected one name or file".into()));
    };
    let found = match PROFILES.iter().find(|profile| profile.0 == name) {
        Some((name, text)) => contents(&format!("profile {name}"), text, Numbers::Whole)?,
        None if Path::new(name).extension().is_some_and(|end| end == "toml") => {
            read(name, &asked.origin)?
        }
        None => {
            let names: Vec<&str> = PROFILES.iter().map(|profile| profile.0).collect();
            let hint = did_you_mean(name, names.iter().copied());
            let all = names.join(", ");
            return Err(problem(format!(
                "profile: {name:?}: expected {all}, or a file that ends in .toml{hint}"
            )));
        }
    };
    match found.assignments.iter().find(|assignment| assignment.key == "profile") {
        None => Ok(found),
        Some(inner) => Err(vec![Problem {
            origin: inner.origin.clone(),
            message: "profile: a profile can't name another profile".into(),
        }]),
    }
}
