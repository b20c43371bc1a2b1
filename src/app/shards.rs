//! All shards, as other threads reach them.

use super::command::CommandSender;
use super::publisher::Publisher;
use crate::base::Counters;
use std::sync::Arc;

/// See the module. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Shards {
    pub senders: Arc<[CommandSender]>,
    pub publisher: Publisher,
    /// The counters of each shard.
    pub counters: Arc<[Counters]>,
}
