//! Every limit: name, unit, default, consequence, and the range it takes.
//!
//! The doc comments are the texts of `tapecast limits`. This file knows no other module.

macro_rules! limits {
    ($($(#[doc = $doc:literal])+ $name:ident: $type:ty = $default:expr, tiny $tiny:expr;)+) => {
        /// The limits of a server. Each queue and each loop of the crate is bounded by one of
        /// these.
        ///
        /// ```
        /// let limits = tapecast::Limits { message_bytes_max: 64 << 10, ..Default::default() };
        /// assert!(limits.check().is_ok());
        /// ```
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct Limits {
            $($(#[doc = $doc])+ pub $name: $type,)+
        }

        impl Default for Limits {
            fn default() -> Self {
                Limits { $($name: $default,)+ }
            }
        }

        impl Limits {
            /// The names of all limits, in the order of definition.
            pub const NAMES: &'static [&'static str] = &[$(stringify!($name),)+];

            /// Limits so small that a test easily reaches each of them.
            pub fn tiny() -> Limits {
                Limits { $($name: $tiny,)+ }
            }

            /// Name, value and text of every limit, in the order of definition.
            pub fn table(&self) -> Vec<(&'static str, u64, &'static str)> {
                vec![$((stringify!($name), self.$name as u64, concat!($($doc,)+).trim()),)+]
            }

            /// Sets the limit with this name.
            ///
            /// # Errors
            /// No limit has this name, or the value does not fit its type.
            pub fn set(&mut self, name: &str, value: u64) -> Result<(), LimitError> {
                match name {
                    $(stringify!($name) => self.$name = <$type>::try_from(value).map_err(|_| {
                        let message = format!("expected at most {}", <$type>::MAX);
                        LimitError { name: stringify!($name), value, message }
                    })?,)+
                    _ => return Err(LimitError {
                        name: "",
                        value,
                        message: format!("there is no limit {name}"),
                    }),
                }
                Ok(())
            }
        }
    };
}

limits! {
    /// Connections of the whole server. Above it: 503 with `Retry-After`.
    connections_max: usize = 1_000_000, tiny 8;
    /// Connections above `connections_max` that are kept only to answer 503. Above it: accepting pauses.
    connections_refusing_max: usize = 64, tiny 2;
    /// Connections of one address (IPv6: one /64). Above it: 503. 0: no limit. Behind a proxy, all connections have the same address.
    connections_per_address_max: u32 = 0, tiny 0;
    /// Handshakes per second of the whole server, each shard its share. Above it: accepting waits. 0: no limit.
    handshakes_per_second_max: u32 = 0, tiny 0;
    /// Bytes of a request head. Above it: 431.
    head_bytes_max: usize = 16 << 10, tiny 512;
    /// Header fields of a request head. Above it: 431.
    head_fields_max: usize = 96, tiny 16;
    /// Milliseconds from accept to the end of the request head. Above it: 408.
    handshake_ms: u64 = 10_000, tiny 500;
    /// Milliseconds without a byte of an unfinished request head. Above it: 408.
    handshake_stall_ms: u64 = 5_000, tiny 200;
    /// Bytes of one message after reassembly. Above it: close 1009.
    message_bytes_max: usize = 16 << 20, tiny 4 << 10;
    /// Frames of one message. Above it: close 1008. A fragment takes no memory of its own.
    message_fragments_max: u32 = 128 << 10, tiny 16;
    /// Milliseconds from the first byte of a message to its last. Above it: close 1008. 0: no limit.
    message_ms: u64 = 300_000, tiny 5_000;
    /// Messages per second from one connection. Above it: the server stops reading from the connection until it is within the rate. 0: no limit.
    messages_per_second_max: u32 = 0, tiny 0;
    /// Bytes per second from one connection. Above it: as for `messages_per_second_max`. 0: no limit.
    bytes_per_second_max: u32 = 0, tiny 0;
    /// Bytes that all connections hold together: incomplete messages, queued bytes that the kernel did not accept, incomplete TLS records. Above three quarters of it: the server stops reading from the largest holders. Above it: they are closed with 1013. 0: a quarter of the memory of the machine, or of its control group.
    connections_bytes_max: usize = 0, tiny 0;
    /// Bytes queued for one connection that the kernel did not accept. Above it: close 4008.
    queued_bytes_max: usize = 32 << 20, tiny 16 << 10;
    /// Queued bytes of one connection. Above it: the server stops reading from the connection until its queue is empty.
    queued_bytes_pause: usize = 256 << 10, tiny 1 << 10;
    /// Bytes received from one connection in one turn. Above it: the other connections come first.
    receive_bytes_per_turn: usize = 256 << 10, tiny 2 << 10;
    /// Compression level for peers that offer permessage-deflate, 1 to 9. 0: the offer is declined.
    deflate_level: usize = 0, tiny 1;
    /// Inflated bytes per byte of a compressed message, for messages that inflate to more than 4 MiB. Above it: close 1009. 0: no limit.
    deflate_ratio_max: usize = 256, tiny 256;
    /// Bytes of a message. Below it: it is sent without compression.
    deflate_bytes_min: usize = 512, tiny 16;
    /// Bytes of a message. Above it: it is sent without compression, since other connections would wait for the compressor.
    deflate_bytes_max: usize = 1 << 20, tiny 1 << 20;
    /// Bytes of compressors and decompressors that keep a connection's context between messages, of the whole server, each shard its share: up to 419 KiB per connection. Above it: each message of a new connection is compressed by itself.
    deflate_contexts_bytes_max: usize = 0, tiny 1 << 20;
    /// Bytes of a message on a connection with a context. Below it: it is sent without compression.
    deflate_context_bytes_min: usize = 32, tiny 4;
    /// TLS handshakes that a shard works on in one turn. Above it: the others wait for the next turn.
    tls_handshakes_per_turn: usize = 4, tiny 1;
    /// Bytes of a TLS handshake that are kept until a message of it is complete, or its turn comes. Above it: the connection is cut.
    tls_handshake_bytes_max: usize = 32 << 10, tiny 20 << 10;
    /// Milliseconds without a received byte, after which a ping is sent. 0: never.
    idle_ping_ms: u64 = 30_000, tiny 1_000;
    /// Milliseconds from that ping without a received byte. Above it: the connection counts as lost and is closed, 1006.
    pong_ms: u64 = 20_000, tiny 500;
    /// Milliseconds without a message from a connection, to the second; pongs do not count. Above it: close 1001. 0: no limit.
    idle_max_ms: u64 = 0, tiny 0;
    /// Milliseconds after which a connection is closed with 1001, give or take a tenth, so that clients rebalance over servers. 0: never.
    age_max_ms: u64 = 0, tiny 0;
    /// Milliseconds to wait for the peer's close frame. Above it: the connection is cut.
    close_ms: u64 = 5_000, tiny 300;
    /// Milliseconds for which bytes of a refused peer are read and discarded, so that it receives the reason.
    linger_ms: u64 = 2_000, tiny 200;
    /// Milliseconds of notice at the start of a drain: `/readyz` and new handshakes are answered with 503. Then accepting stops and closes begin. Skipped if there are no connections.
    drain_notice_ms: u64 = 1_000, tiny 40;
    /// Milliseconds over which a drain spreads its closes. Above it: connections are cut.
    drain_ms: u64 = 2_000, tiny 100;
    /// Subscriptions of one connection: topics, by name or matched by its patterns, and patterns. Above it: an error value, or a notice.
    subscriptions_max: usize = 1_024, tiny 4;
    /// Bytes of one request of `tapecast.v1.json`. Above it: an error.
    json_request_bytes_max: usize = 256 << 10, tiny 4 << 10;
    /// Milliseconds between the heartbeats in which `tapecast.v1.json` sends a connection the positions of its quiet channels. 0: none are sent.
    heartbeat_ms: u64 = 30_000, tiny 500;
    /// Milliseconds from the handshake to the first subscription of a `tapecast.v1.json` connection. Above it: close 1008. 0: no limit.
    first_subscribe_ms: u64 = 0, tiny 0;
    /// Publications per second of one `tapecast.v1.json` connection. Above it: an error. 0: no limit.
    publishes_per_second_max: u32 = 0, tiny 0;
    /// Subscriptions to patterns on one shard. Above it: an error value.
    patterns_max: usize = 65_536, tiny 8;
    /// Patterns that one connection subscribes to. Above it: an error value.
    patterns_per_connection_max: usize = 64, tiny 4;
    /// Patterns that the connections of one address (IPv6: one /64) subscribe to on one shard. Above it: an error value. 0: no limit.
    patterns_per_address_max: usize = 0, tiny 0;
    /// Topics of the whole server, each shard its share. Above it: a publication or a subscription that needs a new topic is an error value.
    topics_max: usize = 1 << 22, tiny 64;
    /// Existing topics that one connection created by publishing, each shard its share. Above it: an error value.
    topics_per_connection_max: usize = 65_536, tiny 64;
    /// Existing topics that the connections of one address (IPv6: one /64) created by publishing, each shard its share. Above it: an error value. 0: no limit.
    topics_per_address_max: usize = 0, tiny 0;
    /// Approximate bytes of all topics of the whole server with their logs and tapes, each shard its share; the topics themselves, with their names, take at most half of it. Above it: the oldest messages of every history are evicted, then tapes, then values; in the end publications are refused.
    topics_bytes_max: usize = 1 << 30, tiny 1 << 20;
    /// Keys of a topic whose newest values are retained outside the history, unless a rule sets `keys_max`. Above it: the value that has not changed for longest is evicted, and snapshots report it.
    topic_keys_max: usize = 16_384, tiny 4;
    /// Bytes of a topic's history that are sent to one subscriber at a time.
    replay_bytes_max: usize = 64 << 10, tiny 256;
    /// Bytes of encoded messages kept on one topic's tape per shard and lane, always including the newest. A subscriber that lags further falls behind the tape.
    tape_bytes_max: usize = 4 << 20, tiny 2 << 10;
    /// Messages retained in one topic's log at its home.
    log_messages_max: usize = 16_384, tiny 8;
    /// Bytes retained in one topic's log at its home, always including the newest message.
    log_bytes_max: usize = 4 << 20, tiny 4 << 10;
    /// Milliseconds that a message is retained in its topic's log, unless a rule sets `retention_ms`. A topic without subscribers is deleted with its last message.
    log_ms: u64 = 60_000, tiny 200;
    /// Mails in flight from one shard to another; fewer from nine shards on, since their slots count towards `mailbox_bytes_max`. Above it: publishers pause, homes wait.
    mailbox_mails_max: usize = 4_096, tiny 4;
    /// Bytes in flight in all mailboxes together: half is shared evenly by all pairs of shards, half by all receivers for longer messages, and one of these is always accepted. Above it: publishers pause, homes wait.
    mailbox_bytes_max: usize = 64 << 20, tiny 64 << 10;
    /// Bytes of publications kept for one full mailbox while publishers pause, and bytes in flight to one shard from other threads. Above it: publications are refused. All that one receive brings is accepted, even if it is longer.
    publish_overflow_bytes_max: usize = 32 << 20, tiny 16 << 10;
    /// Work of a shard in one turn, in units of about a microsecond: messages handled, channels named in them, topics created, patterns matched, bytes copied, inflated and replayed. Above it: the rest waits for the next turn, in the order of each connection.
    turn_work_max: u32 = 600, tiny 20;
    /// Milliseconds of a turn, without its wait. Above it: the turn is counted, and logged at most once a second.
    turn_ms_max: u64 = 50, tiny 50;
    /// Completions that the ring holds for one turn, at least 2048. The kernel keeps the others.
    events_per_turn: usize = 512, tiny 8;
    /// Mails taken from each other shard in one turn.
    mails_per_turn: usize = 512, tiny 4;
    /// Sends started in one turn. Above it: the other connections come first in the next turn.
    sends_per_turn: usize = 128, tiny 4;
    /// Bytes of all sends of one turn, each connection its share and at most 1 MiB, give or take a message. Above it: the rest is sent in the next turns.
    send_bytes_per_turn: usize = 12 << 20, tiny 4 << 10;
    /// Receive buffers of a shard, a power of two. If none is free, receives wait for one.
    receive_buffers: u16 = 64, tiny 4;
    /// Bytes of a receive buffer.
    receive_buffer_bytes: usize = 32 << 10, tiny 256;
    /// Bytes of free buffers that a shard keeps. Above it: they return to the allocator.
    pool_bytes_max: usize = 32 << 20, tiny 64 << 10;
    /// Accepts in flight per listener.
    accepts_in_flight: usize = 16, tiny 2;
    /// Connections that the kernel holds per listener until they are accepted. Above it: the kernel drops their SYN.
    listen_backlog: i32 = 4_096, tiny 16;
    /// Bytes of a socket's send buffer, which a stalled reader can fill. The kernel lowers it to twice `net.core.wmem_max`. 0: the kernel sizes it, up to `net.ipv4.tcp_wmem`.
    socket_send_bytes: usize = 1 << 20, tiny 8 << 10;
    /// Bytes in a send buffer that have not left for the network (TCP_NOTSENT_LOWAT). Above it: the peer counts as slow. 0: the whole send buffer.
    socket_unsent_bytes: u32 = 0, tiny 8 << 10;
    /// Microseconds that an idle shard polls for work before it sleeps. Uses a core, saves a wake-up.
    spin_us: u32 = 0, tiny 0;
}

impl Limits {
    /// The unit of the limit with this name, as its name says it.
    pub fn unit(name: &str) -> &'static str {
        match name {
            name if name.starts_with("bytes_per_second") => "bytes per second",
            name if name.contains("_per_second") => "per second",
            name if name.ends_with("_ms") || name.contains("_ms_") => "ms",
            name if name.ends_with("_us") => "µs",
            name if name.contains("bytes") => "bytes",
            _ => "count",
        }
    }

    /// The limits that a reload changes. The others size what was set up at the start, or work
    /// in flight relies on them.
    pub const RELOADABLE: &'static [&'static str] = &[
        "head_bytes_max",
        "head_fields_max",
        "handshake_ms",
        "handshake_stall_ms",
        "json_request_bytes_max",
        "message_ms",
        "queued_bytes_max",
        "queued_bytes_pause",
        "receive_bytes_per_turn",
        "tls_handshakes_per_turn",
        "idle_ping_ms",
        "pong_ms",
        "idle_max_ms",
        "age_max_ms",
        "close_ms",
        "linger_ms",
        "drain_notice_ms",
        "drain_ms",
        "turn_work_max",
        "turn_ms_max",
        "mails_per_turn",
        "sends_per_turn",
        "send_bytes_per_turn",
        "spin_us",
    ];

    /// Takes over the reloadable limits of `other`.
    pub fn reload(&mut self, other: &Limits) {
        for (name, value, _) in other.table() {
            if Self::RELOADABLE.contains(&name) {
                self.set(name, value).expect("it comes from a limit of the same name");
            }
        }
    }

    /// The index of a limit in [`Limits::NAMES`], for counting hits by name.
    ///
    /// # Panics
    /// No limit has this name: call it in a constant.
    pub const fn index_of(name: &str) -> usize {
        let mut index = 0;
        while index < Self::NAMES.len() {
            if is_equal(Self::NAMES[index].as_bytes(), name.as_bytes()) {
                return index;
            }
            index += 1;
        }
        panic!("no limit has this name")
    }
}

const fn is_equal(one: &[u8], other: &[u8]) -> bool {
    let mut index = 0;
    while index < one.len() && index < other.len() {
        if one[index] != other[index] {
            return false;
        }
        index += 1;
    }
    one.len() == other.len()
}

/// A limit whose value can't be used.
///
/// ```
/// use tapecast::Limits;
///
/// let limits = Limits { message_bytes_max: 100, ..Limits::default() };
/// let error = limits.check().unwrap_err();
/// assert_eq!(error.to_string(), "message_bytes_max is 100: expected 125 to 1073741824");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitError {
    /// The limit's name; empty if no limit has the given name.
    pub name: &'static str,
    /// Its value.
    pub value: u64,
    /// The values that are expected.
    pub message: String,
}

