//! What hubs write to each other.

use super::log::TopicRef;
use crate::base::ShardId;
use crate::protocol::Kind;
use bytes::Bytes;
use std::sync::Arc;

/// One mail. Between two shards mail keeps its order.
#[derive(Clone, Debug)]
pub enum Mail {
    /// To the home: this shard reads the topic from now on, or no longer.
    Interest {
        /// The topic's name.
        topic: Arc<str>,
        /// The topic in the reader's table; named in all that the home answers.
        reader: TopicRef,
        /// Whether it reads.
        wanted: bool,
    },
    /// To the home: number this.
    Publish {
        /// The topic's name.
        topic: Arc<str>,
        /// Text or binary.
        kind: Kind,
        /// The payload.
        payload: Bytes,
    },
    /// From the home: interest is registered; what follows is what comes after
    /// message `last`.
    Welcome {
        /// The topic in the reader's table.
        topic: TopicRef,
        /// The topic's incarnation.
        epoch: u64,
        /// The last message's number, 0 if there is none.
        last: u64,
    },
    /// From the home: the next message.
    Entry {
        /// The topic in the reader's table.
        topic: TopicRef,
        /// Text or binary.
        kind: Kind,
        /// The payload.
        payload: Bytes,
    },
    /// From the home: the reader shard fell off the log.
    Gap {
        /// The topic in the reader's table.
        topic: TopicRef,
        /// How many messages are missing here.
        missed: u64,
    },
}

/// How mail leaves a shard.
pub trait Post {
    /// Hands `mail` of `weight` bytes over to shard `to`.
    ///
    /// # Errors
    /// The mail, when there is no room now.
    fn post(&mut self, to: ShardId, mail: Mail, weight: usize) -> Result<(), Mail>;
}
