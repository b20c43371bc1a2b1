//! Measures connecting: a connection opens, may exchange a few messages, and
//! closes. Its latency runs from the time at which it was planned to open until the first
//! reply, or, without messages, until the accepted handshake.

use super::echo::Echo;
use super::exchange::{Received, Send};
use crate::measure::Counted;
use crate::plan::Payload;
use tapecast::base::Time;

/// Messages in flight on one connection.
const IN_FLIGHT: u32 = 1;

/// The connections of one thread.
#[derive(Debug)]
pub struct Connect {
    pub(super) echo: Echo,
    /// Replies after which a connection is done.
    replies: u64,
    visits: Vec<Visit>,
}

/// One connection, from its planned opening to its end.
#[derive(Clone, Copy, Debug)]
struct Visit {
    planned: Time,
    replies: u64,
}

impl Connect {
    pub fn new(payload: Payload, connections: usize, replies: u64) -> Connect {
        Connect {
            echo: Echo::new(payload, connections, IN_FLIGHT),
            replies,
            visits: vec![Visit { planned: Time::ZERO, replies: 0 }; connections],
        }
    }

    /// A connection is open that was planned to open at `planned`.
    pub fn opened(&mut self, connection: usize, planned: Time, now: Time, counted: &mut Counted) {
        self.visits[connection] = Visit { planned, replies: 0 };
        if self.replies == 0 {
            counted.message(now - planned, now - planned, 0);
        }
    }

    /// Sends as many messages as may be in flight. Returns how many.
    pub fn due(&mut self, connection: usize, now: Time, send: &mut Send<'_>) -> u64 {
        let left = self.replies - self.visits[connection].replies;
        self.echo.due(connection, now, left, send)
    }

    #[inline]
    pub fn received(
        &mut self,
        connection: usize,
        now: Time,
        bytes: &[u8],
        counted: &mut Counted,
    ) -> Received {
        let received = self.echo.reply(connection, now, bytes, counted).map(|_| ());
        let visit = &mut self.visits[connection];
        if received.is_ok() {
            visit.replies += 1;
            if visit.replies == 1 {
                counted.message(now - visit.planned, now - visit.planned, bytes.len());
            }
        }
        match received {
            Ok(()) if visit.replies == self.replies => Received::Done,
            Ok(()) => Received::Fine,
            Err(received) => received,
        }
    }

    /// Whether an open connection awaits its first reply.
    pub fn awaits_first(&self, connection: usize) -> bool {
        self.replies > 0 && self.visits[connection].replies == 0
    }
}
