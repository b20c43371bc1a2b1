//! Counters of one shard: written by that shard only, read by any thread.
//!
//! A count is a relaxed load and a relaxed store, never a locked
//! read-modify-write: there is one writer. Each shard's block is padded to its
//! own cache lines.

use super::limits::Limits;
use std::array;
use std::sync::OnceLock;
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

    /// Sets a gauge. Called by the owning shard only.
    #[inline]
    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// The present value.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// How often each limit was hit.
///
/// ```
/// use tapecast::base::counters::LimitHits;
///
/// let hits = LimitHits::default();
/// hits.hit(const { tapecast::Limits::index_of("head_bytes_max") });
/// assert_eq!(hits.all().find(|hit| hit.1 > 0), Some(("head_bytes_max", 1)));
/// ```
#[derive(Debug)]
pub struct LimitHits([Counter; Limits::NAMES.len()]);

impl Default for LimitHits {
    fn default() -> Self {
        LimitHits(array::from_fn(|_| Counter::default()))
    }
}

impl LimitHits {
    /// The limit at this place of [`Limits::NAMES`] was hit.
    #[inline]
    pub fn hit(&self, limit: usize) {
        self.0[limit].add(1);
    }

    /// Every limit with its hits.
    pub fn all(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Limits::NAMES.iter().zip(&self.0).map(|(name, counter)| (*name, counter.get()))
    }
}

/// Closed connections by close code: 1000 to 1015 each, those of libraries (3000
/// to 3999) and of applications (4000 to 4999) as a group each, except the two that this crate
/// uses.
///
/// ```
/// use tapecast::base::counters::CloseCodes;
///
/// let codes = CloseCodes::default();
/// codes.add(1001);
/// codes.add(4321);
/// let counted: Vec<_> = codes.all().filter(|code| code.1 > 0).collect();
/// assert_eq!(counted, [("1001".to_owned(), 1), ("4xxx".to_owned(), 1)]);
/// ```
#[derive(Debug, Default)]
pub struct CloseCodes([Counter; 20]);

impl CloseCodes {
    /// A connection ended with this code.
    pub fn add(&self, code: u16) {
        let place = match code {
            1000..=1015 => usize::from(code - 1000),
            4008 => 16,
            4009 => 17,
            3000..=3999 => 18,
            _ => 19,
        };
        self.0[place].add(1);
    }

    /// Every code, or group of codes, with its count.
    pub fn all(&self) -> impl Iterator<Item = (String, u64)> {
        let names = (1000..=1015).map(|code: u16| code.to_string());
        let names = names.chain(["4008", "4009", "3xxx", "4xxx"].map(str::to_owned));
        names.zip(self.0.iter().map(Counter::get))
    }
}

/// Sessions by route. The names are set once; at most 32 routes are counted.
///
/// ```
/// use tapecast::base::counters::Routes;
///
/// let routes = Routes::default();
/// routes.name(vec!["/echo".into(), "/feed".into()]);
/// routes.begin(1);
/// assert_eq!(routes.all().collect::<Vec<_>>(), [("/echo", 0), ("/feed", 1)]);
/// ```
#[derive(Debug, Default)]
pub struct Routes {
    names: OnceLock<Vec<String>>,
    sessions: [Counter; 32],
}

impl Routes {
    /// Sets the names of the routes, in their order. Only the first call has an effect.
    pub fn name(&self, names: Vec<String>) {
        let _ = self.names.set(names);
    }

    /// A session of this route began.
    pub fn begin(&self, route: usize) {
        if let Some(sessions) = self.sessions.get(route) {
            sessions.add(1);
        }
    }

    /// A session of this route ended.
    pub fn end(&self, route: usize) {
        if let Some(sessions) = self.sessions.get(route) {
            sessions.subtract(1);
        }
    }

    /// Every route that has a name, with its sessions.
    pub fn all(&self) -> impl Iterator<Item = (&str, u64)> {
        let names = self.names.get().map(Vec::as_slice).unwrap_or_default();
        names.iter().map(String::as_str).zip(self.sessions.iter().map(Counter::get))
    }
}

