//! Echo: the server returns the messages of a connection, in order. A reply that is not the next
//! one is searched for among those around it: a lost or duplicate reply is counted as one
//! fault, and does not make all later replies wrong.

use super::exchange::{Received, Send, send_all};
use crate::measure::{Counted, Order};
use crate::plan::{Following, Payload};
use std::collections::VecDeque;
use tapecast::base::Time;

/// How far from the next reply another one is searched for.
const AROUND: u64 = 64;
/// Batches of messages in flight, over all connections of a thread, 24 bytes each. Beyond
/// this, a message joins the last batch of its connection, whose times are earlier.
const BATCHES_MAX: usize = 1 << 20;

/// The connections of one thread.
#[derive(Debug)]
pub struct Echo {
    payload: Payload,
    /// Messages in flight per connection, in a closed loop.
    window: u64,
    connections: Vec<Connection>,
    /// Batches in flight, over all connections.
    batches: usize,
}

#[derive(Debug, Default)]
struct Connection {
    sent: u64,
    received: u64,
    /// The oldest first: `sent - received` messages.
    in_flight: VecDeque<Batch>,
    /// The latest numbers that were skipped.
    missing: Vec<u64>,
    /// When the last reply arrived.
    replied: Time,
    /// Replies since measuring began.
    counted: u64,
}

impl Connection {
    /// Messages without a reply.
    fn in_flight_count(&self) -> u64 {
        self.sent - self.received
    }

    /// A reply arrived after later ones: late if it had been missing, else a duplicate.
    fn late_or_again(&mut self, number: u64, bytes: usize, counted: &mut Counted) {
        let Some(place) = self.missing.iter().position(|missing| *missing == number) else {
            counted.order(Order::Again);
            return;
        };
        self.missing.remove(place);
        counted.order(Order::Late);
        // Its wait was counted when it was skipped.
        counted.unanswered = counted.unanswered.saturating_sub(1);
        counted.messages += 1;
        counted.bytes += bytes as u64;
        self.counted += 1;
    }
}

/// Consecutive messages with the same planned time that were sent at the same time.
#[derive(Debug)]
struct Batch {
    planned: Time,
    sent: Time,
    /// Messages without a reply, `>= 1`.
    count: u64,
}

impl Echo {
    pub fn new(payload: Payload, connections: usize, window: u32) -> Echo {
        let connections = (0..connections).map(|_| Connection::default()).collect();
        Echo { payload, window: window.into(), connections, batches: 0 }
    }

    /// Sends until the window, or `most` messages, are in flight. Returns how many it sent.
    pub fn due(&mut self, connection: usize, now: Time, most: u64, send: &mut Send<'_>) -> u64 {
        let in_flight_max = self.window.min(most);
        send_all(|| {
            let is_due = self.connections[connection].in_flight_count() < in_flight_max;
            is_due.then(|| self.send(connection, now, now, send))
        })
    }

    /// Sends one message. Returns whether there is room for more.
    pub fn send(
        &mut self,
        connection: usize,
        planned: Time,
        now: Time,
        send: &mut Send<'_>,
    ) -> bool {
        let state = &mut self.connections[connection];
        let is_full = self.batches >= BATCHES_MAX;
        match state.in_flight.back_mut() {
            Some(last) if is_full || (last.planned, last.sent) == (planned, now) => last.count += 1,
            _ => {
                state.in_flight.push_back(Batch { planned, sent: now, count: 1 });
                self.batches += 1;
            }
        }
        state.sent += 1;
        send(self.payload.message(state.sent - 1))
    }

    /// Takes the oldest message in flight. Returns when it was planned and when it was sent.
    #[inline]
    fn take(&mut self, connection: usize) -> Option<(Time, Time)> {
        let state = &mut self.connections[connection];
        let first = state.in_flight.front_mut()?;
        let times = (first.planned, first.sent);
        state.received += 1;
        first.count -= 1;
        if first.count == 0 {
            state.in_flight.pop_front();
            self.batches -= 1;
        }
        Some(times)
    }

