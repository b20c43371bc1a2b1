//! The reasons for which the hub refuses a subscription or a publication.

use std::fmt;

/// Why a subscription or publication is refused. It is the caller's fault in every case
/// but `Full`, `OverBudget` and `TooManyTopics`.
///
/// ```
/// use tapecast::hub::{Delivery, Hub, HubError, Publication, Subscriptions};
///
/// let mut hub = Hub::alone(&tapecast::Limits::default());
/// let mut subscriptions = Subscriptions::default();
/// let delivery = Delivery::default();
/// assert!(hub.subscribe(7, &mut subscriptions, "news", &delivery).is_ok());
/// let again = hub.subscribe(7, &mut subscriptions, "news", &delivery);
/// assert_eq!(again, Err(HubError::AlreadySubscribed));
/// assert_eq!(hub.publish(&Publication::new("news..today", "hi")), Err(HubError::BadName));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HubError {
    /// A topic's name is 1 to 255 bytes without control characters, in segments
    /// split by `.` of which none is empty, `*` or `>`.
    BadName,
    /// A key is at most 255 bytes, and the topic's rule has keys; a member's name is 1 to
    /// 255 bytes without control characters.
    BadKey,
    /// A publication that claims to be JSON is not.
    BadJson,
    /// The delivery that was asked for is invalid, and why.
    BadDelivery(&'static str),
    /// The topic's rule does not allow it.
    NotAllowed,
    /// The connection is subscribed to this topic already.
    AlreadySubscribed,
    /// The connection has reached `subscriptions_max`.
    TooManySubscriptions,
    /// The topic limit `topics_max` is reached.
    TooManyTopics,
    /// The limit `patterns_max` is reached.
    TooManyPatterns,
    /// The connection, or its address, has reached the limit of this name.
    QuotaReached(&'static str),
    /// The topic's home is overloaded, and the queue of publications for it is full.
    Full,
    /// Topics have reached `topics_bytes_max`, and nothing more can be evicted: the newest
    /// message of each stays.
    OverBudget,
    /// The message is longer than `message_bytes_max`.
    TooBig,
    /// The server has stopped.
    Stopped,
}

impl fmt::Display for HubError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            HubError::BadName => {
                "a topic's name is 1 to 255 bytes without control characters, in segments split by \
                 '.' of which none is empty, '*' or '>'"
            }
            HubError::BadKey => {
                "a key is at most 255 bytes, and this topic may have none; a member's name is 1 to \
                 255 bytes without control characters"
            }
            HubError::BadJson => "the message is not JSON",
            HubError::BadDelivery(wrong) => wrong,
            HubError::NotAllowed => "not allowed on this topic",
            HubError::AlreadySubscribed => "already subscribed to this topic",
            HubError::TooManySubscriptions => "too many subscriptions on this connection",
            HubError::TooManyTopics => "topic limit reached (topics_max)",
            HubError::TooManyPatterns => "pattern limit reached (patterns_max)",
            HubError::QuotaReached(limit) => {
                return write!(
                    formatter,
                    "limit of this connection or its address reached ({limit})"
                );
            }
            HubError::Full => "topic overloaded: retry later",
            HubError::OverBudget => {
                "memory limit of topics reached (topics_bytes_max): retry later"
            }
            HubError::TooBig => "the message is too big",
            HubError::Stopped => "the server has stopped",
        })
    }
}

impl std::error::Error for HubError {}