/// Responses, by HTTP status.
///
/// ```
/// use tapecast::base::counters::Statuses;
///
/// let statuses = Statuses::default();
/// statuses.add(101);
/// statuses.add(418);
/// let counted: Vec<_> = statuses.all().filter(|status| status.1 > 0).collect();
/// assert_eq!(counted, [("101".to_owned(), 1), ("other".to_owned(), 1)]);
/// ```
#[derive(Debug, Default)]
pub struct Statuses([Counter; 13]);

impl Statuses {
    /// The statuses that have a counter of their own.
    const KNOWN: [u16; 12] = [101, 200, 400, 401, 403, 404, 405, 408, 426, 431, 500, 503];

    /// A request was answered with this status.
    pub fn add(&self, status: u16) {
        let place = Self::KNOWN.iter().position(|known| *known == status);
        self.0[place.unwrap_or(Self::KNOWN.len())].add(1);
    }

    /// Every status with its count.
    pub fn all(&self) -> impl Iterator<Item = (String, u64)> {
        let names = Self::KNOWN.iter().map(u16::to_string).chain(["other".to_owned()]);
        names.zip(self.0.iter().map(Counter::get))
    }
}

/// A histogram with powers of two as bounds: bucket `b` counts the values below `2^b` that fit no smaller
/// bucket.
///
/// ```
/// use tapecast::base::counters::Histogram;
///
/// let histogram = Histogram::default();
/// histogram.add(0);
/// histogram.add(5);
/// assert_eq!(histogram.sum(), 5);
/// let buckets: Vec<_> = histogram.all().filter(|bucket| bucket.1 > 0).collect();
/// assert_eq!(buckets, [(1, 1), (8, 1)]);
/// ```
#[derive(Debug, Default)]
pub struct Histogram {
    buckets: [Counter; 32],
    sum: Counter,
}

impl Histogram {
    /// Counts a value.
    #[inline]
    pub fn add(&self, value: u64) {
        let bucket = (u64::BITS - value.leading_zeros()) as usize;
        self.buckets[bucket.min(31)].add(1);
        self.sum.add(value);
    }

    /// Each bucket: its upper bound, exclusive, and its count.
    pub fn all(&self) -> impl Iterator<Item = (u64, u64)> {
        self.buckets.iter().enumerate().map(|(bucket, count)| (1 << bucket, count.get()))
    }

    /// The sum of all values.
    pub fn sum(&self) -> u64 {
        self.sum.get()
    }
}

macro_rules! counters {
    ($($(#[doc = $doc:literal])+ $name:ident,)+) => {
        /// The counters of one shard. The text of a gauge begins with "Gauge: "; everything
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
            /// Times that each limit was hit.
            pub limits_hit: LimitHits,
            /// Gauge: sessions by route.
            pub routes: Routes,
            /// Responses by status: 101 is an accepted handshake.
            pub statuses: Statuses,
            /// Closed connections by close code.
            pub close_codes: CloseCodes,
            /// Nanoseconds of work between two waits.
            pub turn_ns: Histogram,
            /// Events handled in one turn.
            pub turn_events: Histogram,
        }

        impl Counters {
            /// Every counter by name, in the order of their definition.
            pub fn all(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($name), self.$name.get()),)+]
            }

            /// The name and the text of every counter, in the same order. The text of a gauge,
            /// which also goes down, begins with "Gauge: ".
            pub const TEXTS: &'static [(&'static str, &'static str)] =
                &[$((stringify!($name), concat!($($doc,)+)),)+];
        }
    };
}

