//! What hubs write to each other.

use super::HubError;
use super::delivery::Since;
use super::log::{Entry, EntryKind, Past, Portion, TopicRef, View};
use crate::base::work::Work;
use crate::base::{ConnectionId, ShardId};
use bytes::Bytes;
use std::sync::Arc;

/// Who is told what became of a publication: that it was refused, and if it has a token
/// its number too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The publishing connection.
    pub connection: ConnectionId,
    /// Its own name for the publication.
    pub token: Option<u64>,
    /// Its network, as [`Caller`](super::Caller) has it.
    pub network: u64,
}

/// One mail. Between two shards mail keeps its order.
///
/// ```
/// # use tapecast::hub::{Delivery, Hub, Mail, Outbox, Subscriptions};
/// # use tapecast::ShardId;
/// let home = Hub::home_of("news", 1, 2);
/// let elsewhere = ShardId(1 - home.0);
/// let mut reader = Hub::for_tests(elsewhere, 2);
/// let mut outbox = Outbox::default();
/// let mut subscriptions = Subscriptions::default();
/// reader.subscribe(7, &mut subscriptions, "news", &Delivery::default()).unwrap();
/// reader.flush(&mut outbox, &mut Vec::new());
/// let (_, interest) = outbox.mails.remove(0);
/// assert!(matches!(interest, Mail::Interest { wanted: true, .. }));
///
/// let mut numbering = Hub::for_tests(home, 2);
/// numbering.receive(elsewhere, interest);
/// numbering.flush(&mut outbox, &mut Vec::new());
/// assert!(matches!(outbox.mails[..], [(_, Mail::Welcome { last: 0, .. })]));
/// ```
#[derive(Debug)]
pub enum Mail {
    /// To the home: this shard reads the topic from now on, or no longer.
    Interest {
        /// The topic's name.
        topic: Arc<str>,
        /// The topic in the reader's table; named in all that the home answers.
        reader: TopicRef,
        /// Whether it reads.
        wanted: bool,
    },
    /// To the home: number this.
    Publish {
        /// The topic's name.
        topic: Arc<str>,
        /// What it is the newest value of.
        key: Option<Arc<str>>,
        /// From this message on its key has no value.
        removes_key: bool,
        /// What the payload is.
        kind: EntryKind,
        /// The payload.
        payload: Bytes,
        /// Who wants to know its number.
        receipt: Option<Receipt>,
    },
    /// To the home: a portion of the topic's past, please.
    Pull {
        /// The topic's name.
        topic: Arc<str>,
        /// The topic in the reader's table.
        reader: TopicRef,
        /// The subscription that wants it: index and generation.
        subscription: (u32, u32),
        /// And its connection's.
        connection: (u32, u32),
        /// Of what.
        view: View,
        /// How much.
        portion: Portion,
    },
    /// To every home: this shard watches the pattern from now on, or no longer.
    Watch {
        /// The pattern.
        pattern: Arc<str>,
        /// Its name on that shard: index and generation.
        reader: (u32, u32),
        /// Whether it watches.
        wanted: bool,
    },
    /// To the home of a list of members: somebody has come or gone.
    Member {
        /// The topic that it is the list of.
        topic: Arc<str>,
        /// Unique among its members.
        key: Arc<str>,
        /// What it is called.
        name: Arc<str>,
        /// Whether it is there.
        is_present: bool,
    },
    /// From a home: a topic that matches a watched pattern is there.
    Appeared {
        /// The pattern in the reader's table, if it was there before that; all that it
        /// matches if it has just appeared.
        pattern: Option<(u32, u32)>,
        /// The topic's name.
        topic: Arc<str>,
        /// Behind which message to begin; from now on if there is none.
        since: Option<Since>,
    },
    /// From the home: nothing of the topic is left but its readers.
    Silent {
        /// The topic in the reader's table.
        topic: TopicRef,
    },
    /// From the home: interest is registered; what follows is what comes after
    /// message `last`.
    Welcome {
        /// The topic in the reader's table.
        topic: TopicRef,
        /// The topic's incarnation.
        epoch: u64,
        /// The last message's number, 0 if there is none.
        last: u64,
    },
    /// From the home: the next message.
    Entry {
        /// The topic in the reader's table.
        topic: TopicRef,
        /// The message, shared with every shard that reads it.
        entry: Arc<Entry>,
    },
    /// From the home: the reader shard fell off the log.
    Gap {
        /// The topic in the reader's table.
        topic: TopicRef,
        /// How many messages are missing here.
        missed: u64,
    },
    /// From the home: what was asked for. Every [`Mail::Pull`] is answered.
    Pulled {
        /// The topic in the reader's table.
        topic: TopicRef,
        /// The subscription that wants it.
        subscription: (u32, u32),
        /// And its connection.
        connection: (u32, u32),
        /// The portion; none if the shard does not read the topic any more.
        past: Option<Past>,
    },
    /// From a home: a connection's publications have cost more here than it was charged,
    /// since they made topics that others watch for.
    Owed {
        /// Whose.
        connection: ConnectionId,
        /// How much.
        work: Work,
    },
    /// From the home: what became of a publication.
    Published {
        /// Who wants to know.
        receipt: Receipt,
        /// Its number, or why it has none.
        result: Result<u64, HubError>,
    },
}

/// How mail leaves a shard.
///
/// ```
/// use tapecast::ShardId;
/// use tapecast::hub::{Hub, Mail, Outbox, Publication};
///
/// let ShardId(home) = Hub::home_of("news", 1, 2);
/// let mut elsewhere = Hub::for_tests(ShardId(1 - home), 2);
/// elsewhere.publish(&Publication::new("news", "hi")).unwrap();
/// // `Outbox` is a `Post` that keeps what it is given.
/// let mut outbox = Outbox::default();
/// elsewhere.flush(&mut outbox, &mut Vec::new());
/// assert!(matches!(&outbox.mails[..], [(_, Mail::Publish { payload, .. })] if payload == "hi"));
/// ```
pub trait Post {
    /// Hands `mail` of `weight` bytes over to shard `to`.
    ///
    /// # Errors
    /// The mail, when there is no room now.
    fn post(&mut self, to: ShardId, mail: Mail, weight: usize) -> Result<(), Mail>;
}

/// Keeps mail for a test to look at, up to a number of mails.
///
/// ```
/// use tapecast::hub::Outbox;
///
/// let full = Outbox { room: 0, ..Outbox::default() };
/// # assert!(full.mails.is_empty());
/// ```
#[derive(Debug)]
pub struct Outbox {
    /// What was posted, and to whom.
    pub mails: Vec<(ShardId, Mail)>,
    /// How many more mails it takes.
    pub room: usize,
}

impl Default for Outbox {
    fn default() -> Outbox {
        Outbox { mails: Vec::new(), room: usize::MAX }
    }
}

impl Post for Outbox {
    fn post(&mut self, to: ShardId, mail: Mail, _weight: usize) -> Result<(), Mail> {
        if self.room == 0 {
            return Err(mail);
        }
        self.room -= 1;
        self.mails.push((to, mail));
        Ok(())
    }
}
