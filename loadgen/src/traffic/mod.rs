//! What connections send, when, and what they make of what comes.
//!
//! Each group of connections has one of these on every thread. It knows neither
//! sockets nor frames: it is asked what to send, and told what came.

mod broadcast;
mod echo;
mod topics;

pub use broadcast::{Broadcast, Rooms, Stream};
pub use echo::Echo;
pub use topics::Topics;

use crate::measure::Counted;
use crate::payload::Following;
use tapecast::base::Time;

/// Takes the payload of a message to send; says whether there is room for more.
pub type Send<'a> = dyn FnMut(&[u8]) -> bool + 'a;

/// Sends as long as `next` has something to send, and says that there is room for more; says
/// how much it was.
fn send_all(mut next: impl FnMut() -> Option<bool>) -> u64 {
    let mut sent = 0;
    while let Some(has_room) = next() {
        sent += 1;
        if !has_room {
            break;
        }
    }
    sent
}

/// What a message that came is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    /// What was awaited, or nothing to worry about.
    Fine,
    /// Not what was awaited.
    Wrong,
    /// Nothing was awaited.
    Unawaited,
    /// The server says that something can't be.
    Refused,
    /// What was awaited, and the connection has done what it came for.
    Done,
}

/// The traffic of a group on one thread.
#[derive(Debug)]
pub enum Traffic {
    Echo(Echo),
    Broadcast(Broadcast),
    Topics(Topics),
    /// Connecting is what it is about: perhaps with a few messages.
    Connect {
        echo: Echo,
        messages: u64,
        /// Per connection: when it was to be made, and how many replies it has.
        connections: Vec<(Time, u64)>,
    },
    Idle,
}

impl Traffic {
    /// A connection is open; it was to be made at `planned`.
    pub fn opened(&mut self, connection: usize, planned: Time, now: Time, counted: &mut Counted) {
        match self {
            Traffic::Broadcast(broadcast) => broadcast.opened(connection),
            Traffic::Topics(topics) => topics.broadcast().opened(connection),
            Traffic::Connect { messages, connections, .. } => {
                connections[connection] = (planned, 0);
                if *messages == 0 {
                    counted.message(now - planned, now - planned, 0);
                }
            }
            Traffic::Echo(_) | Traffic::Idle => {}
        }
    }

    /// What is to be said first on a connection.
    pub fn greeting(&self, connection: usize) -> Option<String> {
        match self {
            Traffic::Topics(topics) => Some(topics.greeting(connection)),
            _ => None,
        }
    }

    /// Closed loop: hands `send` what is to leave on this connection now.
    pub fn due(&mut self, connection: usize, now: Time, send: &mut Send<'_>) -> u64 {
        match self {
            Traffic::Echo(echo) => echo.due(connection, now, u64::MAX, send),
            Traffic::Broadcast(broadcast) => broadcast.due(connection, now, send),
            Traffic::Topics(topics) => topics.due(connection, now, send),
            Traffic::Connect { echo, messages, connections } => {
                let left = *messages - connections[connection].1;
                echo.due(connection, now, left, send)
            }
            Traffic::Idle => 0,
        }
    }

    /// Open model: hands `send` the message that was planned for `planned`.
    pub fn planned(&mut self, connection: usize, planned: Time, now: Time, send: &mut Send<'_>) {
        // Whether there is room for more was looked at when this one was planned.
        let _ = match self {
            Traffic::Echo(echo) => echo.send(connection, planned, now, send),
            Traffic::Broadcast(broadcast) => broadcast.send(connection, planned, now, send),
            Traffic::Topics(topics) => topics.send(connection, planned, now, send),
            Traffic::Connect { .. } | Traffic::Idle => false,
        };
    }

    /// A message came.
    #[inline]
    pub fn received(
        &mut self,
        connection: usize,
        now: Time,
        bytes: &[u8],
        counted: &mut Counted,
    ) -> Received {
        match self {
            Traffic::Echo(echo) => echo.received(connection, now, bytes, counted),
            Traffic::Broadcast(broadcast) => broadcast.received(connection, now, bytes, counted),
            Traffic::Topics(topics) => topics.received(connection, now, bytes, counted),
            Traffic::Connect { echo, messages, connections } => {
                let received = echo.reply(connection, now, bytes, counted).map(|_| ());
                let (planned, replies) = &mut connections[connection];
                if received.is_ok() {
                    *replies += 1;
                    if *replies == 1 {
                        counted.message(now - *planned, now - *planned, bytes.len());
                    }
                }
                match received {
                    Ok(()) if *replies == *messages => Received::Done,
                    Ok(()) => Received::Fine,
                    Err(received) => received,
                }
            }
            Traffic::Idle => {
                counted.other += 1;
                Received::Fine
            }
        }
    }

    /// A message that came was fine: takes those behind it that are the next of its kind, the
    /// same but for their numbers. Says how many those are.
    #[inline]
    pub fn repeated(
        &mut self,
        connection: usize,
        now: Time,
        following: &Following<'_>,
        counted: &mut Counted,
    ) -> u64 {
        match self {
            Traffic::Echo(echo) => echo.repeated(connection, now, following, counted),
            Traffic::Broadcast(broadcast) => {
                broadcast.repeated(connection, now, following, counted)
            }
            Traffic::Topics(_) | Traffic::Connect { .. } | Traffic::Idle => 0,
        }
    }

    /// A connection has ended: what it awaited never comes.
    pub fn lost(&mut self, connection: usize, now: Time, counted: &mut Counted) {
        match self {
            Traffic::Echo(echo) | Traffic::Connect { echo, .. } => {
                echo.lost(connection, now, counted);
            }
            Traffic::Broadcast(broadcast) => broadcast.lost(connection),
            Traffic::Topics(topics) => topics.broadcast().lost(connection),
            Traffic::Idle => {}
        }
    }

    /// Whether a connection that is there for it awaits its first reply.
    pub fn awaits_first(&self, connection: usize) -> bool {
        match self {
            Traffic::Connect { messages, connections, .. } => {
                *messages > 0 && connections[connection].1 == 0
            }
            _ => false,
        }
    }

    /// The run is over for those who stall or for those who don't: counts what has no
    /// answer yet.
    pub fn finish(&mut self, now: Time, stalled: bool, counted: &mut Counted) {
        match self {
            Traffic::Echo(echo) if !stalled => echo.finish(now, counted),
            Traffic::Broadcast(broadcast) => broadcast.finish(now, stalled, counted),
            Traffic::Topics(topics) => topics.broadcast().finish(now, stalled, counted),
            _ => {}
        }
    }

    /// The load starts.
    pub fn start(&mut self) {
        match self {
            Traffic::Broadcast(broadcast) => broadcast.start(),
            Traffic::Topics(topics) => topics.broadcast().start(),
            _ => {}
        }
    }

    /// Measuring starts.
    pub fn start_measuring(&mut self) {
        match self {
            Traffic::Echo(echo) => echo.start_measuring(),
            Traffic::Broadcast(broadcast) => broadcast.start_measuring(),
            Traffic::Topics(topics) => topics.broadcast().start_measuring(),
            Traffic::Connect { .. } | Traffic::Idle => {}
        }
    }

    /// Messages counted, per connection.
    pub fn per_connection(&mut self) -> Vec<u64> {
        match self {
            Traffic::Echo(echo) => echo.per_connection(),
            Traffic::Broadcast(broadcast) => broadcast.per_connection(),
            Traffic::Topics(topics) => topics.broadcast().per_connection(),
            Traffic::Connect { .. } | Traffic::Idle => Vec::new(),
        }
    }
}
