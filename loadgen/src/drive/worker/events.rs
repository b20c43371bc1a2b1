//! Handles the completions of the kernel.

use super::peer::State;
use super::state::{OUT_BYTES_MAX, Worker};
use tapecast::base::Time;
use tapecast::driver::{Driver, Errno, Event, ReceiveEnd, UringBuffer};

impl Worker<'_> {
    /// Handles one completion.
    pub(super) fn event(&mut self, event: Event<UringBuffer>, now: Time) {
        match event {
            Event::Received { token, mut buffer } => {
                if self.peers[token.index as usize].channel.is_some() {
                    self.decrypt(token.index, &mut buffer, now);
                } else {
                    self.received(token.index, &mut buffer, now);
                }
                self.wire.ring.release(buffer);
            }
            Event::ReceiveEnded { token, end } => self.receive_ended(token.index, end),
            Event::Polled { token, .. } => {
                let connection = token.index;
                let peer = &mut self.peers[connection as usize];
                peer.operations.is_polling = false;
                match peer.state {
                    State::Connecting => self.connected(connection, now),
                    State::Ending => self.close_when_quiet(connection),
                    _ => self.queue(connection),
                }
            }
            Event::Closed { token } => self.free_place(token.index),
            _ => {}
        }
    }

    /// Handles the outcome of a send.
    pub(super) fn sent(&mut self, connection: u32, outcome: Result<usize, Errno>) {
        let peer = &mut self.peers[connection as usize];
        peer.operations.is_queued = false;
        if peer.state == State::Ending {
            return;
        }
        match outcome {
            Ok(bytes) => {
                let had_room = peer.unsent_bytes() < OUT_BYTES_MAX;
                peer.took(&mut self.wire.pool, bytes);
                // A closed loop that stopped for lack of room resumes.
                if !had_room && peer.unsent_bytes() < OUT_BYTES_MAX {
                    self.agenda.due.push(connection);
                }
            }
            Err(Errno::AGAIN) => {}
            Err(error) => match peer.state {
                State::Leaving => return self.give_up(connection),
                // The receive ends too, with the reason.
                State::ShakingHands => {
                    let bytes = peer.wire().len();
                    return peer.took(&mut self.wire.pool, bytes);
                }
                _ => {
                    let error = std::io::Error::from(error);
                    let kind = format!("send: {}", error.kind());
                    return self.fail(connection, &kind, error.to_string());
                }
            },
        }
        if peer.wire().is_empty() {
            // TLS encrypts no more at a time than one send takes.
            self.queue(connection);
        } else {
            self.wire.poll(connection, peer);
        }
    }

    /// The server has sent its last byte.
    pub(super) fn ended(&mut self, connection: u32) {
        match self.peers[connection as usize].state {
            State::Leaving => self.give_up(connection),
            State::ShakingHands => {
                self.fail(connection, "handshake: the connection was closed", String::new());
            }
            _ => self.fail(connection, "ended without a close frame", String::new()),
        }
    }

    /// A receive has ended: it is armed again, or the connection ends too.
    fn receive_ended(&mut self, connection: u32, end: ReceiveEnd) {
        let peer = &mut self.peers[connection as usize];
        peer.operations.is_receiving = false;
        if peer.state == State::Ending {
            return self.close_when_quiet(connection);
        }
        match end {
            ReceiveEnd::Stopped if peer.is_stalled => {}
            ReceiveEnd::NoBuffers | ReceiveEnd::Expired | ReceiveEnd::Stopped => {
                self.wire.receive(connection, peer);
            }
            ReceiveEnd::EndOfStream => self.ended(connection),
            ReceiveEnd::Broken(error) => {
                let place = match (peer.state, error) {
                    (State::Leaving, _) => return self.give_up(connection),
                    (State::ShakingHands, Errno::CONNRESET) => "handshake",
                    (State::ShakingHands, _) => "connect",
                    _ => "receive",
                };
                let error = std::io::Error::from(error);
                let kind = format!("{place}: {}", error.kind());
                self.fail(connection, &kind, error.to_string());
            }
        }
    }
}
