//! Echo: what a connection sends comes back, in order.

use super::{Received, Send};
use crate::measure::Counted;
use crate::payload::Payload;
use std::collections::VecDeque;
use tapecast::base::Time;

/// What the connections of one thread do.
#[derive(Debug)]
pub struct Echo {
    payload: Payload,
    in_flight: u64,
    connections: Vec<Connection>,
}

#[derive(Debug, Default)]
struct Connection {
    sent: u64,
    received: u64,
    /// What is under way, the oldest first: `sent - received` messages.
    under_way: VecDeque<Together>,
    /// When the last reply came.
    replied: Time,
    /// Replies since measuring began.
    counted: u64,
}

impl Connection {
    /// Messages without a reply.
    fn in_flight(&self) -> u64 {
        self.sent - self.received
    }
}

/// Messages in a row that were planned, and sent, at the same times.
#[derive(Debug)]
struct Together {
    planned: Time,
    sent: Time,
    /// How many of them have no reply yet, `>= 1`.
    count: u64,
}

impl Echo {
    pub fn new(payload: Payload, connections: usize, in_flight: u32) -> Echo {
        let connections = (0..connections).map(|_| Connection::default()).collect();
        Echo { payload, in_flight: in_flight.into(), connections }
    }

    /// Sends as much as may be under way, and at most `most`; says how much it was.
    pub fn due(&mut self, connection: usize, now: Time, most: u64, send: &mut Send<'_>) -> u64 {
        let may = self.in_flight.min(most);
        let mut sent = 0;
        while self.connections[connection].in_flight() < may {
            self.send(connection, now, now, send);
            sent += 1;
        }
        sent
    }

    /// Sends one message.
    pub fn send(&mut self, connection: usize, planned: Time, now: Time, send: &mut Send<'_>) {
        let state = &mut self.connections[connection];
        match state.under_way.back_mut() {
            Some(last) if (last.planned, last.sent) == (planned, now) => last.count += 1,
            _ => state.under_way.push_back(Together { planned, sent: now, count: 1 }),
        }
        send(self.payload.message(state.sent));
        state.sent += 1;
    }

    /// Checks a reply; says when its message was planned and sent.
    #[inline]
    pub fn reply(
        &mut self,
        connection: usize,
        bytes: &[u8],
        counted: &mut Counted,
    ) -> Result<(Time, Time), Received> {
        let state = &mut self.connections[connection];
        let Some(first) = state.under_way.front_mut() else {
            // A greeting, before anything was said, is nobody's fault.
            if state.sent > 0 {
                return Err(Received::Unawaited);
            }
            counted.other += 1;
            return Err(Received::Fine);
        };
        let times = (first.planned, first.sent);
        first.count -= 1;
        if first.count == 0 {
            state.under_way.pop_front();
        }
        let number = state.received;
        state.received += 1;
        match self.payload.check(bytes, number) {
            true => Ok(times),
            false => Err(Received::Wrong),
        }
    }

    #[inline]
    pub fn received(
        &mut self,
        connection: usize,
        now: Time,
        bytes: &[u8],
        counted: &mut Counted,
    ) -> Received {
        match self.reply(connection, bytes, counted) {
            Ok((planned, sent)) => {
                let state = &mut self.connections[connection];
                // A closed loop would have sent it after the reply before it, and would
                // have called it fast.
                let sent = sent.max(state.replied);
                counted.message(now - planned, now - sent, bytes.len());
                state.replied = now;
                state.counted += 1;
                Received::Fine
            }
            Err(received) => received,
        }
    }

    pub fn lost(&mut self, connection: usize, now: Time, counted: &mut Counted) {
        let state = &mut self.connections[connection];
        for together in state.under_way.drain(..) {
            counted.unanswered(now - together.planned, together.count);
        }
        state.received = state.sent;
    }

    pub fn finish(&mut self, now: Time, counted: &mut Counted) {
        for connection in 0..self.connections.len() {
            self.lost(connection, now, counted);
        }
    }

    pub fn start_measuring(&mut self) {
        for connection in &mut self.connections {
            connection.counted = 0;
        }
    }

    pub fn per_connection(&self) -> Vec<u64> {
        self.connections.iter().map(|connection| connection.counted).collect()
    }
}
