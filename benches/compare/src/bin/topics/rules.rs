//! Rules of topics on the command line: `PATTERN:KEY=VALUE,KEY=VALUE`.

use super::options::{number, slow_reader};
use std::convert::Infallible;
use std::str::FromStr;
use tapecast::Limits;
use tapecast::hub::Rule;

/// A rule as it was written. Keys that it leaves out have their values from the limits, which
/// are known once the whole command line is read.
#[derive(Clone, Debug)]
pub struct RuleText(String);

impl FromStr for RuleText {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<RuleText, Infallible> {
        Ok(RuleText(text.to_owned()))
    }
}

impl RuleText {
    /// The rule under these limits.
    ///
    /// # Errors
    /// The text is no rule, in words. The server checks the values.
    pub fn resolve(&self, limits: &Limits) -> Result<Rule, String> {
        // A topic's name may have colons; keys and values have none.
        let (pattern, pairs) = self.0.rsplit_once(':').ok_or_else(|| self.wrong("no colon"))?;
        let mut rule = Rule::new(pattern, limits);
        for pair in pairs.split(',') {
            let (key, value) = pair.split_once('=').ok_or_else(|| self.wrong(pair))?;
            set(&mut rule, key, value).map_err(|error| self.wrong(&error))?;
        }
        Ok(rule)
    }

    fn wrong(&self, why: &str) -> String {
        format!("rule {:?}: {why}: expected PATTERN:KEY=VALUE,KEY=VALUE", self.0)
    }
}

fn set(rule: &mut Rule, key: &str, value: &str) -> Result<(), String> {
    match key {
        "flush_ms" => rule.flush_ms = number(key, value)?,
        "keys_max" => rule.keys_max = number(key, value)?,
        "rate_max" => rule.rate_max = number(key, value)?,
        "retention_messages" => rule.retention_messages = number(key, value)?,
        "retention_ms" => rule.retention_ms = number(key, value)?,
        "slow_reader" => rule.slow_reader = slow_reader(value)?,
        _ => return Err(format!("there is no key {key:?}")),
    }
    Ok(())
}
