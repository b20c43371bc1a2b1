//! The run queues of a shard: connections that wait for something to be done.

use crate::app::DirectMessage;
use crate::base::Spare;
use crate::driver::Token;
use std::collections::VecDeque;

/// In each queue, the longest waiting comes first.
#[derive(Debug)]
pub struct Queues {
    /// Connections with something to send.
    pub dirty: VecDeque<u32>,
    /// Connections with subscriptions that are to catch up.
    pub catching_up: VecDeque<u32>,
    /// Connections whose receive waits for a buffer.
    pub starved: VecDeque<Token>,
    /// Metered connections with bytes to read.
    pub readable: VecDeque<Token>,
    /// Connections whose TLS handshake waits its turn.
    pub shaking: VecDeque<Token>,
    /// By shard: connections that wait until publications have room there.
    pub congested: Vec<VecDeque<Token>>,
    /// Some of them can be read from with the next turn.
    pub resumes_more: bool,
    /// Messages from one connection of this shard to another.
    pub direct: Vec<DirectMessage>,
}

impl Queues {
    pub fn new(shards: u16) -> Queues {
        Queues {
            dirty: VecDeque::new(),
            catching_up: VecDeque::new(),
            starved: VecDeque::new(),
            readable: VecDeque::new(),
            shaking: VecDeque::new(),
            congested: vec![VecDeque::new(); usize::from(shards)],
            resumes_more: false,
            direct: Vec::new(),
        }
    }

    /// Whether the next turn has something to do at once.
    pub fn has_work(&self) -> bool {
        !self.dirty.is_empty()
            || !self.readable.is_empty()
            || !self.starved.is_empty()
            || !self.shaking.is_empty()
            || !self.catching_up.is_empty()
            || self.resumes_more
    }

    /// Lists that were long in a burst become short.
    pub fn give_spare_back(&mut self) {
        [&mut self.dirty, &mut self.catching_up].into_iter().for_each(Spare::give_spare_back);
        let tokens = [&mut self.starved, &mut self.readable, &mut self.shaking];
        tokens.into_iter().chain(&mut self.congested).for_each(Spare::give_spare_back);
        self.direct.give_spare_back();
    }
}
