//! Log lines that were dropped, as the logs count them.

use std::sync::Arc;

/// Returns how many log lines were dropped so far.
pub(crate) type LinesDropped = Arc<dyn Fn() -> u64 + Send + Sync>;
