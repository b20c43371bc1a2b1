//! All cursors of a shard: the subscriptions, their connections and their flow control.

use super::connections::{Connection, Connections};
use super::flow_control::FlowControl;
use super::rates::Rates;
use super::subscription::{State, Subscription, Subscriptions};
use crate::base::{Slab, Spare};
use crate::hub::context::Context;
use crate::hub::ids::{NONE, SubscriptionRef};
use crate::hub::past::Since;
use crate::hub::reader::Tape;
use crate::hub::signal::Signal;
use crate::hub::topic::Topics;
use std::collections::VecDeque;

/// See the module.
#[derive(Debug, Default)]
pub struct Cursors {
    pub connections: Connections,
    pub subscriptions: Slab<Subscription>,
    pub flows: Slab<FlowControl>,
    pub rates: Rates,
    /// Subscriptions whose home has answered: they begin with the next flush.
    pub beginning: VecDeque<SubscriptionRef>,
    /// Subscriptions with a rate whose tick has come.
    pub ticked: Vec<SubscriptionRef>,
    /// Connections that have left, some of whose subscriptions are yet to end.
    pub leaving: VecDeque<u32>,
    /// Reused.
    pub(super) delivered: Vec<(u64, u64)>,
}

impl Cursors {
    #[inline]
    pub fn at(&self, own: u32) -> &Subscription {
        self.subscriptions.at(own).expect("a live subscription")
    }

    #[inline]
    pub fn at_mut(&mut self, own: u32) -> &mut Subscription {
        self.subscriptions.at_mut(own).expect("a live subscription")
    }

    pub fn reference(&self, own: u32) -> SubscriptionRef {
        (own, self.subscriptions.generation(own).expect("a live subscription"))
    }

    /// The flow control of a subscription, which it gets if it has none.
    pub fn flow(&mut self, own: u32) -> &mut FlowControl {
        let subscription = self.subscriptions.at_mut(own).expect("a live subscription");
        if subscription.flow == NONE {
            subscription.flow = self.flows.insert(FlowControl::default()).0;
        }
        self.flows.at_mut(subscription.flow).expect("the flow control of a subscription")
    }

    /// The connection with these subscriptions.
    #[inline]
    pub fn of(&self, subscriptions: Subscriptions) -> Option<&Connection> {
        self.connections.of(subscriptions)
    }

    /// How many topics and patterns a connection is subscribed to.
    pub fn own_count(&self, connection: u32) -> usize {
        let connection = self.connections.at(connection);
        connection.len() + connection.patterns().len()
    }

    /// The subscription of a connection to the topic of this name.
    pub fn find(&self, subscriptions: Subscriptions, topic: &str, topics: &Topics) -> Option<u32> {
        let connection = self.of(subscriptions)?;
        connection.find(topics.find(topic)?, &self.subscriptions)
    }

    /// A subscription becomes ready: its connection is notified what to do with it. The next flush
    /// reports it.
    pub fn make_ready(
        &mut self,
        own: u32,
        signal: impl FnOnce(u32) -> Signal,
        context: &mut Context,
    ) {
        context.is_fresh = true;
        self.report(own, signal, context);
    }

    /// A subscription becomes ready, and this flush reports it, unless its connection has left.
    #[inline]
    pub(super) fn report(
        &mut self,
        own: u32,
        signal: impl FnOnce(u32) -> Signal,
        context: &mut Context,
    ) {
        let subscriber = self.connections.make_ready(own, &mut self.subscriptions);
        if subscriber != NONE {
            context.signals.push(signal(subscriber));
        }
    }

    /// The tape of a subscription.
    #[inline]
    pub fn tape<'t>(&self, own: u32, topics: &'t Topics) -> &'t Tape {
        let subscription = self.at(own);
        let reader = topics.reader(subscription.topic).expect("a topic with a subscriber");
        reader.tape(subscription.lane)
    }

    /// Up to which message a subscription has got everything, or where it is to begin, if that
    /// is known.
    pub fn reached(&self, own: u32, topics: &Topics) -> Option<Since> {
        let subscription = self.at(own);
        let flow = self.flows.at(subscription.flow);
        let seq = match subscription.state {
            State::Joining => return flow?.start.since,
            State::Live | State::Behind => subscription.cursor - 1,
            State::CatchingUp => flow?.delivered_up_to()?,
        };
        let epoch = topics.reader(subscription.topic)?.live?.epoch;
        Some(Since { epoch, seq })
    }

    /// A connection's subscriptions to topics that one of its patterns has made.
    pub fn made_by(&self, connection: u32, pattern: u32) -> Vec<u32> {
        let connection = self.connections.at(connection);
        connection.iter().filter(|own| self.at(*own).pattern == pattern).collect()
    }

    /// Removes a subscription. It still has its place among the topic's subscribers. Returns
    /// it, and its entry on the topic's list of members.
    pub fn remove(&mut self, own: u32, context: &mut Context) -> (Subscription, u32) {
        let connection = self.at(own).connection;
        let connection = self.connections.at_mut(connection);
        connection.make_idle(own, &mut self.subscriptions);
        connection.remove(own, &self.subscriptions);
        let removed = self.subscriptions.remove(own).expect("a live subscription");
        let mut member = NONE;
        if let Some(flow) = self.flows.remove(removed.flow) {
            if flow.holds_portion() {
                self.end_pull(removed.connection, context);
            } else {
                // It may have been made ready to ask.
                self.next_may_pull(removed.connection, context);
            }
            member = flow.member;
        }
        (removed, member)
    }

    /// Whether a flush has something to do.
    pub fn has_work(&self) -> bool {
        !self.beginning.is_empty() || !self.ticked.is_empty() || !self.leaving.is_empty()
    }

    /// Lists that were long in a burst become short.
    pub fn give_spare_back(&mut self) {
        self.beginning.give_spare_back();
        self.leaving.give_spare_back();
        self.ticked.give_spare_back();
        self.delivered.give_spare_back();
    }
}
