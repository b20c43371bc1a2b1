//! Sends an echo from the buffer in which its message was received.

use super::state::Slot;
use crate::base::{BufferPool, Counters};
use crate::connection::{Channel, Outbound};
use crate::driver::{Driver, Errno, Socket};
use crate::protocol::{Input, Kind};
use crate::tls::RECORD_BYTES_MAX;

/// An echo with at least so many bytes left to send is not copied into the queue.
const HANDED_OVER_BYTES_MIN: usize = if cfg!(test) { 512 } else { 256 << 10 };

/// A frame that fills a TLS record by itself gains nothing from waiting for others. The simulated
/// shards' messages are shorter.
const ALONE_BYTES_MIN: usize = if cfg!(test) { 512 } else { RECORD_BYTES_MAX };

/// Echoes the message that was received last, at once and from its receive buffer.
pub fn echo_in_place<S, D: Driver>(
    slot: &mut Slot<S>,
    input: &mut Input<'_>,
    kind: Kind,
    driver: &mut D,
    pool: &mut BufferPool,
    counters: &Counters,
) {
    let waits = slot.is_blocked();
    let outbound = &mut slot.state.outbound;
    let frame = match slot.inbound.frame_in_place(input, kind) {
        Ok(frame) if !waits => frame,
        Ok(frame) => {
            let bytes = frame.len();
            return queue_echo(slot, input, kind, bytes, pool);
        }
        Err(payload) => return outbound.frame(pool, kind.opcode(), payload, None),
    };
    if let Some(channel) = &mut slot.channel {
        let rest = send_sealed(channel, outbound, frame, slot.socket, driver, pool, counters);
        let bytes = rest.len();
        return queue_echo(slot, input, kind, bytes, pool);
    }
    let queued = outbound.queued_bytes();
    let sent = match driver.send_now(slot.socket, &[outbound.queued(), frame]) {
        Ok(sent) => sent,
        Err(Errno::AGAIN | Errno::INTR) => 0,
        // The connection is broken: its receive ends and says so.
        Err(_) => queued + frame.len(),
    };
    counters.sends.add(1);
    counters.bytes_sent.add(sent as u64);
    outbound.advance(pool, sent.min(queued));
    let rest = frame.len() - sent.saturating_sub(queued);
    counters.sends_short.add(u64::from(rest > 0));
    queue_echo(slot, input, kind, rest, pool);
}

/// Queues the last `bytes` bytes of the echo of the message that was received last. If those are
/// many, the buffer in which the message was put together becomes the queue.
fn queue_echo<S>(
    slot: &mut Slot<S>,
    input: &mut Input<'_>,
    kind: Kind,
    bytes: usize,
    pool: &mut BufferPool,
) {
    if bytes == 0 {
        return;
    }
    let outbound = &mut slot.state.outbound;
    if bytes >= HANDED_OVER_BYTES_MIN
        && outbound.queued_bytes() == 0
        && let Some(buffer) = slot.inbound.hand_over(pool)
    {
        let sent = buffer.len() - bytes;
        return outbound.queue_buffer(pool, buffer, sent);
    }
    if let Ok(frame) = slot.inbound.frame_in_place(input, kind) {
        outbound.bytes(pool, &frame[frame.len() - bytes..]);
    }
}

/// Encrypts `frame` and sends it at once, as far as the socket takes it. Returns the rest to
/// queue: all of it if it is short, or if other bytes wait before it.
fn send_sealed<'f, D: Driver>(
    channel: &mut Channel,
    outbound: &Outbound,
    frame: &'f [u8],
    socket: Socket,
    driver: &mut D,
    pool: &mut BufferPool,
    counters: &Counters,
) -> &'f [u8] {
    if frame.len() < ALONE_BYTES_MIN || outbound.queued_bytes() > 0 {
        return frame;
    }
    let mut rest = frame;
    while channel.queued_bytes() == 0 && !rest.is_empty() {
        let (piece, behind) = rest.split_at(rest.len().min(channel.room()));
        channel.seal(pool, piece);
        if channel.has_failed() || channel.queued_bytes() == 0 {
            // The next send of the queue finds that out.
            return rest;
        }
        rest = behind;
        let sent = match driver.send_now(socket, &[channel.queued()]) {
            Ok(sent) => sent,
            Err(Errno::AGAIN | Errno::INTR) => 0,
            // The connection is broken: its receive ends and says so.
            Err(_) => {
                channel.advance(pool, channel.queued_bytes());
                return &[];
            }
        };
        counters.sends.add(1);
        counters.bytes_sent.add(sent as u64);
        counters.sends_short.add(u64::from(sent < channel.queued_bytes()));
        channel.advance(pool, sent);
    }
    rest
}
