//! The state of a connection.

use crate::hub::Delivery;
use foldhash::fast::RandomState;
use std::collections::{BTreeSet, HashMap, VecDeque};

/// The state of a connection, most of it only while a request is in progress.
#[derive(Debug, Default)]
pub struct JsonSession {
    /// The rooms that it has joined: a chat message goes to all of them.
    pub(super) rooms: BTreeSet<Box<str>>,
    /// The requests to subscribe that have no answer yet, by channel: the answer comes when the
    /// subscription is live.
    pub(super) subscribing: HashMap<Box<str>, Subscribing, RandomState>,
    /// Publications with an id, whose answers carry their numbers.
    pub(super) publishes: VecDeque<Publishing>,
    pub(super) next_token: u64,
    /// Publications of this second, by its number.
    pub(super) second: u64,
    pub(super) published: u32,
    pub(super) is_subscribed: bool,
    /// A request that is partly done.
    pub(super) unfinished: Option<Box<Unfinished>>,
}

#[derive(Debug)]
pub(super) struct Subscribing {
    pub(super) id: Option<Box<str>>,
    /// The request had a name, and the channel has no list.
    pub(super) is_unlisted: bool,
}

/// The rest of a request that names many channels, or goes to many rooms.
#[derive(Debug)]
pub(super) struct Unfinished {
    pub(super) id: Option<Box<str>>,
    pub(super) step: Step,
}

#[derive(Debug)]
pub(super) enum Step {
    Subscribe {
        channels: Vec<Box<str>>,
        name: Option<Box<str>>,
        delivery: Delivery,
    },
    Unsubscribe {
        channels: Vec<Box<str>>,
    },
    /// A chat message, as the client wrote it, for the rooms behind this one.
    Say {
        request: Box<str>,
        behind: Box<str>,
    },
}

#[derive(Debug)]
pub(super) struct Publishing {
    pub(super) token: u64,
    pub(super) channel: Box<str>,
    pub(super) id: Box<str>,
}
