//! The effects of a handler's call that the shard carries out once the call has returned, in one
//! place.

use crate::base::{ConnectionId, ShardId};
use crate::connection::Close;
use crate::protocol::Kind;
use bytes::Bytes;

/// A message from one connection to another.
#[derive(Clone, Debug)]
pub(crate) struct DirectMessage {
    pub to: ConnectionId,
    pub kind: Kind,
    pub payload: Bytes,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Deferred {
    /// The received message is echoed from its receive buffer, as text or binary.
    pub echo_in_place: Option<Kind>,
    /// Messages for other connections.
    pub direct: Vec<DirectMessage>,
    /// A publication waits for room at this shard: the connection is not read from until then.
    pub congested: Option<ShardId>,
    /// A message was refused for want of room, or the pause threshold was passed: the handler is
    /// notified when everything has left.
    pub wants_writable: bool,
    /// The code and reason with which the application closes the connection.
    pub close: Option<Box<Close>>,
    /// The timer that the application has set.
    pub timer_set: bool,
    /// Data messages queued, and how many of them are text.
    pub messages: u64,
    pub texts: u64,
    /// Publications accepted, and refused for want of room.
    pub publications: u64,
    pub publications_refused: u64,
    /// Of these, for want of memory.
    pub publications_over_budget: u64,
    /// Subscriptions refused by `subscriptions_max`.
    pub subscriptions_refused: u64,
    /// The handler has more to do: call it again with `Notice::Resume`.
    pub resumes: bool,
}
