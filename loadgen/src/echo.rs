//! Echo: every connection keeps so many messages under way.

use crate::payload::Payload;
use crate::worker::{Counted, Traffic};
use std::collections::VecDeque;
use tapecast::base::Time;

/// What the connections of one thread do.
pub struct Echo {
    payload: Payload,
    in_flight: u64,
    connections: Vec<Connection>,
}

#[derive(Default)]
struct Connection {
    sent: u64,
    received: u64,
    /// When each message under way was planned and when it was sent, the oldest
    /// first.
    sent_at: VecDeque<(Time, Time)>,
    /// Replies since measuring began.
    counted: u64,
}

impl Echo {
    pub fn new(payload: Payload, connections: usize, in_flight: u32) -> Echo {
        let connections = (0..connections).map(|_| Connection::default()).collect();
        Echo { payload, in_flight: in_flight.into(), connections }
    }
}

impl Traffic for Echo {
    fn due(&mut self, connection: usize, now: Time, send: &mut dyn FnMut(&[u8], bool)) {
        let in_flight = self.in_flight;
        let has_room = |state: &Connection| state.sent - state.received < in_flight;
        while has_room(&self.connections[connection]) {
            self.planned(connection, now, now, send);
        }
    }

    fn planned(
        &mut self,
        connection: usize,
        planned: Time,
        now: Time,
        send: &mut dyn FnMut(&[u8], bool),
    ) {
        let state = &mut self.connections[connection];
        state.sent_at.push_back((planned, now));
        let is_text = self.payload.is_text();
        send(self.payload.message(state.sent), is_text);
        state.sent += 1;
    }

    fn unanswered(&mut self, now: Time, counted: &mut Counted) {
        for connection in &self.connections {
            for (planned, _) in &connection.sent_at {
                counted.unanswered(now - *planned);
            }
        }
    }

    fn received(
        &mut self,
        connection: usize,
        now: Time,
        bytes: &[u8],
        counted: &mut Counted,
    ) -> bool {
        let state = &mut self.connections[connection];
        if state.received == state.sent || !self.payload.is(bytes, state.received) {
            return false;
        }
        state.received += 1;
        let sent_at = state.sent_at.pop_front().expect("one per message under way");
        let (planned, sent) = sent_at;
        counted.message(now - planned, now - sent, bytes.len());
        state.counted += u64::from(counted.is_measuring());
        true
    }

    fn per_connection(&self) -> Vec<u64> {
        self.connections.iter().map(|connection| connection.counted).collect()
    }
}
