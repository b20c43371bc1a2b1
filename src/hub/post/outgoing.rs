//! Messages to other shards that wait for room, shard by shard and in their order.
//!
//! States (interest, watched patterns, membership) and answers about the past are only made out
//! when they are posted: they are never out of date, and a state that changes twice waits once.

use super::message::{HUB_MESSAGE_OVERHEAD_BYTES, HubMessage};
use crate::base::work::{self, Work};
use crate::base::{ShardId, Spare};
use crate::hub::ids::{ConnectionRef, MemberRef, PatternRef, SubscriptionRef, TopicRef};
use crate::hub::message::Published;
use crate::hub::past::{Portion, View};
use std::collections::VecDeque;

/// A request of a shard for the past of a topic that is homed here.
#[derive(Clone, Copy, Debug)]
pub struct Pull {
    /// The topic here.
    pub topic: TopicRef,
    pub subscription: SubscriptionRef,
    pub connection: ConnectionRef,
    /// The topic in the asking shard's table.
    pub reader: TopicRef,
    pub view: View,
    pub portion: Portion,
}

/// A message that waits for room.
#[derive(Debug)]
pub enum Waiting {
    /// The shard's interest in a topic, as it is when this is posted.
    Interest(TopicRef),
    /// Whether the pattern is watched, likewise.
    Watch(PatternRef),
    /// Whether the member is present, likewise.
    Member(MemberRef),
    /// The answer to this, likewise.
    Pull(Pull),
    /// A message and its weight, which counts for backpressure while it waits.
    Message(HubMessage, usize),
    /// An answer about the past that found no room, and its weight, which does not count.
    Answer(HubMessage, usize),
}

/// The messages that wait for one shard.
#[derive(Debug, Default)]
struct Neighbour {
    waiting: VecDeque<Waiting>,
    /// The weight of the publications among it.
    waiting_bytes: usize,
    /// The shard's requests that reach up to the last message of their topics.
    asking: VecDeque<Pull>,
    /// Topics whose new messages wait for room there.
    topics: VecDeque<TopicRef>,
    /// The weight of the message that found no room in this flush; 0 if work ran out instead.
    stuck: Option<usize>,
}

/// See the module.
#[derive(Debug)]
pub struct Outgoing {
    neighbours: Vec<Neighbour>,
    /// The requests of shards come before logs in every other flush.
    asking_first: bool,
}

/// The charge for a publication of `bytes` bytes on the shard that sends it to its home: its cost
/// there, if its topic is known and has one reader shard.
pub fn sent_work(bytes: usize) -> Work {
    work::MAIL + work::PUBLICATION + work::FORWARD + 2 * work::keep(bytes)
}

/// The weight of an entry or a publication with `bytes` bytes of payload and key.
pub fn weight(bytes: usize) -> usize {
    bytes + HUB_MESSAGE_OVERHEAD_BYTES
}

impl Outgoing {
    pub fn new(shards: u16) -> Outgoing {
        let neighbours = (0..shards).map(|_| Neighbour::default()).collect();
        Outgoing { neighbours, asking_first: false }
    }

    fn to(&mut self, shard: ShardId) -> &mut Neighbour {
        &mut self.neighbours[shard.index()]
    }

    /// Queues something behind everything that waits for a shard.
    pub fn push(&mut self, to: ShardId, waiting: Waiting) {
        self.to(to).waiting.push_back(waiting);
    }

    /// Puts something back before everything that waits for a shard, because it found no room.
    pub fn put_back(&mut self, to: ShardId, waiting: Waiting) {
        self.to(to).waiting.push_front(waiting);
    }

    pub fn pop(&mut self, to: ShardId) -> Option<Waiting> {
        self.to(to).waiting.pop_front()
    }

    /// The number of messages that wait for a shard.
    pub fn len(&self, to: ShardId) -> usize {
        self.neighbours[to.index()].waiting.len()
    }

    /// Makes room for a publication of this weight on its way to its home, unless that exceeds
    /// `bytes_max`; one always fits, whatever its size, or it could never be sent. Publishers are
    /// to pause ([`Published::Backpressure`]) from half of it on, or if the last flush found no
    /// room at that shard.
    pub fn reserve(&mut self, home: ShardId, weight: usize, bytes_max: usize) -> Option<Published> {
        let neighbour = self.to(home);
        if neighbour.waiting_bytes > 0 && neighbour.waiting_bytes + weight > bytes_max {
            return None;
        }
        neighbour.waiting_bytes += weight;
        let is_congested = neighbour.stuck.is_some() || neighbour.waiting_bytes > bytes_max / 2;
        Some(if is_congested { Published::Backpressure } else { Published::Queued })
    }

    /// A publication of this weight has left.
    pub fn release(&mut self, to: ShardId, weight: usize) {
        self.to(to).waiting_bytes -= weight;
    }

    /// The weight of the publications that wait for a shard.
    pub fn waiting_bytes(&self, to: ShardId) -> usize {
        self.neighbours[to.index()].waiting_bytes
    }

    /// The weight of all publications that wait.
    pub fn all_waiting_bytes(&self) -> usize {
        self.neighbours.iter().map(|neighbour| neighbour.waiting_bytes).sum()
    }

    /// A shard asks for a portion that reaches the end of a topic.
    pub fn push_asking(&mut self, from: ShardId, pull: Pull) {
        self.to(from).asking.push_back(pull);
    }

    pub fn put_asking_back(&mut self, from: ShardId, pull: Pull) {
        self.to(from).asking.push_front(pull);
    }

    pub fn pop_asking(&mut self, from: ShardId) -> Option<Pull> {
        self.to(from).asking.pop_front()
    }

    /// Whether the requests of shards come first in this flush; it alternates.
    pub fn alternate(&mut self) -> bool {
        self.asking_first = !self.asking_first;
        self.asking_first
    }

    /// New messages of a topic wait for room at a shard.
    pub fn push_topic(&mut self, to: ShardId, topic: TopicRef) {
        self.to(to).topics.push_back(topic);
    }

    /// The topic that has waited longest there.
    pub fn pop_topic(&mut self, to: ShardId) -> Option<TopicRef> {
        self.to(to).topics.pop_front()
    }

    /// A message of this weight found no room at a shard, or with 0, the work ran out before.
    pub fn set_stuck(&mut self, to: ShardId, weight: Option<usize>) {
        self.to(to).stuck = weight;
    }

    pub fn stuck_at(&self, to: ShardId) -> Option<usize> {
        self.neighbours[to.index()].stuck
    }

    /// A flush begins: every shard may have room again.
    pub fn forget_stuck(&mut self) {
        self.neighbours.iter_mut().for_each(|neighbour| neighbour.stuck = None);
    }

    /// The shards that had no room at the last flush, and the weight of the message that found
    /// none.
    pub fn stuck(&self) -> impl Iterator<Item = (ShardId, usize)> {
        let stuck = self.neighbours.iter().enumerate();
        stuck.filter_map(|(shard, known)| Some((ShardId(shard as u16), known.stuck?)))
    }

    /// Whether something waits.
    pub fn has_work(&self) -> bool {
        self.neighbours.iter().any(|known| {
            !known.waiting.is_empty() || !known.asking.is_empty() || !known.topics.is_empty()
        })
    }

    /// Lists that were long in a burst become short.
    pub fn give_spare_back(&mut self) {
        for neighbour in &mut self.neighbours {
            neighbour.waiting.give_spare_back();
            neighbour.asking.give_spare_back();
            neighbour.topics.give_spare_back();
        }
    }
}
