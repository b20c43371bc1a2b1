//! Ends connections: counts the reasons, and frees their places.
//!
//! A connection ends in three steps. Its operations are stopped, and each of them completes;
//! then its socket is closed; when that completes, its place is free again.

use super::peer::State;
use super::state::{LEAVING, Worker};
use super::wire::token;
use std::cmp::Reverse;
use tapecast::base::Time;
use tapecast::driver::{Driver, Interest};
use tapecast::protocol::{CloseCause, CloseCode};

impl Worker<'_> {
    /// Counts a fault, and ends its connection.
    pub(super) fn fail(&mut self, connection: u32, kind: &str, detail: String) {
        self.fault(connection, kind, detail);
        self.give_up(connection);
    }

    /// Counts a fault.
    pub(super) fn fault(&mut self, connection: u32, kind: &str, detail: String) {
        let now = self.now();
        let peer = &self.peers[connection as usize];
        let number = self.number(peer);
        let share = &mut self.shares[usize::from(peer.group)];
        let counted = match &mut share.stalled {
            Some(stalled) if peer.stalls => stalled,
            _ => &mut share.counted,
        };
        counted.faults.add(kind, || {
            let colon = if detail.is_empty() { "" } else { ": " };
            let seconds = now.as_nanos() as f64 / 1e9;
            format!("connection {number} after {seconds:.3}s{colon}{detail}")
        });
    }

    /// Sends a close frame and waits for the server's end.
    pub(super) fn close(&mut self, connection: u32) {
        let now = self.now();
        let peer = &mut self.peers[connection as usize];
        match (peer.state, &mut peer.client) {
            (State::Open, Some(client)) => {
                client.close(&mut peer.out, Some((CloseCode::NORMAL, "")));
                self.await_end(connection, now);
            }
            (State::Connecting | State::ShakingHands, _) => self.give_up(connection),
            _ => {}
        }
    }

    /// Fails the connection: the server has broken the protocol.
    pub(super) fn fail_protocol(&mut self, connection: u32, cause: CloseCause) {
        let now = self.now();
        let kind = format!("protocol: {}", cause.reason());
        self.fault(connection, &kind, String::new());
        let peer = &mut self.peers[connection as usize];
        peer.is_broken = true;
        match (peer.state, &mut peer.client) {
            (State::Open, Some(client)) => {
                // RFC 6455, 7.1.7: an endpoint that fails an established connection should send
                // a close frame with an appropriate status code.
                client.close(&mut peer.out, Some((cause.code(), cause.reason())));
                self.await_end(connection, now);
            }
            _ => self.give_up(connection),
        }
    }

    /// A close frame was queued: the end of the stream is next.
    pub(super) fn await_end(&mut self, connection: u32, now: Time) {
        self.uncount(connection, now);
        let peer = &mut self.peers[connection as usize];
        peer.state = State::Leaving;
        self.agenda.deadlines.push(Reverse((now + LEAVING, connection, peer.generation)));
        self.queue(connection);
    }

    /// Ends a connection without a close frame.
    pub(super) fn give_up(&mut self, connection: u32) {
        let now = self.now();
        self.uncount(connection, now);
        let peer = &mut self.peers[connection as usize];
        if matches!(peer.state, State::Absent | State::Ending) {
            return;
        }
        peer.state = State::Ending;
        if let Some(client) = &mut peer.client {
            client.release(&mut self.wire.pool);
        }
        peer.client = None;
        if let Some(mut channel) = peer.channel.take() {
            channel.release(&mut self.wire.pool);
        }
        peer.out = Vec::new();
        peer.sent = 0;
        if peer.operations.is_queued {
            peer.operations.is_queued = false;
            self.agenda.queued.retain(|queued| *queued != connection);
        }
        if peer.operations.is_receiving {
            self.wire.ring.stop_receive(token(connection));
        }
        if peer.operations.is_polling {
            self.wire.ring.stop_poll(token(connection), Interest::Writable);
        }
        self.close_when_quiet(connection);
    }

    /// A connection is no longer open, or will not open: updates every count of it.
    fn uncount(&mut self, connection: u32, now: Time) {
        let peer = &self.peers[connection as usize];
        let share = &mut self.shares[usize::from(peer.group)];
        match peer.state {
            State::Open => {
                self.census.open -= 1;
                self.shared.opened(-1);
                // At the end of the load, messages in flight were counted already.
                if !self.is_over {
                    share.traffic.lost(peer.index as usize, now, &mut share.counted);
                }
                if share.connects() && share.group.replies > 0 && !peer.is_done {
                    share.in_flight -= 1;
                }
            }
            State::Connecting | State::ShakingHands => {
                self.census.opening -= 1;
                if !self.is_loaded && peer.generation == 1 {
                    self.census.unsettled -= 1;
                }
                if share.connects() {
                    share.in_flight -= 1;
                }
            }
            State::Absent | State::Leaving | State::Ending => {}
        }
    }

    /// Closes the socket once no operation is in flight on it.
    pub(super) fn close_when_quiet(&mut self, connection: u32) {
        let peer = &mut self.peers[connection as usize];
        if peer.state != State::Ending || peer.operations.is_receiving || peer.operations.is_polling
        {
            return;
        }
        match peer.socket.take() {
            Some(socket) => self.wire.ring.close(socket, token(connection)),
            None => self.free_place(connection),
        }
    }

    /// The place is free: a connection that reconnects is opened in it later.
    pub(super) fn free_place(&mut self, connection: u32) {
        let now = self.now();
        let peer = &mut self.peers[connection as usize];
        peer.state = State::Absent;
        if self.is_over {
            return;
        }
        let share = &mut self.shares[usize::from(peer.group)];
        match share.group.opening.reconnect {
            Some(_) if share.connects() && peer.is_done => share.absent.push(connection),
            Some(after) => self.agenda.openings.push(Reverse((now + after, connection))),
            None => {}
        }
    }
}
