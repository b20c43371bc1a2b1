//! Which messages leave: those that are due in a closed loop, and those that are planned in
//! the open model.

use super::super::traffic::{Send, Traffic};
use super::peer::{Peer, State};
use super::state::{OUT_BYTES_MAX, Worker};
use crate::plan::{Schedule, fill_in};
use std::time::Duration;
use tapecast::base::Time;
use tapecast::protocol::Opcode;

impl Worker<'_> {
    /// Closed loop: sends messages for which arrivals have made room.
    pub(super) fn send_due(&mut self, now: Time) {
        let mut due = std::mem::take(&mut self.agenda.due);
        for connection in due.drain(..) {
            let peer = &self.peers[connection as usize];
            let share = &self.shares[usize::from(peer.group)];
            if peer.state == State::Open && (!share.group.pace.is_open() || share.connects()) {
                self.send_with(connection, Duration::ZERO, |traffic, index, send| {
                    traffic.due(index, now, send)
                });
            }
        }
        self.agenda.due = due;
        for number in 0..self.shares.len() {
            let share = &self.shares[number];
            let may = share.connects() && (self.is_measuring || !share.opens_once());
            if may && !share.group.pace.is_open() {
                self.connect_more(number, now);
            }
        }
    }

    /// Closed loop: begins handshakes until the window of the group is full.
    fn connect_more(&mut self, number: usize, now: Time) {
        loop {
            let share = &mut self.shares[number];
            if share.in_flight >= share.group.pace.window() {
                return;
            }
            let Some(connection) = share.absent.pop() else { return };
            share.in_flight += 1;
            self.open(connection, now, now);
        }
    }

    /// Open model: sends the messages that were planned until now.
    pub(super) fn send_planned(&mut self, now: Time) {
        for number in 0..self.shares.len() {
            if self.shares[number].opens_once() && !self.is_measuring {
                continue;
            }
            while let Some(planned) = self.shares[number].schedule.as_ref().map(Schedule::next)
                && planned <= now
            {
                let late = now - planned;
                let share = &mut self.shares[number];
                if share.connects() {
                    // If none is left, the schedule falls behind, which is reported.
                    let Some(connection) = share.absent.pop() else { break };
                    share.schedule.as_mut().map(Schedule::take);
                    share.counted.sent(late, 1);
                    share.in_flight += 1;
                    self.open(connection, planned, now);
                    continue;
                }
                let Some(connection) = self.next_sender(number) else { break };
                self.shares[number].schedule.as_mut().map(Schedule::take);
                self.send_with(connection, late, |traffic, index, send| {
                    traffic.planned(index, planned, now, send);
                    1
                });
            }
        }
    }

    /// The next sender of the group that is open and has room.
    fn next_sender(&mut self, number: usize) -> Option<u32> {
        let share = &mut self.shares[number];
        for _ in 0..share.senders.len() {
            let connection = share.senders[share.turn];
            share.turn = (share.turn + 1) % share.senders.len();
            let peer = &self.peers[connection as usize];
            if peer.state == State::Open && peer.unsent_bytes() < OUT_BYTES_MAX {
                return Some(connection);
            }
        }
        None
    }

    /// Lets the traffic of a connection send, `late` after the planned time. `send` returns
    /// how many messages it sent.
    fn send_with(
        &mut self,
        connection: u32,
        late: Duration,
        send: impl FnOnce(&mut Traffic, usize, &mut Send<'_>) -> u64,
    ) {
        let number = self.number(&self.peers[connection as usize]);
        let Peer { group, index, client, out, sent, .. } = &mut self.peers[connection as usize];
        let share = &mut self.shares[usize::from(*group)];
        let Some(client) = client else { return };
        let messages = &share.group.messages;
        let opcode = if messages.is_text { Opcode::Text } else { Opcode::Binary };
        let template = messages.template.as_ref();
        let (rooms, pool) = (share.group.rooms, &mut self.wire.pool);
        let unsent = *sent;
        let count = send(&mut share.traffic, *index as usize, &mut |payload| {
            match template {
                None => client.deflated(out, pool, opcode, payload),
                Some(template) => {
                    let payload = std::str::from_utf8(payload).unwrap_or_default();
                    let text = fill_in(template, rooms.of(number), number);
                    let text = text.replace("{payload}", payload);
                    client.deflated(out, pool, opcode, text.as_bytes());
                }
            }
            out.len() - unsent < OUT_BYTES_MAX
        });
        // Where openings are planned, the messages on the connections are not.
        if !(share.connects() && share.schedule.is_some()) {
            share.counted.sent(late, count);
        }
        self.queue(connection);
    }
}
