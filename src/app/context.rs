//! The context of a handler's call: the state that all connections of a shard share, and the
//! state of one connection.

use super::deferred::Deferred;
use crate::base::work::{self, Work};
use crate::base::{ConnectionId, Limits, PeerAddress, ShardId, Time};
use crate::connection::Outbound;
use crate::hub::{Caller, Hub, HubError, Subscriptions};
use crate::protocol::deflate::{CONTEXT_BYTES, Contexts, Deflater};
use crate::protocol::{Message, Role, Rules, Workspace};
use std::net::SocketAddr;

/// An echo of at least this many bytes leaves from the buffer that it was received in; shorter
/// ones are cheaper to copy. The simulated shards' messages are short.
const IN_PLACE_BYTES_MIN: usize = if cfg!(test) { 256 } else { 4 << 10 };

/// The state that the connections of a shard share.
pub(crate) struct Core {
    pub id: ShardId,
    pub now: Time,
    pub limits: Limits,
    /// Without compression, and with it.
    pub rules: [Rules; 2],
    pub pool: Workspace,
    pub hub: Hub,
    pub deferred: Deferred,
    /// Bytes inflated since this was last set to 0.
    pub inflated_bytes: usize,
    /// Of those, the ones from the bytes that are being served.
    pub inflated_now: usize,
    /// Work done so far, beside the hub's.
    pub work: Work,
    /// Where [`Core::spent`] has used up the share of the connection being served.
    share_end: Work,
}

impl Core {
    /// Limits of the whole process are shared evenly.
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

    /// The work done so far.
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

    /// The work done beyond the share.
    pub fn overdraft(&self) -> Work {
        self.spent().saturating_sub(self.share_end)
    }

    /// Counts a subscription that `subscriptions_max` refuses.
    pub fn count_subscription(&mut self, subscribed: Result<(), HubError>) -> Result<(), HubError> {
        let is_refused = subscribed == Err(HubError::TooManySubscriptions);
        self.deferred.subscriptions_refused += u64::from(is_refused);
        subscribed
    }
}

/// The state of a connection that its handler may touch, beside its session.
pub(crate) struct ConnState {
    pub outbound: Outbound,
    pub subscriptions: Subscriptions,
    /// The timer that the application has set, or `NEVER`.
    pub timer: Time,
    pub peer: PeerAddress,
    /// The request comes from this machine, and from no foreign web page.
    pub is_local: bool,
    /// The request's target.
    pub target: Box<str>,
}

impl ConnState {
    pub fn new(peer: Option<SocketAddr>) -> ConnState {
        ConnState {
            outbound: Outbound::new(),
            subscriptions: Subscriptions::default(),
            timer: Time::NEVER,
            peer: PeerAddress::new(peer),
            is_local: false,
            target: Box::default(),
        }
    }
}

/// Both of them, for the length of a call. It is small, since a short message costs little more
/// than this.
pub(crate) struct CallContext<'a> {
    pub id: ConnectionId,
    pub round_trip_us: Option<u32>,
    pub core: &'a mut Core,
    pub state: &'a mut ConnState,
    /// The message being handled, if it may be sent from its receive buffer.
    pub received: Option<Message<'a>>,
}

impl CallContext<'_> {
    /// On whose behalf the handler acts.
    pub fn caller(&self) -> Caller {
        let network = self.state.peer.network();
        Caller::Peer { is_local: self.state.is_local, network }
    }

    pub fn reborrow(&mut self) -> CallContext<'_> {
        CallContext {
            id: self.id,
            round_trip_us: self.round_trip_us,
            core: self.core,
            state: self.state,
            received: self.received,
        }
    }
}

impl CallContext<'_> {
    /// Whether `message` is the very message being handled, and long enough that echoing it from
    /// where it lies is worth it.
    #[inline]
    pub fn is_echo_in_place(&self, message: Message<'_>) -> bool {
        let payload = message.payload();
        let may_deflate = payload.len() <= self.core.limits.deflate_bytes_max
            && self.state.outbound.compression().is_agreed();
        payload.len() >= IN_PLACE_BYTES_MIN
            && self.core.deferred.echo_in_place.is_none()
            && !may_deflate
            && self.received.is_some_and(|received| std::ptr::eq(received.payload(), payload))
    }

    /// Queues an echo that was to leave from its receive buffer, since something follows it.
    #[inline]
    pub fn settle_echo(&mut self) {
        let Core { deferred, pool, .. } = &mut *self.core;
        if let (Some(kind), Some(received)) = (deferred.echo_in_place.take(), self.received) {
            self.state.outbound.frame(pool, kind.opcode(), received.payload(), None);
        }
    }
}
