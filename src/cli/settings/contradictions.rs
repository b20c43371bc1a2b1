//! Values that are sound alone and do not fit together.

use super::keys::LIMITS;
use super::values::Settings;
use crate::base::Limits;
use crate::base::limits::LimitError;
use crate::settings::{Origin, Problem};
use crate::tls::Acceptor;

impl Settings {
    /// The contradictions between settings, once every source is read. Nothing is known of
    /// keys with `mistaken` values, so nothing is said about them.
    pub(super) fn contradictions(&self, mistaken: &[String]) -> Vec<Problem> {
        let is_known = |start: &str| !mistaken.iter().any(|key| key.starts_with(start));
        let mut problems = self.limits_that_contradict(mistaken);
        if self.listen.is_empty() {
            problems.push(self.problem("listen", "expected at least one address"));
        }
        if is_known("listen") && is_known("tls_") {
            problems.extend(self.acceptor(None).err());
        }
        if let Some(admin) = self.admin
            && !admin.ip().is_loopback()
            && self.admin_token_file.is_none()
        {
            let message = format!(
                "{admin} is not a loopback address: set admin_token_file, whose token every \
                 request then carries"
            );
            problems.push(self.problem("admin", &message));
        }
        problems
    }

    fn limits_that_contradict(&self, mistaken: &[String]) -> Vec<Problem> {
        let mentions = |error: &LimitError, key: &String| {
            let name = key.strip_prefix(LIMITS).unwrap_or(key);
            Limits::NAMES.contains(&name) && (error.name == name || error.message.contains(name))
        };
        let mut wrong = self.limits.problems();
        wrong.retain(|error| !mistaken.iter().any(|key| mentions(error, key)));
        let blamed = |error: &LimitError| {
            // Of two limits that contradict each other, the one that was set.
            let others = Limits::NAMES.iter().filter(|name| error.message.contains(**name));
            let mut names = [error.name].into_iter().chain(others.copied());
            let set = names.find(|name| self.is_set(&format!("{LIMITS}{name}")));
            set.map_or(Origin::Default, |name| self.origin(&format!("{LIMITS}{name}")).clone())
        };
        let problem = |error: LimitError| Problem {
            origin: blamed(&error),
            message: format!("{LIMITS}{error}"),
        };
        wrong.into_iter().map(problem).collect()
    }

    /// The acceptor that the TLS files make, as they are now; it resumes sessions of
    /// `previous`. None if no certificate is configured.
    ///
    /// # Errors
    /// The file that can't be used, or the setting that is missing.
    pub fn acceptor(&self, previous: Option<&Acceptor>) -> Result<Option<Acceptor>, Problem> {
        let is_secure = self.listen.iter().any(|address| address.is_secure());
        let made = self.tls.acceptor(is_secure, previous);
        made.map_err(|(key, message)| self.problem(key, &message))
    }

    fn problem(&self, key: &str, message: &str) -> Problem {
        Problem { origin: self.origin(key).clone(), message: format!("{key}: {message}") }
    }
}
