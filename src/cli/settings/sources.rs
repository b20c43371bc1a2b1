//! Where settings come from, in order: defaults, profile, configuration file,
//! environment, flags. A later one wins.

use super::{Assignment, Origin, Problem, Settings, file, topics};
use crate::cli::text;
use std::path::Path;

/// The profiles that are built in.
const PROFILES: &[(&str, &str)] = &[
    ("container", include_str!("../../../profiles/server/container.toml")),
    ("latency", include_str!("../../../profiles/server/latency.toml")),
    ("memory", include_str!("../../../profiles/server/memory.toml")),
    ("throughput", include_str!("../../../profiles/server/throughput.toml")),
];

/// Variables of the environment that are settings begin so.
const PREFIX: &str = "TAPECAST_";

/// What was given, not yet looked at.
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
            .filter(|(name, _)| name.starts_with(PREFIX) && !is_service_link(name))
            .collect();
        self.environment.sort();
        self
    }

    /// A flag with its values, if it was given.
    pub fn flag(&mut self, flag: &str, key: &str, values: Vec<String>) {
        if !values.is_empty() {
            let origin = Origin::Flag(flag.to_owned());
            self.flags.push(Assignment { key: key.to_owned(), values, origin });
        }
    }

    /// The settings that follow.
    ///
    /// # Errors
    /// Everything that is wrong, in the order of the sources.
    pub fn resolve(self) -> Result<Settings, Vec<Problem>> {
        let mut problems = Vec::new();
        let (environment, config_variable) = environment(self.environment);
        let mut assignments = Vec::new();
        let config = self.config.map(|path| (path, Origin::Flag("--config".into())));
        if let Some((path, origin)) = config.or(config_variable) {
            match read(&path, &origin) {
                Ok(found) => assignments.extend(found),
                Err(problem) => problems.push(problem),
            }
        }
        assignments.extend(environment);
        assignments.extend(self.flags);
        // Which profile is asked for is itself a setting, and the last word counts.
        let (profiles, mut assignments): (Vec<_>, Vec<_>) =
            assignments.into_iter().partition(|assignment| assignment.key == "profile");
        if let Some(asked) = profiles.last() {
            match profile(asked) {
                Ok(found) => drop(assignments.splice(..0, found)),
                Err(problem) => problems.push(problem),
            }
        }
        let mut settings = Settings::default();
        for assignment in assignments {
            if let Err(problem) = settings.assign(assignment) {
                problems.push(problem);
            }
        }
        if problems.is_empty()
            && let Err(problem) = settings.check()
        {
            problems.push(problem);
        }
        if problems.is_empty() {
            match topics::rules(&settings.topics, &settings.limits) {
                Ok(rules) => settings.rules = rules,
                Err(found) => problems.extend(found),
            }
        }
        if problems.is_empty() { Ok(settings) } else { Err(problems) }
    }
}

/// Kubernetes puts variables like `TAPECAST_PORT` and `TAPECAST_SERVICE_HOST` into
/// every container beside a service that is called tapecast.
fn is_service_link(name: &str) -> bool {
    ["PORT", "SERVICE_"].iter().any(|word| name[PREFIX.len()..].starts_with(word))
}

/// The assignments of the environment, and the configuration file that it names.
/// `TAPECAST_LIMITS_HEAD_BYTES_MAX` is `limits.head_bytes_max`; a list is
/// separated by commas.
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
        let values = value.split(',').map(|value| value.trim().to_owned());
        let values = if key == "listen" { values.collect() } else { vec![value] };
        found.push(Assignment { key, values, origin });
    }
    (found, config)
}

fn read(path: &str, origin: &Origin) -> Result<Vec<Assignment>, Problem> {
    let text = std::fs::read_to_string(path).map_err(|error| Problem {
        origin: origin.clone(),
        message: format!("{path} can't be read: {error}"),
    })?;
    file::assignments(path, &text)
}

/// The assignments of the profile that is asked for: a name, or a file.
fn profile(asked: &Assignment) -> Result<Vec<Assignment>, Problem> {
    let problem = |message| Problem { origin: asked.origin.clone(), message };
    let [name] = asked.values.as_slice() else {
        return Err(problem("profile: expected one name or file".into()));
    };
    let found = match PROFILES.iter().find(|profile| profile.0 == name) {
        Some((name, text)) => file::assignments(&format!("profile {name}"), text)?,
        None if Path::new(name).extension().is_some_and(|end| end == "toml") => {
            read(name, &asked.origin)?
        }
        None => {
            let names: Vec<&str> = PROFILES.iter().map(|profile| profile.0).collect();
            let near = text::nearest(name, names.iter().copied());
            let all = names.join(", ");
            return Err(problem(format!(
                "profile: {name:?}: expected {all}, or a file that ends in .toml{near}"
            )));
        }
    };
    match found.iter().find(|assignment| assignment.key == "profile") {
        None => Ok(found),
        Some(inner) => Err(Problem {
            origin: inner.origin.clone(),
            message: "profile: a profile can't name another".into(),
        }),
    }
}
