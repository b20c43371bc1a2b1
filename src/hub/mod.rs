//! Layer 3: topics, logs, tapes, cursors.
//!
//! One [`Hub`] per shard. A topic has a *home*, the shard that its name hashes to: that shard
//! alone numbers its messages and keeps its log. Every shard with subscribers, the home
//! included, is a reader: it keeps a tape of encoded frames, on which each subscriber is a
//! cursor.
//!
//! | part | what it holds |
//! |---|---|
//! | `message`, `past`, `lane`, `signal`, `ids` | the words that the parts share: messages, portions of the past, encodings, reports, references |
//! | `policy` | names and patterns, rules, deliveries, quotas |
//! | `home` | a topic at its home: log, newest values, the shards that read it, the patterns that they watch |
//! | `reader` | a topic on a shard that reads it: tapes, lanes, superseded messages, subscribers |
//! | `cursor` | subscriptions: flow control, delivering, catching up, marking, patterns |
//! | `post` | messages between hubs, and the queues in which they wait for room |
//! | `topic`, `memory`, `context`, `intake` | the table of topics, the budget, the shared state, quotas and debts of publishers |
//! | `parts` | the [`Hub`] itself: one of each |
//! | `operations` | the operations of a hub, in terms of its parts: publish, subscribe, deliver, flush |
//!
//! Messages between hubs travel through [`Post`]; the hub does not know how. Messages
//! that can't be posted wait here: publications in a bounded queue whose filling pauses
//! publishers, entries in their log, and interest as a state that is posted when there is room,
//! never twice.
//!
//! Architecture invariants: nothing here knows a socket, a ring, a connection or a clock; a
//! subscriber is a number, and the time is what the shard says it is. `home` names no tape,
//! and `reader` no log.

mod context;
mod cursor;
mod error;
mod home;
mod ids;
mod intake;
mod lane;
mod memory;
mod message;
mod names;
mod operations;
mod parts;
mod past;
mod policy;
mod post;
mod reader;
mod signal;
mod summary;
mod topic;

pub use cursor::Subscriptions;
pub use error::HubError;
pub use ids::TopicRef;
pub use lane::{Lane, Mark, Raw};
pub use message::{Entry, EntryKind, KEY_BYTES_MAX, Publication, Published, Receipt};
pub use operations::Listed;
pub use parts::{Hub, Setup};
pub use past::{Past, Portion, Since, View};
pub use policy::{
    Access, Caller, Delivery, Mode, RATE_MAX, Rule, RuleError, Rules, SlowReader,
    TOPIC_NAME_BYTES_MAX, WINDOW_MAX, is_member_name, is_pattern, is_reserved, is_topic_name,
    matches,
};
pub use post::{HubMessage, Outbox, Post};
pub use signal::{Signal, Step};
pub use summary::{Tally, TopicSummary};

#[cfg(test)]
mod tests;
