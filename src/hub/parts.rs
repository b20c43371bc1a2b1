//! The hub and its parts: each part owns its data, and the operations lead from one to the
//! next.

use super::context::{Context, home_of};
use super::cursor::{Cursors, Members, Patterns};
use super::home::Homes;
use super::intake::Intake;
use super::memory::Budget;
use super::policy::Rules;
use super::post::Outgoing;
use super::reader::Tapes;
use super::topic::Topics;
use crate::base::{Limits, ShardId};
use crate::protocol::deflate::Deflater;
use std::sync::Arc;

/// The parts that a hub is built from.
///
/// ```
/// use std::sync::Arc;
/// use tapecast::hub::{Hub, Rules, Setup};
/// use tapecast::{Limits, ShardId};
///
/// let limits = Limits::default();
/// let rules = Arc::new(Rules::new(Vec::new(), &limits)?);
/// let hub = Hub::new(Setup {
///     shard: ShardId(0),
///     shards: 1,
///     limits,
///     rules,
///     home_seed: 1,
///     epoch_seed: 2,
///     unix_ms: 0,
/// });
/// assert_eq!(hub.sizes(), (0, 0));
/// # Ok::<(), tapecast::hub::RuleError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Setup {
    /// This shard.
    pub shard: ShardId,
    /// The number of shards.
    pub shards: u16,
    /// Limits. Those of the process are shared evenly.
    pub limits: Limits,
    /// The same on all shards.
    pub rules: Arc<Rules>,
    /// The same on all shards, since a topic has one home.
    pub home_seed: u64,
    /// Different on each shard.
    pub epoch_seed: u64,
    /// Milliseconds since 1970 at [`Time::ZERO`](crate::base::Time::ZERO).
    pub unix_ms: u64,
}

impl Setup {
    pub(super) fn for_tests(shard: ShardId, shards: u16, limits: &Limits) -> Setup {
        Setup {
            shard,
            shards,
            limits: limits.clone(),
            rules: Arc::new(Rules::new(Vec::new(), limits).expect("no rule is no bad rule")),
            home_seed: 1,
            epoch_seed: 2,
            unix_ms: 0,
        }
    }
}

/// One shard's part of all topics.
///
/// ```
/// use tapecast::hub::{Delivery, Hub, Outbox, Publication, Subscriptions};
///
/// let mut hub = Hub::alone(&tapecast::Limits::default());
/// let mut subscriptions = Subscriptions::default();
/// hub.subscribe(7, &mut subscriptions, "news", &Delivery::default()).unwrap();
/// hub.publish(&Publication::new("news", "hi")).unwrap();
/// hub.flush(&mut Outbox::default(), &mut Vec::new());
///
/// let mut sent = Vec::new();
/// hub.pending(subscriptions, 1024, 8, |slice| sent.extend_from_slice(slice));
/// assert_eq!(sent, b"\x81\x02hi");
/// let messages = hub.advance(&mut subscriptions, sent.len(), |_rest| {});
/// assert_eq!(messages, 1);
/// assert!(!hub.has_pending(subscriptions));
/// ```
#[derive(Debug)]
pub struct Hub {
    pub(super) context: Context,
    pub(super) topics: Topics,
    pub(super) budget: Budget,
    /// The home side.
    pub(super) homes: Homes,
    pub(super) intake: Intake,
    /// The reader side.
    pub(super) tapes: Tapes,
    pub(super) cursors: Cursors,
    pub(super) patterns: Patterns,
    pub(super) members: Members,
    /// Towards the other shards.
    pub(super) outgoing: Outgoing,
}

impl Hub {
    /// The hub of one shard.
    pub fn new(setup: Setup) -> Hub {
        let Setup { shard, shards, limits, rules, home_seed, epoch_seed, unix_ms } = setup;
        Hub {
            topics: Topics::default(),
            budget: Budget::default(),
            homes: Homes::new(epoch_seed),
            intake: Intake::default(),
            tapes: Tapes::new(Deflater::within(&limits)),
            cursors: Cursors::default(),
            patterns: Patterns::default(),
            members: Members::default(),
            outgoing: Outgoing::new(shards),
            context: Context::new((shard, shards), limits, rules, home_seed, unix_ms),
        }
    }

    /// The only hub of a process with these limits.
    pub fn alone(limits: &Limits) -> Hub {
        Hub::new(Setup::for_tests(ShardId(0), 1, limits))
    }

    /// One hub of several with default limits; topics have the homes that
    /// [`Hub::home_of`] gives for the seed 1.
    pub fn for_tests(shard: ShardId, shards: u16) -> Hub {
        Hub::new(Setup::for_tests(shard, shards, &Limits::default()))
    }

    /// The shard that numbers the topic of this name.
    pub fn home_of(name: &str, home_seed: u64, shards: u16) -> ShardId {
        home_of(name, home_seed, shards)
    }

    /// The shard that numbers the topic of this name here.
    pub fn home(&self, name: &str) -> ShardId {
        self.context.home_of(name)
    }
}
