//! Echo: what a connection sends comes back, in order. A reply that is not the next one
//! is looked for among those around it: one that is lost, or comes twice, is counted as
//! that, and does not make all that follow wrong.

use super::{Received, Send, send_all};
use crate::measure::{Counted, Order};
use crate::payload::{Following, Payload};
use std::collections::VecDeque;
use tapecast::base::Time;

/// How far around the next reply one that is not is looked for.
const AROUND: u64 = 64;
/// Times of messages under way that the connections of one thread keep, 24 bytes each.
/// Beyond, the next one shares those of the last, which is earlier.
const TIMES_MAX: usize = 1 << 20;

/// What the connections of one thread do.
#[derive(Debug)]
pub struct Echo {
    payload: Payload,
    in_flight: u64,
    connections: Vec<Connection>,
    /// How many times are kept, over all connections.
    times: usize,
}

#[derive(Debug, Default)]
struct Connection {
    sent: u64,
    received: u64,
    /// What is under way, the oldest first: `sent - received` messages.
    under_way: VecDeque<Together>,
    /// The last numbers that were passed over.
    missing: Vec<u64>,
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

    /// A reply came behind later ones: for the first time, if it had been missing.
    fn late_or_again(&mut self, number: u64, bytes: usize, counted: &mut Counted) {
        let Some(place) = self.missing.iter().position(|missing| *missing == number) else {
            counted.order(Order::Again);
            return;
        };
        self.missing.remove(place);
        counted.order(Order::Late);
        // Its wait is counted already.
        counted.unanswered = counted.unanswered.saturating_sub(1);
        counted.messages += 1;
        counted.bytes += bytes as u64;
        self.counted += 1;
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
        Echo { payload, in_flight: in_flight.into(), connections, times: 0 }
    }

    /// Sends as much as may be under way, and at most `most`; says how much it was.
    pub fn due(&mut self, connection: usize, now: Time, most: u64, send: &mut Send<'_>) -> u64 {
        let may = self.in_flight.min(most);
        send_all(|| {
            let is_due = self.connections[connection].in_flight() < may;
            is_due.then(|| self.send(connection, now, now, send))
        })
    }

    /// Sends one message; says whether there is room for more.
    pub fn send(
        &mut self,
        connection: usize,
        planned: Time,
        now: Time,
        send: &mut Send<'_>,
    ) -> bool {
        let state = &mut self.connections[connection];
        let is_full = self.times >= TIMES_MAX;
        match state.under_way.back_mut() {
            Some(last) if is_full || (last.planned, last.sent) == (planned, now) => last.count += 1,
            _ => {
                state.under_way.push_back(Together { planned, sent: now, count: 1 });
                self.times += 1;
            }
        }
        state.sent += 1;
        send(self.payload.message(state.sent - 1))
    }

    /// When the oldest message under way was planned and sent: it is so no more.
    #[inline]
    fn take(&mut self, connection: usize) -> Option<(Time, Time)> {
        let state = &mut self.connections[connection];
        let first = state.under_way.front_mut()?;
        let times = (first.planned, first.sent);
        state.received += 1;
        first.count -= 1;
        if first.count == 0 {
            state.under_way.pop_front();
            self.times -= 1;
        }
        Some(times)
    }

    /// Checks a reply; says when its message was planned and sent.
    #[inline]
    pub fn reply(
        &mut self,
        connection: usize,
        now: Time,
        bytes: &[u8],
        counted: &mut Counted,
    ) -> Result<(Time, Time), Received> {
        let state = &self.connections[connection];
        if state.in_flight() == 0 || !self.payload.check(bytes, state.received) {
            return self.not_next(connection, now, bytes, counted);
        }
        Ok(self.take(connection).expect("one is under way"))
    }

    /// A message that is not the next reply: a later one, if those before it are lost; one
    /// that was here before; or a wrong one in the next one's place.
    #[cold]
    fn not_next(
        &mut self,
        connection: usize,
        now: Time,
        bytes: &[u8],
        counted: &mut Counted,
    ) -> Result<(Time, Time), Received> {
        let state = &mut self.connections[connection];
        // A greeting, before anything was said, is nobody's fault.
        if state.sent == 0 {
            counted.other += 1;
            return Err(Received::Fine);
        }
        let (next, end) = (state.received, state.sent);
        let payload = &mut self.payload;
        let mut is_reply_to = |number: &u64| payload.tells_apart() && payload.check(bytes, *number);
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

    /// Replies that follow one that was fine, to messages that left together.
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
        let Some(first) = state.under_way.front_mut() else { return 0 };
        // The last of them is taken with its times.
        let count = payload.repeats(following, first.count - 1);
        let bytes = following.payload();
        // Behind one that came late or twice, they are to be looked at one by one.
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

    pub fn lost(&mut self, connection: usize, now: Time, counted: &mut Counted) {
        let state = &mut self.connections[connection];
        self.times -= state.under_way.len();
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
