//! What the hub refuses.

use std::fmt;

/// Why a subscription or publication is refused. The caller's fault in every case
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
    /// What is published as JSON is not.
    BadJson,
    /// The delivery asked for can't be: what is wrong with it.
    BadDelivery(&'static str),
    /// The topic's rule does not allow it.
    NotAllowed,
    /// The connection is subscribed to this topic already.
    AlreadySubscribed,
    /// The connection has as many subscriptions as it may.
    TooManySubscriptions,
    /// There are as many topics as there may be.
    TooManyTopics,
    /// There are as many subscriptions to patterns as there may be.
    TooManyPatterns,
    /// The connection, or its address, has as many of something as it may: the name of the
    /// limit.
    QuotaReached(&'static str),
    /// The topic's home is behind, and as much as may wait for it does.
    Full,
    /// Topics take as much memory as they may, and nothing of it can be let go of: the
    /// newest message of each stays.
    OverBudget,
    /// The message is longer than a message may be.
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
            HubError::TooManyTopics => "there are as many topics as there may be",
            HubError::TooManyPatterns => "there are as many patterns as there may be",
            HubError::QuotaReached(limit) => {
                return write!(formatter, "this connection or its address has as many as {limit}");
            }
            HubError::Full => "the topic's home is behind: try again later",
            HubError::OverBudget => "topics take as much memory as they may: try again later",
            HubError::TooBig => "the message is too big",
            HubError::Stopped => "the server has stopped",
        })
    }
}

impl std::error::Error for HubError {}
