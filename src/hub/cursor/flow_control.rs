//! The bounds of a cursor: a rate, the window of unacknowledged messages, and catching up. Most
//! subscriptions have none of them.

use super::portions::CatchUp;
use super::rates::Rates;
use super::window::Window;
use crate::base::Time;
use crate::base::planted::{Bug, planted};
use crate::hub::ids::{NONE, SubscriptionRef};
use crate::hub::past::{Since, View};
use crate::hub::reader::Tape;

/// Where a subscription asks to start, until it does.
#[derive(Clone, Copy, Debug, Default)]
pub struct Start {
    pub since: Option<Since>,
    pub snapshot: bool,
}

#[derive(Debug)]
struct Rate {
    per_second: u32,
    /// The cursor may move to before this message now.
    to: u64,
    is_waiting: bool,
}

/// See the module.
#[derive(Debug)]
pub struct FlowControl {
    rate: Option<Rate>,
    window: Option<Window>,
    pub start: Start,
    pub catch_up: Option<CatchUp>,
    /// Its entry on the list of the topic's members, [`NONE`] if it is not listed.
    pub member: u32,
}

impl Default for FlowControl {
    fn default() -> Self {
        let (rate, window, catch_up) = (None, None, None);
        FlowControl { rate, window, start: Start::default(), catch_up, member: NONE }
    }
}

impl FlowControl {
    /// Flow control, if the subscription needs any.
    pub fn new(max_rate: Option<u32>, window: Option<u32>, start: Start) -> Option<FlowControl> {
        let is_needed =
            max_rate.is_some() || window.is_some() || start.since.is_some() || start.snapshot;
        is_needed.then(|| FlowControl {
            rate: max_rate.map(|per_second| Rate { per_second, to: 0, is_waiting: false }),
            window: window.map(Window::new),
            start,
            ..FlowControl::default()
        })
    }

    /// The number behind the last message that the cursor may pass, on a tape that ends at
    /// `end`, and how many messages.
    #[inline]
    pub fn bounds(&self, end: u64) -> (u64, u64) {
        let to = self.rate.as_ref().map_or(end, |rate| rate.to.min(end));
        (to, self.credit())
    }

    /// How many messages the window allows now.
    pub fn credit(&self) -> u64 {
        self.window.as_ref().map_or(u64::MAX, Window::credit)
    }

    /// Whether nothing of it is left once the cursor is on its tape.
    pub fn is_unused(&self) -> bool {
        self.rate.is_none() && self.window.is_none() && self.member == NONE
    }

    /// The cursor is on its tape at `cursor`: at a rate, it moves with its next tick.
    pub fn join(&mut self, cursor: u64) {
        if let Some(rate) = &mut self.rate {
            rate.to = cursor;
        }
    }

    /// Up to which message everything was delivered, or came before the subscription, while it
    /// is catching up with every message or change.
    pub fn delivered_up_to(&self) -> Option<u64> {
        let catch_up = self.catch_up.as_ref()?;
        (catch_up.view != View::Snapshot).then_some(catch_up.next - 1)
    }

    /// Whether it has made no progress in catching up while its tape has taken as many bytes
    /// as it may hold.
    pub fn is_stalled(&self, tape: &Tape) -> bool {
        self.catch_up.as_ref().is_some_and(|catch_up| {
            let waits = catch_up.is_pulling || catch_up.is_behind_others;
            !waits && tape.appended_bytes() - catch_up.at > tape.bytes_max() as u64
        })
    }

    /// Whether it has asked for a portion of the past that has not arrived.
    #[cfg(test)]
    pub fn is_asking(&self) -> bool {
        self.catch_up.as_ref().is_some_and(|catch_up| catch_up.is_pulling)
    }

    /// Whether it holds a portion of the past.
    pub fn holds_portion(&self) -> bool {
        self.catch_up.as_ref().is_some_and(|catch_up| catch_up.pulled.is_some())
    }

    /// Runs of messages were delivered: first number and count.
    pub fn delivered(&mut self, runs: &[(u64, u64)]) {
        if let Some(window) = &mut self.window {
            runs.iter().for_each(|&(first, count)| window.delivered(first, count));
        }
    }

    /// A move has begun: it ends where the tape ends now.
    pub fn moved(&mut self, end: u64) {
        if let Some(rate) = &mut self.rate {
            rate.to = rate.to.min(end);
        }
    }

    /// Everything up to `seq` is acknowledged. Returns whether that made room.
    pub fn acknowledge(&mut self, seq: u64) -> bool {
        self.window.as_mut().is_some_and(|window| window.acknowledge(seq))
    }

    /// Whether the present move still brings it the messages of a tape that begins at `begin`: it
    /// is behind only because it waited for the tick of its rate, or for its turn after the
    /// tick.
    pub fn still_gets(&self, begin: u64) -> bool {
        self.rate.as_ref().is_some_and(|rate| rate.is_waiting || rate.to > begin)
    }

    /// Whether it waits for the next tick of a rate.
    pub fn is_waiting(&self) -> bool {
        self.rate.as_ref().is_some_and(|rate| rate.is_waiting)
    }

    /// Makes `own` wait for the next tick of its rate, if the rate does not let it pass
    /// everything up to `end` now.
    pub fn wait_for_tick(&mut self, end: u64, own: SubscriptionRef, rates: &mut Rates, now: Time) {
        if let Some(rate) = self.rate.as_mut().filter(|rate| !rate.is_waiting && rate.to < end) {
            rate.is_waiting = true;
            rates.wait(rate.per_second, own, now);
        }
    }

    /// The tick has come. With `is_latest` the cursor may move to what is newest when the move
    /// begins, since older messages are superseded by then.
    pub fn tick(&mut self, end: u64, is_latest: bool) {
        let end = if is_latest { u64::MAX } else { end };
        if let Some(rate) = &mut self.rate {
            rate.is_waiting = planted(Bug::LostLastValue);
            rate.to = end;
        }
    }
}
