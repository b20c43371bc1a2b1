//! Carries assignments out: finds the key, sets the value, remembers the origin.

use super::keys::{KEYS, LIMITS, names};
use super::topics::TOPICS;
use super::values::Settings;
use crate::base::Limits;
use crate::settings::{Assignment, Problem, Unit, did_you_mean, find, number, one};

impl Settings {
    /// Carries out an assignment.
    ///
    /// # Errors
    /// There is no such key, or the value is not what it takes.
    pub(super) fn assign(&mut self, assignment: Assignment) -> Result<(), Problem> {
        if let Some(rest) = assignment.key.strip_prefix(TOPICS)
            && rest.starts_with('.')
        {
            return self.assign_topic(assignment);
        }
        let Assignment { key, values, origin } = assignment;
        let limit = key.strip_prefix(LIMITS).filter(|name| Limits::NAMES.contains(name));
        let result = if let Some(name) = limit {
            set_limit(&mut self.limits, name, &values)
        } else if let Some(known) = find(KEYS, &key) {
            (known.set)(self, &values)
        } else {
            let all: Vec<String> = names().collect();
            let hint = did_you_mean(&key, all.iter().map(String::as_str));
            return Err(Problem { origin, message: format!("unknown key {key}{hint}") });
        };
        match result {
            Ok(()) => {
                self.origins.insert(key, origin);
                Ok(())
            }
            Err(error) => Err(Problem { message: format!("{key}: {error}"), origin }),
        }
    }

    /// Keeps an assignment to a topic rule, until the limits are known. The rules of a later
    /// source replace all earlier ones.
    fn assign_topic(&mut self, assignment: Assignment) -> Result<(), Problem> {
        let Some((place, key)) = assignment.in_table(TOPICS) else {
            let message = format!("{TOPICS}: expected [[topics]] tables of a configuration file");
            return Err(Problem { origin: assignment.origin, message });
        };
        let key = key.to_owned();
        let first = self.topics.iter().flatten().next();
        if first.is_some_and(|first| !first.origin.is_same_source(&assignment.origin)) {
            self.topics.clear();
        }
        if self.topics.len() <= place {
            self.topics.resize(place + 1, Vec::new());
        }
        self.topics[place].push(Assignment { key, ..assignment });
        Ok(())
    }
}

fn set_limit(limits: &mut Limits, name: &str, values: &[String]) -> Result<(), String> {
    let value = number(one(values)?, Unit::of(name))?;
    limits.set(name, value).map_err(|error| error.message)
}
