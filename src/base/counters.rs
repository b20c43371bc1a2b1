//! Counters of one shard: written by that shard only, read by anybody.
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

/// Ends of connections by close code: 1000 to 1015 each, those of libraries (3000
/// to 3999) and applications (4000 to 4999) together, but for the two that this crate
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

/// Sessions by route. The names are told once; at most 32 are counted apart.
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
    /// Says what the routes are called, in their order. Only the first call counts.
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

/// Answers to requests, by HTTP status.
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
    /// The statuses that are counted alone.
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

/// A histogram of powers of two: bucket `b` counts values below `2^b` that are in
/// no smaller one.
///
/// ```
/// use tapecast::base::counters::Powers;
///
/// let powers = Powers::default();
/// powers.add(0);
/// powers.add(5);
/// assert_eq!(powers.sum(), 5);
/// let buckets: Vec<_> = powers.all().filter(|bucket| bucket.1 > 0).collect();
/// assert_eq!(buckets, [(1, 1), (8, 1)]);
/// ```
#[derive(Debug, Default)]
pub struct Powers {
    buckets: [Counter; 32],
    sum: Counter,
}

impl Powers {
    /// Counts a value.
    #[inline]
    pub fn add(&self, value: u64) {
        let bucket = (u64::BITS - value.leading_zeros()) as usize;
        self.buckets[bucket.min(31)].add(1);
        self.sum.add(value);
    }

    /// Each bucket: what its values are below, and how many.
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
            /// Limits that were hit, by name.
            pub limits_hit: LimitHits,
            /// Gauge: sessions by route.
            pub routes: Routes,
            /// Answers to requests, by status: 101 is a handshake that succeeded.
            pub statuses: Statuses,
            /// Ends by close code.
            pub close_codes: CloseCodes,
            /// Nanoseconds from the end of one wait to the next.
            pub turn_ns: Powers,
            /// Events of a turn.
            pub turn_events: Powers,
        }

        impl Counters {
            /// Every counter by name, in the order of their definition.
            pub fn all(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($name), self.$name.get()),)+]
            }

            /// The name and the text of every counter, in the same order. A text that
            /// begins with "Gauge: " is of one that goes down too.
            pub const TEXTS: &'static [(&'static str, &'static str)] =
                &[$((stringify!($name), concat!($($doc,)+)),)+];
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
    /// Times that accepting was put off: an accept failed for a reason that may last, or all
    /// descriptors are in use.
    accepts_put_off,
    /// Requests answered with anything else.
    refusals,
    /// Of the handshakes, those that agreed on permessage-deflate.
    handshakes_deflate,
    /// Of those, ones that remember their earlier messages.
    handshakes_deflate_context,
    /// TLS handshakes completed.
    tls_handshakes,
    /// Of those, ones that took up an earlier session.
    tls_resumptions,
    /// TLS handshakes that waited for a later turn.
    tls_handshakes_delayed,
    /// Connections whose TLS failed.
    tls_failures,
    /// Connections that ended, for whatever reason.
    closed,
    /// Reads of publishers that are read once a millisecond, for their topics gather.
    paced_reads,
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
    /// Publications refused: a mailbox was full, or the memory of topics, or there were too
    /// many topics at the home of a new one.
    publications_refused,
    /// Messages for another connection that it could not take, or that came too late.
    letters_dropped,
    /// Readers that fell off their tape and were closed for it.
    readers_fallen,
    /// Gaps that readers were told of.
    gaps,
    /// Readers that got the newest values instead of every message, in times.
    conflations,
    /// Messages delivered from logs: replays and snapshots.
    replayed,
    /// Subscribers that were one too many for the list of their topic's members.
    members_refused,
    /// Connections closed for a protocol violation of the peer.
    protocol_errors,
    /// Handlers that panicked, and lanes: each time it was one connection that ended, or one
    /// message that became a gap.
    handler_panics,
    /// Events whose connection had already ended.
    stale_events,
    /// Gauge: connections whose handshake was accepted and whose session lives.
    sessions,
    /// Gauge: connections that are being closed.
    closing,
    /// Data messages received that were text.
    messages_received_text,
    /// Data messages queued that were text.
    messages_sent_text,
    /// Mails taken from other shards.
    mails_received,
    /// Times that mail for another shard found its mailbox full.
    mailbox_stalls,
    /// Gauge: mails under way in the mailboxes of other shards, looked at now and then.
    mailbox_mails,
    /// Gauge: bytes of mail that waits for room in other shards' mailboxes.
    mail_waiting_bytes,
    /// Gauge: topics known to this shard.
    topics,
    /// Gauge: subscriptions on this shard.
    subscriptions,
    /// Gauge: bytes of encoded messages kept on tapes.
    tape_bytes,
    /// Gauge: bytes of messages kept in logs.
    log_bytes,
    /// Gauge: bytes that connections hold: messages that are not whole, what is queued and was
    /// not taken, backlogs, pieces of TLS records.
    connection_bytes,
    /// Times that a connection was not read from, for connections held much memory.
    memory_pauses,
    /// Connections closed since connections held too much memory.
    memory_closes,
    /// Gauge: bytes of free buffers that the pool keeps.
    pool_kept_bytes,
    /// Gauge: 1 while the shard is in the kernel, sending or waiting; 0 while it works.
    is_waiting,
    /// Gauge: connections with a backlog, or in debt: they are not read from.
    backlogs,
    /// Connections that had done more work than their share in one piece, in times.
    debts,
    /// Work done, in units of about a microsecond.
    work_units,
    /// Turns that took longer than they may.
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
