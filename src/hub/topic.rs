//! The topics of a shard. A topic has a part for each role that this shard has in it: the home,
//! which numbers and keeps its messages, and the reader, which holds tapes and subscribers.

use super::context::Context;
use super::error::HubError;
use super::home::HomeTopic;
use super::ids::TopicRef;
use super::memory::Budget;
use super::names::Names;
use super::reader::ReaderTopic;
use crate::base::{ShardId, Slab, work};
use std::sync::Arc;

/// A topic on one shard. It is forgotten when it has neither part.
#[derive(Debug)]
pub struct Topic {
    pub name: Arc<str>,
    /// The shard that is its home.
    pub home_shard: ShardId,
    /// The place of its rule.
    pub rule: u16,
    /// On its home shard: its messages, and the shards that read them.
    pub home: Option<Box<HomeTopic>>,
    /// On a shard that reads it: tapes and subscribers.
    pub reader: Option<Box<ReaderTopic>>,
}

/// All topics of a shard, by index and by name.
#[derive(Debug, Default)]
pub struct Topics {
    names: Names,
    slab: Slab<Topic>,
}

impl Topics {
    pub fn len(&self) -> usize {
        self.slab.len()
    }

    /// The end of the range of indices in use.
    pub fn index_end(&self) -> u32 {
        self.slab.index_end()
    }

    #[inline]
    pub fn at(&self, index: u32) -> Option<&Topic> {
        self.slab.at(index)
    }

    #[inline]
    pub fn at_mut(&mut self, index: u32) -> Option<&mut Topic> {
        self.slab.at_mut(index)
    }

    pub fn get(&self, topic: TopicRef) -> Option<&Topic> {
        self.slab.get(topic.index, topic.generation)
    }

    pub fn get_mut(&mut self, topic: TopicRef) -> Option<&mut Topic> {
        self.slab.get_mut(topic.index, topic.generation)
    }

    /// The reference to a topic that exists.
    pub fn reference(&self, index: u32) -> TopicRef {
        TopicRef { index, generation: self.slab.generation(index).expect("a topic") }
    }

    /// The home part of the topic at `index`.
    #[inline]
    pub fn home(&self, index: u32) -> Option<&HomeTopic> {
        self.at(index)?.home.as_deref()
    }

    #[inline]
    pub fn home_mut(&mut self, index: u32) -> Option<&mut HomeTopic> {
        self.at_mut(index)?.home.as_deref_mut()
    }

    /// The reader part of the topic at `index`.
    #[inline]
    pub fn reader(&self, index: u32) -> Option<&ReaderTopic> {
        self.at(index)?.reader.as_deref()
    }

    #[inline]
    pub fn reader_mut(&mut self, index: u32) -> Option<&mut ReaderTopic> {
        self.at_mut(index)?.reader.as_deref_mut()
    }

    /// The topic of this name.
    #[inline]
    pub fn find(&self, name: &str) -> Option<u32> {
        self.names.find(name, |index| name_of(&self.slab, index))
    }

    /// The topic of this name, which is made if limits allow.
    ///
    /// # Errors
    /// [`HubError::TooManyTopics`], [`HubError::OverBudget`].
    pub fn find_or_make(
        &mut self,
        name: &str,
        budget: &mut Budget,
        context: &mut Context,
    ) -> Result<u32, HubError> {
        if let Some(index) = self.find(name) {
            return Ok(index);
        }
        if self.len() >= context.share(context.limits.topics_max) {
            context.tally.topics_refused += 1;
            return Err(HubError::TooManyTopics);
        }
        if !budget.has_room_for_topic(name, context) {
            context.tally.budget_exceeded += 1;
            return Err(HubError::OverBudget);
        }
        context.charge(work::TOPIC);
        Ok(self.make(name, budget, context))
    }

    /// Makes a topic that does not exist, whatever the limits.
    pub fn make(&mut self, name: &str, budget: &mut Budget, context: &Context) -> u32 {
        budget.add_topic(name);
        let (index, _) = self.slab.insert(Topic {
            name: name.into(),
            home_shard: context.home_of(name),
            rule: context.rules.number(name),
            home: None,
            reader: None,
        });
        let Topics { names, slab } = self;
        names.insert(index, |index| name_of(slab, index));
        index
    }

    /// Forgets a topic that has neither part.
    pub fn forget_if_unused(&mut self, index: u32, budget: &mut Budget) {
        let Some(topic) = self.slab.at(index) else { return };
        if topic.home.is_none()
            && topic.reader.is_none()
            && let Some(topic) = self.slab.remove(index)
        {
            self.names.remove(&topic.name, index);
            budget.remove_topic(&topic.name);
        }
    }
}

fn name_of(topics: &Slab<Topic>, index: u32) -> &str {
    &topics.at(index).expect("a named topic exists").name
}
