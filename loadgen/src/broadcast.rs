//! Broadcast: connection 0 of thread 0 publishes, everyone receives.
//!
//! A publication is in flight until its publisher has it back, as a publisher in
//! the field sees it: the others' copies may still be under way when the next one
//! leaves. Each of them is checked and counted all the same.

use crate::payload::Payload;
use crate::worker::{Counted, Traffic};
use std::collections::VecDeque;
use tapecast::base::Time;

/// A publication that not everybody has yet.
struct UnderWay {
    planned: Time,
    sent: Time,
    /// How many of this thread's subscribers have yet to get it.
    missing: usize,
}

/// What the connections of one thread do.
pub struct Broadcast {
    payload: Payload,
    is_publisher: bool,
    window: u64,
    published: u64,
    /// Publications that not everybody has yet, the oldest first.
    under_way: VecDeque<UnderWay>,
    /// The number of the oldest publication under way.
    oldest: u64,
    /// Per subscriber: the number it gets next; `None` before its first.
    next: Vec<Option<u64>>,
    counted: Vec<u64>,
}

impl Broadcast {
    pub fn new(payload: Payload, connections: usize, window: u32, is_publisher: bool) -> Broadcast {
        Broadcast {
            payload,
            is_publisher,
            window: window.into(),
            published: 0,
            under_way: VecDeque::new(),
            oldest: 0,
            next: vec![None; connections],
            counted: vec![0; connections],
        }
    }

    fn publish(&mut self, planned: Time, sent: Time, send: &mut dyn FnMut(&[u8], bool)) {
        self.under_way.push_back(UnderWay { planned, sent, missing: self.next.len() });
        let is_text = self.payload.is_text();
        send(self.payload.message(self.published), is_text);
        self.published += 1;
    }

    /// Publications that the publisher has not got back.
    fn in_flight(&self) -> u64 {
        self.published - self.next[0].unwrap_or(0)
    }
}

impl Traffic for Broadcast {
    fn due(&mut self, connection: usize, now: Time, send: &mut dyn FnMut(&[u8], bool)) {
        if !self.is_publisher || connection != 0 {
            return;
        }
        while self.in_flight() < self.window {
            self.publish(now, now, send);
        }
    }

    fn planned(
        &mut self,
        _connection: usize,
        planned: Time,
        now: Time,
        send: &mut dyn FnMut(&[u8], bool),
    ) {
        self.publish(planned, now, send);
    }

    fn unanswered(&mut self, now: Time, counted: &mut Counted) {
        for under_way in &self.under_way {
            for _ in 0..under_way.missing {
                counted.unanswered(now - under_way.planned);
            }
        }
    }

    #[inline]
    fn received(
        &mut self,
        connection: usize,
        now: Time,
        bytes: &[u8],
        counted: &mut Counted,
    ) -> bool {
        // A thread that does not publish takes its subscribers' first message for
        // the start; everybody else knows that it is 0.
        let number = match self.next[connection] {
            Some(number) => number,
            None if self.is_publisher => 0,
            None => match bytes.first_chunk::<8>() {
                Some(number) if !self.payload.is_text() => u64::from_le_bytes(*number),
                _ => 0,
            },
        };
        if !self.payload.is(bytes, number) {
            return false;
        }
        self.next[connection] = Some(number + 1);
        self.counted[connection] += u64::from(counted.is_measuring());
        if !self.is_publisher {
            counted.delivery(bytes.len());
            return true;
        }
        let Some(under_way) = self.under_way.get_mut((number - self.oldest) as usize) else {
            return false;
        };
        under_way.missing -= 1;
        counted.message(now - under_way.planned, now - under_way.sent, bytes.len());
        while self.under_way.front().is_some_and(|oldest| oldest.missing == 0) {
            self.under_way.pop_front();
            self.oldest += 1;
        }
        true
    }

    fn wants_publisher_turn(&self) -> bool {
        self.is_publisher && self.in_flight() < self.window
    }

    fn per_connection(&self) -> Vec<u64> {
        self.counted.clone()
    }
}
