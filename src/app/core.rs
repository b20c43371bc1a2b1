//! What a call of a handler works with: what all connections of a shard share, and what
//! one connection has.

use super::conn::Deferred;
use crate::base::work::{self, Work};
use crate::base::{ConnectionId, Limits, PeerAddress, ShardId, Time};
use crate::connection::Outbound;
use crate::hub::{Caller, Hub, HubError, Subscriptions};
use crate::protocol::deflate::{CONTEXT_BYTES, Contexts, Deflater};
use crate::protocol::{Message, Role, Rules, Workspace};
use std::net::SocketAddr;

/// What the connections of a shard share.
pub(crate) struct Core {
    pub id: ShardId,
    pub now: Time,
    pub limits: Limits,
    /// As usual, and where compression was agreed on.
    pub rules: [Rules; 2],
    pub pool: Workspace,
    pub hub: Hub,
    pub deferred: Deferred,
    /// Bytes that came out of compressed messages since this was last set to nothing.
    pub inflated_bytes: usize,
    /// Of those, what came out of the bytes that are being served.
    pub inflated_now: usize,
    /// Work done so far, beside the hub's.
    pub work: Work,
    /// Where [`Core::spent`] may come to before what can wait has to.
    share_end: Work,
}

impl Core {
    /// Of the limits that hold for all shards together, this one has its share.
    pub fn new(id: ShardId, shards: u16, now: Time, limits: Limits, hub: Hub) -> Core {
        let rules = Rules {
            role: Role::Server,
            message_bytes_max: limits.message_bytes_max,
            message_fragments_max: limits.message_fragments_max,
            deflate: false,
        };
        let contexts_bytes_max = limits.deflate_contexts_bytes_max / usize::from(shards);
        if id == ShardId(0) && (1..CONTEXT_BYTES).contains(&contexts_bytes_max) {
            tracing::warn!(
                "deflate_contexts_bytes_max: each of {shards} shards has {contexts_bytes_max} \
                 bytes of it, and a connection with contexts for both ways takes {CONTEXT_BYTES}"
            );
        }
        Core {
            id,
            now,
            rules: [rules.clone(), rules.with_deflate()],
            pool: Workspace::new(limits.pool_bytes_max)
                .compressing(Deflater::within(&limits))
                .with_ratio_max(limits.deflate_ratio_max)
                .with_contexts(Contexts::new(
                    limits.deflate_level as u8,
                    limits.deflate_context_bytes_min,
                    limits.deflate_bytes_min,
                    contexts_bytes_max,
                )),
            limits,
            hub,
            deferred: Deferred::default(),
            inflated_bytes: 0,
            inflated_now: 0,
            work: 0,
            share_end: Work::MAX,
        }
    }

    /// How much work was done so far.
    #[inline]
    pub fn spent(&self) -> Work {
        self.work + self.hub.work()
    }

    /// After `spent`, `share` more work may be done.
    #[inline]
    pub fn begin_share(&mut self, spent: Work, share: Work) {
        self.share_end = spent + share;
        self.pool.may_inflate(work::inflated_by(share));
    }

    /// Whether the share is used up.
    #[inline]
    pub fn is_exhausted(&self) -> bool {
        self.spent() >= self.share_end
    }

    /// How much more was done than the share.
    pub fn overdraft(&self) -> Work {
        self.spent().saturating_sub(self.share_end)
    }

    /// Counts a subscription that is refused since there are as many as there may be.
    pub fn count_subscription(&mut self, subscribed: Result<(), HubError>) -> Result<(), HubError> {
        let is_refused = subscribed == Err(HubError::TooManySubscriptions);
        self.deferred.subscriptions_refused += u64::from(is_refused);
        subscribed
    }
}

/// What a handler may touch of a connection, beside its session and what it has received.
pub(crate) struct Own {
    pub outbound: Outbound,
    pub subscriptions: Subscriptions,
    /// The timer that the application has set, or `NEVER`.
    pub timer: Time,
    pub peer: PeerAddress,
    /// It is one of this machine's own: no other, and no page of the web.
    pub is_local: bool,
    /// The request's target.
    pub target: Box<str>,
}

impl Own {
    pub fn new(peer: Option<SocketAddr>) -> Own {
        Own {
            outbound: Outbound::new(),
            subscriptions: Subscriptions::default(),
            timer: Time::NEVER,
            peer: PeerAddress::new(peer),
            is_local: false,
            target: Box::default(),
        }
    }
}

/// Both of them, for the length of a call: small, since a message that is short costs
/// little more than this.
pub(crate) struct Link<'a> {
    pub id: ConnectionId,
    pub round_trip_us: Option<u32>,
    pub core: &'a mut Core,
    pub own: &'a mut Own,
    /// The message being handled, if it may be sent from where it lies.
    pub received: Option<Message<'a>>,
}

impl Link<'_> {
    /// On whose behalf its handler acts.
    pub fn caller(&self) -> Caller {
        let network = self.own.peer.network();
        Caller::Peer { is_local: self.own.is_local, network }
    }

    pub fn reborrow(&mut self) -> Link<'_> {
        Link {
            id: self.id,
            round_trip_us: self.round_trip_us,
            core: self.core,
            own: self.own,
            received: self.received,
        }
    }
}
