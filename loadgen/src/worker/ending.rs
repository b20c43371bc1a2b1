//! Connections that end: why, and what follows.
//!
//! An end has steps: its operations are stopped and each of them reports so, then
//! the socket is closed, and when that is reported the place is free again.

use super::*;
use crate::measure::seconds;
use tapecast::protocol::{CloseCause, CloseCode};

impl Worker<'_> {
    /// Ends a connection that went wrong, and counts the fault.
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
            format!("connection {number} after {}{colon}{detail}", seconds(now))
        });
    }

    /// Sends a close frame and waits for the server's end.
    pub(super) fn say_goodbye(&mut self, connection: u32) {
        let now = self.now();
        let peer = &mut self.peers[connection as usize];
        match (peer.state, &mut peer.client) {
            (State::Open, Some(client)) => {
                client.close(&mut peer.out, Some((CloseCode::NORMAL, "")));
                self.leaves(connection, now);
            }
            (State::Connecting | State::ShakingHands, _) => self.give_up(connection),
            _ => {}
        }
    }

    /// The server has broken the protocol, and is told so (RFC 6455, 7.1.7).
    pub(super) fn is_broken(&mut self, connection: u32, cause: CloseCause) {
        let now = self.now();
        let kind = format!("protocol: {}", cause.reason());
        self.fault(connection, &kind, String::new());
        let peer = &mut self.peers[connection as usize];
        peer.is_broken = true;
        match (peer.state, &mut peer.client) {
            (State::Open, Some(client)) => {
                client.close(&mut peer.out, Some((cause.code(), cause.reason())));
                self.leaves(connection, now);
            }
            _ => self.give_up(connection),
        }
    }

    /// A close frame is on its way: what follows is the end of the stream.
    pub(super) fn leaves(&mut self, connection: u32, now: Time) {
        self.not_open(connection, now);
        let peer = &mut self.peers[connection as usize];
        peer.state = State::Leaving;
        self.deadlines.push(Reverse((now + LEAVING, connection, peer.generation)));
        self.queue(connection);
    }

    /// Ends a connection without further words.
    pub(super) fn give_up(&mut self, connection: u32) {
        let now = self.now();
        self.not_open(connection, now);
        let peer = &mut self.peers[connection as usize];
        if matches!(peer.state, State::Absent | State::Ending) {
            return;
        }
        peer.state = State::Ending;
        if let Some(client) = &mut peer.client {
            client.release(&mut self.pool);
        }
        peer.client = None;
        if let Some(mut channel) = peer.channel.take() {
            channel.release(&mut self.pool);
        }
        peer.out = Vec::new();
        peer.sent = 0;
        if peer.is_queued {
            peer.is_queued = false;
            self.queued.retain(|queued| *queued != connection);
        }
        if peer.is_receiving {
            self.ring.stop_receive(token(connection));
        }
        if peer.is_polling {
            self.ring.stop_poll(token(connection), Interest::Writable);
        }
        self.close_when_quiet(connection);
    }

    /// It is open no more, or will not be: those who count on it hear so.
    fn not_open(&mut self, connection: u32, now: Time) {
        let peer = &self.peers[connection as usize];
        let share = &mut self.shares[usize::from(peer.group)];
        match peer.state {
            State::Open => {
                self.open -= 1;
                self.shared.opened(-1);
                // What was under way when everything ended is counted already.
                if !self.is_over {
                    share.traffic.lost(peer.index as usize, now, &mut share.counted);
                }
                if share.connects() && share.group.messages > 0 && !peer.is_done {
                    share.under_way -= 1;
                }
            }
            State::Connecting | State::ShakingHands => {
                self.opening -= 1;
                if !self.is_loaded && peer.generation == 1 {
                    self.unsettled -= 1;
                }
                if share.connects() {
                    share.under_way -= 1;
                }
            }
            State::Absent | State::Leaving | State::Ending => {}
        }
    }

    /// Closes the socket once nothing is under way on it.
    pub(super) fn close_when_quiet(&mut self, connection: u32) {
        let peer = &mut self.peers[connection as usize];
        if peer.state != State::Ending || peer.is_receiving || peer.is_polling {
            return;
        }
        match peer.socket.take() {
            Some(socket) => self.ring.close(socket, token(connection)),
            None => self.is_absent(connection),
        }
    }

    /// The place is free: who comes next?
    pub(super) fn is_absent(&mut self, connection: u32) {
        let now = self.now();
        let peer = &mut self.peers[connection as usize];
        peer.state = State::Absent;
        if self.is_over {
            return;
        }
        let share = &mut self.shares[usize::from(peer.group)];
        match share.group.reconnect {
            Some(_) if share.connects() && peer.is_done => share.absent.push(connection),
            Some(after) => self.openings.push(Reverse((now + after, connection))),
            None => {}
        }
    }
}
