//! The verdict that a report contains, as data. `verdict` decides it.

use serde::{Deserialize, Serialize};
use std::fmt;

/// How a run has ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    #[default]
    Passed,
    /// A `--fail-if` of the user holds.
    Failed,
    /// The scenario did not deliver all that it promises.
    Suspicious,
}

impl fmt::Display for Verdict {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Verdict::Passed => "passed",
            Verdict::Failed => "failed",
            Verdict::Suspicious => "suspicious",
        })
    }
}

/// A verdict and its reasons.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Judgement {
    pub verdict: Verdict,
    /// Empty if the run has passed.
    pub reasons: Vec<String>,
}