    /// Checks a reply. Returns when its message was planned and when it was sent.
    #[inline]
    pub fn reply(
        &mut self,
        connection: usize,
        now: Time,
        bytes: &[u8],
        counted: &mut Counted,
    ) -> Result<(Time, Time), Received> {
        let state = &self.connections[connection];
        if state.in_flight_count() == 0 || !self.payload.check(bytes, state.received) {
            return self.not_next(connection, now, bytes, counted);
        }
        Ok(self.take(connection).expect("one is in flight"))
    }

    /// A message that is not the next reply: a later one, if those before it are lost; an
    /// earlier one again; or a wrong one in place of the next.
    #[cold]
    fn not_next(
        &mut self,
        connection: usize,
        now: Time,
        bytes: &[u8],
        counted: &mut Counted,
    ) -> Result<(Time, Time), Received> {
        let state = &mut self.connections[connection];
        // A greeting before the first message is no fault.
        if state.sent == 0 {
            counted.other += 1;
            return Err(Received::Fine);
        }
        let (next, end) = (state.received, state.sent);
        let payload = &mut self.payload;
        let mut is_reply_to = |number: &u64| payload.identifies() && payload.check(bytes, *number);
        let Some(number) = (next + 1..end.min(next + AROUND)).find(&mut is_reply_to) else {
            let earlier = (next.saturating_sub(AROUND)..next).rev().find(is_reply_to);
            if let Some(number) = earlier {
                state.late_or_again(number, bytes.len(), counted);
                return Err(Received::Fine);
            }
            let awaited = self.take(connection);
            return Err(awaited.map_or(Received::Unawaited, |_| Received::Wrong));
        };
        state.missing.extend(number.saturating_sub(AROUND).max(next)..number);
        let old = state.missing.len().saturating_sub(AROUND as usize);
        state.missing.drain(..old);
        counted.order(Order::After(number - next));
        for _ in next..number {
            let (planned, _) = self.take(connection).expect("it was sent");
            counted.unanswered(now - planned, 1);
        }
        Ok(self.take(connection).expect("it was sent"))
    }

    #[inline]
    pub fn received(
        &mut self,
        connection: usize,
        now: Time,
        bytes: &[u8],
        counted: &mut Counted,
    ) -> Received {
        match self.reply(connection, now, bytes, counted) {
            Ok((planned, sent)) => {
                let state = &mut self.connections[connection];
                // A closed loop would have sent it after the reply before it.
                let sent = sent.max(state.replied);
                counted.message(now - planned, now - sent, bytes.len());
                state.replied = now;
                state.counted += 1;
                Received::Fine
            }
            Err(received) => received,
        }
    }

    /// Takes the replies after one that was fine, to messages of the same batch.
    #[inline]
    pub fn repeated(
        &mut self,
        connection: usize,
        now: Time,
        following: &Following<'_>,
        counted: &mut Counted,
    ) -> u64 {
        let Echo { payload, connections, .. } = self;
        let state = &mut connections[connection];
        let Some(first) = state.in_flight.front_mut() else { return 0 };
        // The last one is received by itself, which removes the batch.
        let count = payload.repeats(following, first.count - 1);
        let bytes = following.payload();
        // After a late or duplicate reply, each is checked by itself.
        if count == 0 || !payload.check(bytes, state.received - 1) {
            return 0;
        }
        first.count -= count;
        state.received += count;
        state.counted += count;
        let sent = first.sent.max(state.replied);
        counted.messages(now - first.planned, now - sent, bytes.len(), count);
        count
    }

    /// A connection has ended: its messages in flight get no reply.
    pub fn lost(&mut self, connection: usize, now: Time, counted: &mut Counted) {
        let state = &mut self.connections[connection];
        self.batches -= state.in_flight.len();
        for batch in state.in_flight.drain(..) {
            counted.unanswered(now - batch.planned, batch.count);
        }
        state.received = state.sent;
    }

    /// The run is over.
    pub fn finish(&mut self, now: Time, counted: &mut Counted) {
        for connection in 0..self.connections.len() {
            self.lost(connection, now, counted);
        }
    }

    /// Measuring starts.
    pub fn start_measuring(&mut self) {
        for connection in &mut self.connections {
            connection.counted = 0;
        }
    }

    /// Replies counted, per connection.
    pub fn per_connection(&self) -> Vec<u64> {
        self.connections.iter().map(|connection| connection.counted).collect()
    }
}
