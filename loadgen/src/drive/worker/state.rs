//! Everything that a thread has. The other files of this folder are its methods, by subject.

use super::super::failure::RunError;
use super::super::shared::Shared;
use super::peer::Peer;
use super::share::Share;
use super::stopwatch::Stopwatch;
use super::wire::Wire;
use crate::plan::Plan;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;
use tapecast::base::Time;

/// The longest that a thread sleeps without looking at the shared phase.
pub(super) const NAP: Duration = Duration::from_millis(10);
/// Unsent bytes of a connection from which on it sends nothing more. Messages that are planned, or
/// due in a closed loop, wait: a server that does not read must not fill this program's memory.
pub(super) const OUT_BYTES_MAX: usize = 1 << 20;
/// Handshakes in flight on a thread before the load starts.
pub(super) const OPENING_MAX: usize = 256;
/// How long a server may take to close a connection that was closed.
pub(super) const LEAVING: Duration = Duration::from_secs(1);

/// One thread at work.
pub(super) struct Worker<'a> {
    pub plan: &'a Plan,
    pub shared: &'a Shared,
    pub thread: u32,
    pub wire: Wire,
    pub shares: Vec<Share<'a>>,
    pub peers: Vec<Peer>,
    pub agenda: Agenda,
    pub census: Census,
    pub stopwatch: Stopwatch,
    /// The load has started.
    pub is_loaded: bool,
    pub is_measuring: bool,
    /// Every group has finished by itself.
    pub is_done: bool,
    /// Only deliveries to stalled readers are still awaited.
    pub is_over: bool,
}

/// Pending work, and when it is due.
#[derive(Default)]
pub(super) struct Agenda {
    /// Connections with something to send.
    pub queued: Vec<u32>,
    /// Connections that may send because something arrived.
    pub due: Vec<u32>,
    /// When connections are to be opened.
    pub openings: BinaryHeap<Reverse<(Time, u32)>>,
    /// When a connection that is opening or leaving is given up, with its generation.
    pub deadlines: BinaryHeap<Reverse<(Time, u32, u32)>>,
}

/// How many connections are in which state.
pub(super) struct Census {
    /// Handshakes in flight.
    pub opening: usize,
    /// Connections that have yet to open or fail before the load starts.
    pub unsettled: usize,
    pub open: u32,
}

impl<'a> Worker<'a> {
    pub fn new(plan: &'a Plan, shared: &'a Shared, thread: u32) -> Result<Worker<'a>, RunError> {
        let mut peers = Vec::new();
        let mut shares = Vec::new();
        for (number, group) in plan.groups.iter().enumerate() {
            let first = peers.len() as u32;
            let own: Vec<u32> =
                (thread..group.connections()).step_by(plan.threads as usize).collect();
            let new = |(index, &connection): (usize, &u32)| {
                Peer::new(number as u16, index as u32, group.stalls(connection))
            };
            peers.extend(own.iter().enumerate().map(new));
            shares.push(Share::new(shared, group, number, &own, first)?);
        }
        Ok(Worker {
            plan,
            shared,
            thread,
            wire: Wire::new(shared, peers.len() as u32)?,
            census: Census { opening: 0, unsettled: peers.len(), open: 0 },
            shares,
            peers,
            agenda: Agenda::default(),
            stopwatch: Stopwatch::default(),
            is_loaded: false,
            is_measuring: false,
            is_done: false,
            is_over: false,
        })
    }

    /// The run's time.
    pub fn now(&mut self) -> Time {
        self.wire.now()
    }

    /// The number of a connection in its group, over all threads.
    pub fn number(&self, peer: &Peer) -> u32 {
        self.thread + peer.index * self.plan.threads
    }

    /// Queues a connection whose unsent bytes leave with the next turn.
    pub fn queue(&mut self, connection: u32) {
        let peer = &mut self.peers[connection as usize];
        if peer.can_send() && !peer.operations.is_queued && !peer.operations.is_polling {
            peer.operations.is_queued = true;
            self.agenda.queued.push(connection);
        }
    }
}
