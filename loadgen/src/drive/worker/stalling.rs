//! Readers that stop reading for a while, and those that resume.

use super::peer::{Peer, State};
use super::state::Worker;
use super::wire::token;
use tapecast::base::Time;
use tapecast::driver::Driver;

impl Worker<'_> {
    /// Readers that stall stop reading.
    pub(super) fn stall(&mut self, now: Time) {
        for share in &mut self.shares {
            share.stall_ends = share.group.stalling.lasting.map(|lasting| now + lasting);
        }
        for (connection, peer) in self.peers.iter_mut().enumerate().filter(|it| it.1.stalls) {
            peer.is_stalled = true;
            if peer.operations.is_receiving {
                self.wire.ring.stop_receive(token(connection as u32));
            }
        }
    }

    /// Stalled readers of a group read again.
    pub(super) fn resume(&mut self, group: usize) {
        self.shares[group].stall_ends = None;
        let stalled = |peer: &Peer| peer.is_stalled && usize::from(peer.group) == group;
        for (connection, peer) in self.peers.iter_mut().enumerate().filter(|it| stalled(it.1)) {
            peer.is_stalled = false;
            let reads = matches!(peer.state, State::Open | State::Leaving);
            if reads && !peer.operations.is_receiving {
                self.wire.receive(connection as u32, peer);
            }
        }
    }

    /// Lets the readers resume whose stall is over.
    pub(super) fn resume_due(&mut self, now: Time) {
        for group in 0..self.shares.len() {
            if self.shares[group].stall_ends.is_some_and(|end| end <= now) {
                self.resume(group);
            }
        }
    }
}
