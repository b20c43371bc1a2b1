//! The traffic of a group on one thread, whatever its scenario. Every method is a `match` on
//! the scenario, so that a message costs one predictable branch and no indirect call.

use super::broadcast::Broadcast;
use super::connect::Connect;
use super::echo::Echo;
use super::exchange::{Received, Send};
use super::stream::Stream;
use super::topics::Topics;
use crate::measure::Counted;
use crate::plan::{Following, Group, Payload};
use crate::profile::Scenario;
use std::sync::Arc;
use tapecast::base::Time;

/// The traffic of a group on one thread.
#[derive(Debug)]
pub enum Traffic {
    Echo(Echo),
    Broadcast(Broadcast),
    Topics(Topics),
    Connect(Connect),
    /// Connections are held open.
    Idle,
}

impl Traffic {
    /// The traffic of the group's connections with these numbers. `streams` are the group's
    /// publishers, `run` marks this run's publications.
    pub fn new(group: &Group, connections: &[u32], streams: Arc<[Stream]>, run: u16) -> Traffic {
        let payload = Payload::new(&group.messages);
        let window = group.pace.window();
        let broadcast = |payload| Broadcast::new(payload, run, window, group, streams, connections);
        match group.scenario {
            Scenario::Echo => Traffic::Echo(Echo::new(payload, connections.len(), window)),
            Scenario::Broadcast => Traffic::Broadcast(broadcast(payload)),
            Scenario::Topics => {
                Traffic::Topics(Topics::new(broadcast(payload), group, connections))
            }
            Scenario::Connect => {
                Traffic::Connect(Connect::new(payload, connections.len(), group.replies))
            }
            Scenario::Idle => Traffic::Idle,
        }
    }

    /// A connection is open that was planned to open at `planned`.
    pub fn opened(&mut self, connection: usize, planned: Time, now: Time, counted: &mut Counted) {
        match self {
            Traffic::Broadcast(broadcast) => broadcast.opened(connection),
            Traffic::Topics(topics) => topics.broadcast().opened(connection),
            Traffic::Connect(connect) => connect.opened(connection, planned, now, counted),
            Traffic::Echo(_) | Traffic::Idle => {}
        }
    }

    /// The first message of a connection, if the scenario needs one.
    pub fn greeting(&self, connection: usize) -> Option<String> {
        match self {
            Traffic::Topics(topics) => Some(topics.greeting(connection)),
            _ => None,
        }
    }

    /// Closed loop: hands `send` the messages that may leave on this connection now. Returns
    /// how many they are.
    pub fn due(&mut self, connection: usize, now: Time, send: &mut Send<'_>) -> u64 {
        match self {
            Traffic::Echo(echo) => echo.due(connection, now, u64::MAX, send),
            Traffic::Broadcast(broadcast) => broadcast.due(connection, now, send),
            Traffic::Topics(topics) => topics.due(connection, now, send),
            Traffic::Connect(connect) => connect.due(connection, now, send),
            Traffic::Idle => 0,
        }
    }

    /// Open model: hands `send` the message that was planned for `planned`.
    pub fn planned(&mut self, connection: usize, planned: Time, now: Time, send: &mut Send<'_>) {
        // The worker checked for room before it took this message from the schedule.
        let _ = match self {
            Traffic::Echo(echo) => echo.send(connection, planned, now, send),
            Traffic::Broadcast(broadcast) => broadcast.send(connection, planned, now, send),
            Traffic::Topics(topics) => topics.send(connection, planned, now, send),
            Traffic::Connect(_) | Traffic::Idle => false,
        };
    }

    /// A message arrived.
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
            Traffic::Connect(connect) => connect.received(connection, now, bytes, counted),
            Traffic::Idle => {
                counted.other += 1;
                Received::Fine
            }
        }
    }

    /// A message was fine. Takes the messages after it that repeat it but for their numbers,
    /// and returns how many they are.
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
            Traffic::Topics(_) | Traffic::Connect(_) | Traffic::Idle => 0,
        }
    }

    /// A connection has ended: the messages that it awaited never arrive.
    pub fn lost(&mut self, connection: usize, now: Time, counted: &mut Counted) {
        match self {
            Traffic::Echo(echo) => echo.lost(connection, now, counted),
            Traffic::Connect(connect) => connect.echo.lost(connection, now, counted),
            Traffic::Broadcast(broadcast) => broadcast.lost(connection),
            Traffic::Topics(topics) => topics.broadcast().lost(connection),
            Traffic::Idle => {}
        }
    }

    /// Whether an open connection of the connect scenario awaits its first reply.
    pub fn awaits_first(&self, connection: usize) -> bool {
        matches!(self, Traffic::Connect(connect) if connect.awaits_first(connection))
    }

    /// The run is over for the readers that stall, or for all others. Counts the messages
    /// without an answer.
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
            Traffic::Connect(_) | Traffic::Idle => {}
        }
    }

    /// Messages counted, per connection.
    pub fn per_connection(&mut self) -> Vec<u64> {
        match self {
            Traffic::Echo(echo) => echo.per_connection(),
            Traffic::Broadcast(broadcast) => broadcast.per_connection(),
            Traffic::Topics(topics) => topics.broadcast().per_connection(),
            Traffic::Connect(_) | Traffic::Idle => Vec::new(),
        }
    }
}
