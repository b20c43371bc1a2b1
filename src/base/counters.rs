//! Counters of one shard: written by that shard only, read by anybody.
//!
//! A count is a relaxed load and a relaxed store, never a locked
//! read-modify-write: there is one writer. Each shard's block is padded to its
//! own cache lines.

use std::sync::atomic::{AtomicU64, Ordering};

/// One number with one writer.
///
/// ```
/// use tapecast::base::counters::Counter;
///
/// let connections = Counter::default();
/// connections.add(3);
/// connections.subtract(1);
/// assert_eq!(connections.get(), 2);
/// ```
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `count`. Called by the owning shard only.
    #[inline]
    pub fn add(&self, count: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(count), Ordering::Relaxed);
    }

    /// Takes `count` off, for gauges. Called by the owning shard only.
    #[inline]
    pub fn subtract(&self, count: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_sub(count), Ordering::Relaxed);
    }

    /// The present value.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

macro_rules! counters {
    ($($(#[doc = $doc:literal])+ $name:ident,)+) => {
        /// What one shard counts. Gauges are named so in their text; everything
        /// else only grows.
        ///
        /// ```
        /// use tapecast::Counters;
        ///
        /// let counters = Counters::default();
        /// counters.accepted.add(2);
        /// let counted = counters.all().into_iter().find(|(_, count)| *count > 0);
        /// assert_eq!(counted, Some(("accepted", 2)));
        /// ```
        #[derive(Debug, Default)]
        pub struct Counters {
            $($(#[doc = $doc])+ pub $name: Counter,)+
        }

        impl Counters {
            /// Every counter by name, in the order of their definition.
            pub fn all(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($name), self.$name.get()),)+]
            }
        }
    };
}

counters! {
    /// Gauge: slots taken, from accept to close.
    connections,
    /// Connections accepted.
    accepted,
    /// Accepts that failed (descriptors or memory exhausted, peer gone).
    accept_errors,
    /// Handshakes answered with 101.
    handshakes,
    /// Requests answered with anything else.
    refusals,
    /// Connections that ended, for whatever reason.
    closed,
    /// Data messages received.
    messages_received,
    /// Bytes received, framing included.
    bytes_received,
    /// Data messages queued to their own connection by handlers.
    messages_sent,
    /// Bytes handed to the kernel, framing included.
    bytes_sent,
    /// Send operations.
    sends,
    /// Send operations that the kernel took only in part, or not at all.
    sends_short,
    /// Multishot receives that ended for want of receive buffers.
    receive_buffers_exhausted,
    /// Multishot receives armed again after they had ended.
    receives_rearmed,
    /// Times that a connection's receive was paused.
    receives_paused,
    /// Messages delivered to subscribers from tapes.
    deliveries,
    /// Publications accepted on this shard.
    publications,
    /// Publications refused because a mailbox was full.
    publications_refused,
    /// Messages for another connection that it could not take, or that came too late.
    letters_dropped,
    /// Readers that fell off their tape.
    readers_fallen,
    /// Connections closed for a protocol violation of the peer.
    protocol_errors,
    /// Handlers that panicked.
    handler_panics,
    /// Events whose connection had already ended.
    stale_events,
    /// Turns of the event loop.
    turns,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_have_their_names() {
        let counters = Counters::default();
        counters.turns.add(2);
        counters.turns.subtract(1);
        assert_eq!(counters.all().last(), Some(&("turns", 1)));
    }
}
