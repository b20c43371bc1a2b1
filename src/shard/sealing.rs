//! Outgoing TLS: bytes are encrypted when they are sent.
//!
//! They come from the queue and the tapes, and at most
//! [`SEALED_BYTES_MAX`](crate::connection::SEALED_BYTES_MAX) bytes are encrypted ahead of the
//! socket: by then they have left both.

use super::state::{Phase, Slot};
use super::tapes::advance_tapes;
use crate::app::Core;
use crate::base::Counters;

/// Encrypts the bytes that a connection has to send, as far as there is room: its queue, then, if
/// it takes from them, its tapes. In one piece, so that records are full if there is enough.
pub fn seal<S>(
    slot: &mut Slot<S>,
    core: &mut Core,
    counters: &Counters,
    gathered: &mut Vec<u8>,
    takes_from_tapes: bool,
) {
    let Some(channel) = &mut slot.channel else { return };
    let state = &mut slot.state;
    if channel.is_closed() {
        // Nothing can follow the last record.
        state.outbound.release(&mut core.pool);
    }
    let room = channel.room();
    if room > 0 {
        gathered.clear();
        let queue = state.outbound.queued();
        let from_queue = queue.len().min(room);
        let mut only = &queue[..from_queue];
        let mut bytes = from_queue;
        if from_queue < room && takes_from_tapes {
            core.hub.pending(state.subscriptions, room - from_queue, usize::MAX, |run| {
                let run = &run[..run.len().min(room - bytes)];
                if bytes > 0 {
                    // A single slice is encrypted from where it lies.
                    gathered.extend_from_slice(std::mem::take(&mut only));
                    gathered.extend_from_slice(run);
                } else {
                    only = run;
                }
                bytes += run.len();
            });
        }
        let plain = if gathered.is_empty() { only } else { gathered };
        channel.seal(&mut core.pool, plain);
        state.outbound.advance(&mut core.pool, from_queue);
        if bytes > from_queue {
            advance_tapes(state, core, counters, bytes - from_queue);
        }
    }
    if slot.phase == Phase::Flushing && state.outbound.queued_bytes() == 0 {
        channel.close(&mut core.pool);
    }
}
