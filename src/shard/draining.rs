//! The orders of the server: drain over a window, or stop.

use super::parts::{Command, Shard};
use super::state::Drain;
use crate::app::{Handler, Notice};
use crate::driver::Driver;
use crate::protocol::CloseCause;

impl<H: Handler, D: Driver> Shard<H, D> {
    /// Obeys the server's command.
    pub(super) fn obey(&mut self) {
        match self.engine.command.get() {
            0 => {}
            Command::DRAIN => self.step_drain(),
            _ => self.stop(),
        }
    }

    /// Ends at once: cuts connections, and notifies the application.
    fn stop(&mut self) {
        self.for_each(|engine, peer| engine.terminate(peer));
        self.engine.clock.stopped = true;
    }

    /// Closes the share of connections that is due.
    fn step_drain(&mut self) {
        let now = self.engine.core.now;
        if self.engine.drain.is_none() {
            self.begin_drain();
        }
        let limits = &self.engine.core.limits;
        let (window_ms, close_ms) = (limits.drain_ms, limits.close_ms);
        self.give_notices();
        let Some(drain) = &mut self.engine.drain else { return };
        if drain.stops_accepting(now) {
            self.engine.stop_accepting();
        }
        let Some(drain) = &mut self.engine.drain else { return };
        if let Some((due, elapsed_ms)) = drain.take_step(now, window_ms) {
            for index in due {
                self.with_at(index, |engine, peer| engine.close(peer, CloseCause::Draining));
            }
            if elapsed_ms >= window_ms {
                self.close_latecomers(elapsed_ms >= window_ms + close_ms);
            }
        }
        let engine = &mut self.engine;
        let is_closed = engine.drain.as_ref().is_some_and(|drain| drain.is_closed_to_new);
        // Connections of other shards may read topics that are homed here: this shard serves
        // them until the last one has ended.
        engine.clock.stopped =
            is_closed && self.slots.is_empty() && engine.accepting.is_idle() && engine.total() == 0;
        self.deliver_direct();
    }

    fn begin_drain(&mut self) {
        let open: Vec<u32> = self.slots.iter().map(|(index, _)| index).collect();
        let engine = &mut self.engine;
        // Without connections on any shard, no handler needs notice.
        let notice_ms = match engine.total() {
            0 => 0,
            _ => engine.core.limits.drain_notice_ms,
        };
        let since = engine.core.now.plus_millis(notice_ms);
        engine.drain = Some(Drain::new(open, since));
    }

    /// Notifies some more handlers that the server is draining: the messages that they queue
    /// leave before more is queued.
    fn give_notices(&mut self) {
        for _ in 0..self.engine.core.limits.sends_per_turn {
            let next = self.engine.drain.as_mut().and_then(|drain| drain.notices.pop());
            let Some(index) = next else { return };
            self.with_at(index, |engine, peer| {
                engine.call(peer, |handler, conn| handler.notice(conn, Notice::Draining));
            });
        }
    }

    /// After the window, connections that are left are closed, or cut.
    fn close_latecomers(&mut self, force: bool) {
        self.for_each(|engine, peer| {
            if force {
                engine.terminate(peer);
            } else {
                engine.close(peer, CloseCause::Draining);
            }
        });
    }
}
