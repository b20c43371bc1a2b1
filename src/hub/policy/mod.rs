//! The policy of topics: names and patterns, rules, deliveries, quotas. It holds no message and
//! no subscription.

mod delivery;
mod mode;
mod name;
mod pattern_index;
mod quotas;
mod rules;

pub use delivery::{Delivery, WINDOW_MAX};
pub use mode::{Mode, RATE_MAX, SlowReader};
pub use name::{
    PRESENCE, TOPIC_NAME_BYTES_MAX, is_member_name, is_pattern, is_reserved, is_topic_name,
    literal_prefix, matches,
};
pub use pattern_index::PatternIndex;
pub use quotas::Quotas;
pub use rules::{Access, Caller, Rule, RuleError, Rules};