impl std::fmt::Display for LimitError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let LimitError { name, value, message } = self;
        if name.is_empty() {
            formatter.write_str(message)
        } else {
            write!(formatter, "{name} is {value}: {message}")
        }
    }
}

impl std::error::Error for LimitError {}

impl Limits {
    /// Checks the limits, and against each other.
    ///
    /// # Errors
    /// The first limit that is out of range, with what was expected.
    pub fn check(&self) -> Result<(), LimitError> {
        self.problems().into_iter().next().map_or(Ok(()), Err)
    }

    /// Every limit that is out of range or contradicts another, with what was expected.
    pub fn problems(&self) -> Vec<LimitError> {
        let mut found = Vec::new();
        macro_rules! between {
            ($name:ident, $range:expr) => {
                let (name, value, range) = (stringify!($name), self.$name as u64, $range);
                if !range.contains(&value) {
                    let message = format!("expected {} to {}", range.start(), range.end());
                    found.push(LimitError { name, value, message });
                }
            };
        }
        between!(connections_max, 1..=1 << 30);
        between!(head_bytes_max, 64..=1 << 20);
        between!(head_fields_max, 8..=1 << 12);
        between!(handshake_ms, 1..=3_600_000);
        between!(handshake_stall_ms, 1..=3_600_000);
        between!(message_bytes_max, 125..=1 << 30);
        between!(message_fragments_max, 1..=1 << 30);
        between!(message_ms, 0..=1 << 40);
        if self.connections_bytes_max > 0 {
            between!(connections_bytes_max, 64 << 10..=1 << 50);
        }
        between!(queued_bytes_max, 1..=2 << 30);
        between!(receive_bytes_per_turn, 1..=1 << 30);
        between!(deflate_level, 0..=9);
        if self.deflate_contexts_bytes_max > 0 {
            // At least what one connection takes.
            between!(deflate_contexts_bytes_max, 512 << 10..=1 << 50);
        }
        between!(tls_handshakes_per_turn, 1..=1 << 20);
        between!(tls_handshake_bytes_max, 20 << 10..=1 << 20);
        between!(json_request_bytes_max, 125..=1 << 30);
        between!(subscriptions_max, 1..=65_535);
        between!(idle_ping_ms, 0..=1 << 40);
        between!(pong_ms, 1..=1 << 40);
        between!(idle_max_ms, 0..=1 << 40);
        between!(age_max_ms, 0..=1 << 40);
        between!(close_ms, 0..=3_600_000);
        between!(linger_ms, 0..=3_600_000);
        between!(drain_notice_ms, 0..=3_600_000);
        between!(drain_ms, 0..=24 * 3_600_000);
        between!(log_messages_max, 1..=1 << 30);
        between!(log_ms, 0..=365 * 24 * 3_600_000);
        between!(heartbeat_ms, 0..=1 << 40);
        between!(first_subscribe_ms, 0..=1 << 40);
        between!(topics_max, 1..=1 << 30);
        between!(patterns_max, 0..=1 << 24);
        between!(patterns_per_connection_max, 0..=65_535);
        between!(topics_per_connection_max, 1..=1 << 30);
        between!(deflate_ratio_max, 0..=1 << 20);
        between!(deflate_bytes_max, 0..=1 << 30);
        between!(turn_work_max, 10..=1_000_000);
        between!(turn_ms_max, 1..=3_600_000);
        between!(topic_keys_max, 0..=1 << 24);
        between!(replay_bytes_max, 1..=1 << 30);
        between!(mailbox_mails_max, 1..=1 << 24);
        between!(events_per_turn, 1..=1 << 14);
        between!(mails_per_turn, 1..=1 << 24);
        between!(sends_per_turn, 1..=1 << 20);
        between!(send_bytes_per_turn, 1..=1 << 30);
        between!(accepts_in_flight, 1..=1 << 12);
        between!(listen_backlog, 1..=1 << 16);
        between!(socket_send_bytes, 0..=1 << 30);
        between!(spin_us, 0..=1_000_000);
        between!(receive_buffers, 1..=1 << 14);
        between!(receive_buffer_bytes, 128..=16 << 20);
        let out_of_range: Vec<&str> = found.iter().map(|error| error.name).collect();
        // A limit that is out of range, or contradicts one that is, is reported once.
        let mut wrong = |name, others: &[&str], value, message: &str| {
            if ![name].iter().chain(others).any(|name| out_of_range.contains(name)) {
                found.push(LimitError { name, value, message: message.to_owned() });
            }
        };
        if !self.receive_buffers.is_power_of_two() {
            let value = self.receive_buffers.into();
            wrong("receive_buffers", &[], value, "expected a power of two up to 16384");
        }
        if self.queued_bytes_max < self.message_bytes_max.saturating_add(16) {
            wrong(
                "queued_bytes_max",
                &["message_bytes_max"],
                self.queued_bytes_max as u64,
                "expected at least 16 more than message_bytes_max, or the largest message can \
                 never be sent",
            );
        }
        if self.queued_bytes_pause >= self.queued_bytes_max {
            let value = self.queued_bytes_pause as u64;
            let message = "expected less than queued_bytes_max";
            wrong("queued_bytes_pause", &["queued_bytes_max"], value, message);
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The house's words: `settings::faults` demands the same of other keys.
    #[test]
    fn every_limit_has_a_unit_and_a_text_of_whole_sentences() {
        for (name, _, text) in Limits::default().table() {
            assert!(text.len() > 20 && text.ends_with('.'), "{name}: {text}");
            for word in ["told", "under way", "Who ", "again and again", "let go", "goes on"] {
                assert!(!text.contains(word), "{name}: {word:?} is in {text}");
            }
            let unit = Limits::unit(name);
            let start = text.split([' ', '.']).next().unwrap();
            let agrees = match unit {
                "ms" => start == "Milliseconds",
                "µs" => start == "Microseconds",
                "bytes" => text.to_lowercase().contains("bytes"),
                "bytes per second" | "per second" => text.contains("per second"),
                _ => !["Milliseconds", "Microseconds", "Bytes"].contains(&start),
            };
            assert!(agrees, "{name} has the unit {unit}: {text}");
        }
    }

    #[test]
    fn both_sets_are_sound_and_a_bad_limit_is_named() {
        Limits::default().check().unwrap();
        Limits::tiny().check().unwrap();
        let bad = Limits { receive_buffers: 3, ..Limits::default() };
        assert_eq!(
            bad.check().unwrap_err().to_string(),
            "receive_buffers is 3: expected a power of two up to 16384"
        );
        assert_eq!(Limits::default().table()[0].0, "connections_max");
        let mut set = Limits::default();
        set.set("receive_buffers", 128).unwrap();
        assert_eq!(set.receive_buffers, 128);
        let error = set.set("receive_buffers", 1 << 20).unwrap_err().to_string();
        assert_eq!(error, "receive_buffers is 1048576: expected at most 65535");
        assert!(set.set("no_such_limit", 1).is_err());
        assert!(Limits::RELOADABLE.iter().all(|name| Limits::NAMES.contains(name)));
        let mut running = Limits::default();
        running.reload(&Limits::tiny());
        assert_eq!(running.head_bytes_max, Limits::tiny().head_bytes_max);
        assert_eq!(running.receive_buffers, Limits::default().receive_buffers);
    }
}