counters! {
    /// Gauge: open connections, from accept to close.
    connections,
    /// Connections accepted.
    accepted,
    /// Accepts that failed: descriptors or memory exhausted, or the peer gone.
    accept_errors,
    /// Handshakes answered with 101.
    handshakes,
    /// Pauses in accepting: an accept failed for a reason that may last, or all descriptors are
    /// in use.
    accepts_put_off,
    /// Requests answered with another status than 101.
    refusals,
    /// Handshakes that negotiated permessage-deflate.
    handshakes_deflate,
    /// Handshakes that negotiated permessage-deflate with context takeover.
    handshakes_deflate_context,
    /// TLS handshakes completed.
    tls_handshakes,
    /// TLS handshakes that resumed an earlier session.
    tls_resumptions,
    /// TLS handshakes delayed to a later turn by tls_handshakes_per_turn.
    tls_handshakes_delayed,
    /// Connections whose TLS failed.
    tls_failures,
    /// Connections that ended, for any reason.
    closed,
    /// Reads of publishers that are read once a millisecond, because their topics batch (flush_ms).
    paced_reads,
    /// Data messages received.
    messages_received,
    /// Bytes received, framing included.
    bytes_received,
    /// Data messages that handlers queued to their own connection.
    messages_sent,
    /// Bytes sent, framing included.
    bytes_sent,
    /// Send operations.
    sends,
    /// Send operations of which the socket took a part or nothing.
    sends_short,
    /// Multishot receives that ended because no receive buffer was free.
    receive_buffers_exhausted,
    /// Multishot receives that were armed again after they ended.
    receives_rearmed,
    /// Pauses of a connection's receive.
    receives_paused,
    /// Messages delivered to subscribers from tapes.
    deliveries,
    /// Publications accepted on this shard.
    publications,
    /// Publications refused: a mailbox was full, the memory for topics was used up, or topics_max
    /// was reached.
    publications_refused,
    /// Messages for another connection that it could not take, or that arrived after its end.
    letters_dropped,
    /// Subscribers that fell behind their tape and were closed for it.
    readers_fallen,
    /// Gaps reported to subscribers.
    gaps,
    /// Times that a subscriber got the newest values instead of every message.
    conflations,
    /// Messages delivered from logs, as replays and snapshots.
    replayed,
    /// Subscribers left off a presence list that was full.
    members_refused,
    /// Connections closed for a protocol violation of the peer.
    protocol_errors,
    /// Panics of handlers and lanes: each ended one connection, or turned one message into a gap.
    handler_panics,
    /// Events for connections that had already ended.
    stale_events,
    /// Gauge: connections whose handshake was accepted and that have not ended.
    sessions,
    /// Gauge: connections that are being closed.
    closing,
    /// Text messages received.
    messages_received_text,
    /// Text messages that handlers queued to their own connection.
    messages_sent_text,
    /// Messages received from other shards.
    mails_received,
    /// Times that another shard's mailbox was full.
    mailbox_stalls,
    /// Gauge: messages in flight in other shards' mailboxes, sampled.
    mailbox_mails,
    /// Gauge: bytes of messages that wait for room in other shards' mailboxes.
    mail_waiting_bytes,
    /// Gauge: topics known to this shard.
    topics,
    /// Gauge: subscriptions on this shard.
    subscriptions,
    /// Gauge: bytes of encoded messages kept on tapes.
    tape_bytes,
    /// Gauge: bytes of messages kept in logs.
    log_bytes,
    /// Gauge: bytes of memory that connections hold: incomplete messages, send queues, backlogs,
    /// partial TLS records.
    connection_bytes,
    /// Connections paused because connections_bytes_max was near.
    memory_pauses,
    /// Connections closed because connections_bytes_max was reached.
    memory_closes,
    /// Gauge: bytes of free buffers in the pool.
    pool_kept_bytes,
    /// Gauge: 1 while the shard is in the kernel, sending or waiting; 0 while it works.
    is_waiting,
    /// Gauge: connections that are not read from, because they have a backlog or a debt.
    backlogs,
    /// Times that one piece of work exceeded its connection's share.
    debts,
    /// Work done, in units of about a microsecond.
    work_units,
    /// Turns that took longer than turn_ms_max.
    turns_long,
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
        assert_eq!(Counters::TEXTS.len(), counters.all().len());
    }
}
