//! Moves the cursors of a connection when bytes of its tapes are in flight.

use crate::app::{ConnState, Core};
use crate::base::planted::{Bug, planted};
use crate::base::{BufferPool, Counters};
use crate::connection::Outbound;

/// `bytes` bytes of a connection's tapes are in flight: its cursors move, and the rest of a
/// frame is first in line. Its compressor has not seen these bytes, but its peer will.
pub fn advance_tapes(state: &mut ConnState, core: &mut Core, counters: &Counters, bytes: usize) {
    let ConnState { outbound, subscriptions, .. } = state;
    let Core { hub, pool, .. } = core;
    if subscriptions.deflates() {
        pool.contexts().interrupt(outbound.compression());
    }
    let messages = hub.advance(subscriptions, bytes, |rest| keep_rest(outbound, pool, rest));
    counters.deliveries.add(messages);
}

/// The rest of a frame of a tape that has begun: it is finished before anything else.
fn keep_rest(outbound: &mut Outbound, pool: &mut BufferPool, rest: &[u8]) {
    if planted(Bug::InterleavedFrame) {
        outbound.bytes(pool, &rest[rest.len().min(1)..]);
    } else {
        outbound.bytes_first(pool, rest);
    }
}
