//! Delivery to a connection: frames of tapes, and portions of the past while it catches up.

use crate::base::work;
use crate::hub::Hub;
use crate::hub::cursor::{
    CatchingUp, Output, Progress, Request, State, Subscriptions, ready_range,
};
use crate::hub::past::Past;
use crate::hub::post::{HubMessage, Waiting};
use crate::hub::signal::Step;
use std::sync::Arc;

impl Hub {
    /// The frames that a connection has yet to get from its topics: about `bytes_max` bytes of
    /// them in at most `slices_max` slices, in the order in which [`Hub::advance`] counts them.
    #[inline]
    pub fn pending<'h>(
        &'h self,
        subscriptions: Subscriptions,
        bytes_max: usize,
        slices_max: usize,
        take: impl FnMut(&'h [u8]),
    ) {
        self.cursors.pending(&self.topics, subscriptions, bytes_max, slices_max, take);
    }

    /// Moves the cursors after `bytes` bytes from [`Hub::pending`] were sent. A frame that has
    /// begun counts as delivered. Its unsent bytes go to `rest`, and the connection keeps them,
    /// so that cursors are always between two frames. Returns how many messages were begun.
    pub fn advance(
        &mut self,
        subscriptions: &mut Subscriptions,
        bytes: usize,
        rest: impl FnOnce(&[u8]),
    ) -> u64 {
        self.cursors.advance(&self.topics, subscriptions, bytes, rest)
    }

    /// Whether a connection has something to get.
    pub fn has_pending(&self, subscriptions: Subscriptions) -> bool {
        self.cursors.has_pending(&self.topics, subscriptions)
    }

    /// The number of the last message of `topic` that was delivered to a connection, or skipped
    /// for it, or came before its subscription.
    pub fn position(&self, subscriptions: Subscriptions, topic: &str) -> Option<u64> {
        let own = self.cursors.find(subscriptions, topic, &self.topics)?;
        let subscription = self.cursors.at(own);
        match subscription.state {
            State::Live | State::Behind => Some(subscription.cursor - 1),
            State::Joining | State::CatchingUp => None,
        }
    }

    /// Reports the names and positions of a connection's topics of which it has got nothing
    /// since the last call, and was subscribed to then.
    pub fn quiet(&mut self, subscriptions: Subscriptions, each: impl FnMut(&str, u64)) {
        self.cursors.quiet(&self.topics, subscriptions, each, &mut self.context);
    }

    /// The client has everything of `topic` up to message `seq`: a subscription with a window
    /// may continue. `false` if there is no subscription.
    pub fn acknowledge(&mut self, subscriptions: Subscriptions, topic: &str, seq: u64) -> bool {
        self.context.charge(work::LOOK_UP);
        let own = self.cursors.find(subscriptions, topic, &self.topics);
        if let Some(own) = own {
            self.cursors.acknowledge(own, seq, &mut self.context);
        }
        own.is_some()
    }

    /// Brings the subscriptions of a connection back to their tapes: appends the frames to send
    /// to `frames`, and their order and other events to `steps`. Call it after
    /// [`Signal::CatchUp`](crate::hub::Signal::CatchUp), once everything that was sent before
    /// has left. Returns whether to call it again when these frames have left.
    pub fn catch_up(
        &mut self,
        subscriptions: &mut Subscriptions,
        frames: &mut Vec<u8>,
        steps: &mut Vec<Step>,
    ) -> bool {
        let bytes_max = frames.len() + self.context.limits.replay_bytes_max;
        let mut output = Output { frames, steps };
        let mut again = false;
        let Some((mut own, last)) = ready_range(&self.cursors, *subscriptions) else {
            return false;
        };
        loop {
            let (is_last, next) = (own == last, self.cursors.at(own).next_ready);
            self.context.charge(work::LOOK_UP);
            again |= self.catch_up_one(own, &mut output);
            self.cursors.end_turn(own, *subscriptions, &self.topics);
            if output.frames.len() >= bytes_max || self.context.is_exhausted() && !is_last {
                return true;
            }
            if is_last {
                return again;
            }
            own = next;
        }
    }

    fn catching_up(&mut self) -> CatchingUp<'_> {
        let Hub { cursors, topics, tapes, context, .. } = self;
        CatchingUp { cursors, topics, lanes: &mut tapes.lanes, context }
    }

    /// Takes one subscription forward, up to one portion. Returns whether it got one.
    fn catch_up_one(&mut self, own: u32, output: &mut Output<'_>) -> bool {
        self.catching_up().unpark(own);
        loop {
            match self.catching_up().proceed(own, output) {
                Progress::Paused(got) => return got,
                Progress::Needs(request) => {
                    let past = self.past_here(&request);
                    if let Some(got) = self.catching_up().deliver(own, past, output) {
                        return got;
                    }
                }
                Progress::Asks(request) => {
                    self.ask_home(request);
                    return false;
                }
            }
        }
    }

    /// A portion of the past of a topic that is homed here. It is never ahead of the tapes of
    /// this shard.
    fn past_here(&mut self, request: &Request) -> Past {
        let &Request { topic, view, portion, .. } = request;
        if view.reaches_the_end() {
            self.forward_here(topic);
        }
        let home = self.topics.home(topic).expect("a topic that is read has a home");
        home.past(self.context.shard, view, portion).expect("this shard reads it")
    }

    /// Asks the home of a topic for a portion of its past.
    fn ask_home(&mut self, request: Request) {
        let Request { topic: index, subscription, connection, view, portion } = request;
        let reader = self.topics.reference(index);
        let known = self.topics.at(index).expect("a subscription has its topic");
        let (topic, home) = (Arc::clone(&known.name), known.home_shard);
        let pull = HubMessage::Pull { topic, reader, subscription, connection, view, portion };
        self.outgoing.push(home, Waiting::Message(pull, 0));
    }
}
