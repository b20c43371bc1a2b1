//! Every limit, with its name, unit, default and consequence.

macro_rules! limits {
    ($($(#[doc = $doc:literal])+ $name:ident: $type:ty = $default:expr, tiny $tiny:expr;)+) => {
        /// What a server allows. Every queue and loop of the crate is bounded by
        /// one of these.
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

            /// Limits so small that a test hits every one of them with ease.
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
            /// There is none of that name, or the value does not fit its type.
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
    /// Connections of the whole server, in total. Above it: 503 with `Retry-After`.
    connections_max: usize = 1_000_000, tiny 8;
    /// Connections kept above the total only to tell them 503. Above that: accepting pauses.
    connections_refusing_max: usize = 64, tiny 2;
    /// Connections of one address (IPv6: one /64). Above it: 503. 0: no limit. Behind a proxy all are of one address.
    connections_per_address_max: u32 = 0, tiny 0;
    /// Handshakes a second, in total, each shard its share. Above it: accepting waits. 0: no limit.
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
    /// Frames of one message. Above it: close 1008. Costs no memory per fragment.
    message_fragments_max: u32 = 128 << 10, tiny 16;
    /// Milliseconds from a message's first byte to its last. Above it: close 1008. 0: no limit.
    message_ms: u64 = 300_000, tiny 5_000;
    /// Messages a second that a connection may send. Above it: it is not read from until it is within the rate. 0: no limit.
    messages_per_second_max: u32 = 0, tiny 0;
    /// Bytes a second that a connection may send. Same consequence. 0: no limit.
    bytes_per_second_max: u32 = 0, tiny 0;
    /// Bytes that all connections hold together: messages that are not whole, what is queued and the kernel did not take, TLS records in pieces. Above three quarters of it: the largest holders are not read from. Above it: they are closed, 1013. 0: a quarter of the memory of the machine, or of its control group.
    connections_bytes_max: usize = 0, tiny 0;
    /// Bytes queued to one connection that the kernel did not take. Above it: close 4008.
    queued_bytes_max: usize = 32 << 20, tiny 16 << 10;
    /// Queued bytes above which a connection is no longer read from until they are gone.
    queued_bytes_pause: usize = 256 << 10, tiny 1 << 10;
    /// Bytes taken from one connection in one turn. Above it: the others go first.
    receive_bytes_per_turn: usize = 256 << 10, tiny 2 << 10;
    /// Level at which messages are compressed for peers that offer permessage-deflate, 1 to 9. 0: it is declined.
    deflate_level: usize = 0, tiny 1;
    /// Bytes that may come out of a compressed message for each byte of it, from 4 MiB on. Above it: close 1009. 0: no limit.
    deflate_ratio_max: usize = 256, tiny 256;
    /// Bytes of a message that is worth compressing.
    deflate_bytes_min: usize = 512, tiny 16;
    /// Bytes of a message that is compressed. Above it: it is sent as it is, since others would wait for the compressor.
    deflate_bytes_max: usize = 1 << 20, tiny 1 << 20;
    /// Bytes of compressors and decompressors that remember a connection's earlier messages, in total, each shard its share: up to 419 KiB a connection. Above it: a new connection's messages are compressed each by itself.
    deflate_contexts_bytes_max: usize = 0, tiny 1 << 20;
    /// Bytes of a message that is worth compressing where earlier ones are remembered.
    deflate_context_bytes_min: usize = 32, tiny 4;
    /// TLS handshakes that a shard works on in one turn. Above it: the others wait for the next.
    tls_handshakes_per_turn: usize = 4, tiny 1;
    /// Bytes of a peer's TLS handshake that are kept until a message of it is whole, or its turn has come. Above it: it is cut.
    tls_handshake_bytes_max: usize = 32 << 10, tiny 20 << 10;
    /// Milliseconds without a byte received after which a ping is sent. 0: never.
    idle_ping_ms: u64 = 30_000, tiny 1_000;
    /// Milliseconds from that ping without a byte received. Above it: closed as lost, 1006.
    pong_ms: u64 = 20_000, tiny 500;
    /// Milliseconds, to the second, without a message from a connection, pongs not counted. Above it: close 1001. 0: never.
    idle_max_ms: u64 = 0, tiny 0;
    /// Milliseconds after which a connection is closed with 1001, give or take a tenth, so that clients spread over servers anew. 0: never.
    age_max_ms: u64 = 0, tiny 0;
    /// Milliseconds to wait for the peer's close frame. Above it: the connection is cut.
    close_ms: u64 = 5_000, tiny 300;
    /// Milliseconds a refused peer's bytes are read and dropped, so that it sees why.
    linger_ms: u64 = 2_000, tiny 200;
    /// Milliseconds from the order to drain, in which `/readyz` and new handshakes are answered 503, until nothing is accepted any more and closes begin. Left out if nobody is connected.
    drain_notice_ms: u64 = 1_000, tiny 40;
    /// Milliseconds over which a drain spreads its closes. After it: force.
    drain_ms: u64 = 2_000, tiny 100;
    /// Topics, by name or by patterns, and patterns that one connection may be subscribed to, in total. Above it: an error value, or a notice.
    subscriptions_max: usize = 1_024, tiny 4;
    /// Bytes of one request of `tapecast.v1.json`. Above it: an error.
    json_request_bytes_max: usize = 256 << 10, tiny 4 << 10;
    /// Milliseconds after which `tapecast.v1.json` tells a connection the positions of its quiet channels, again and again. 0: never.
    heartbeat_ms: u64 = 30_000, tiny 500;
    /// Milliseconds from the handshake to the first subscription of a `tapecast.v1.json` connection. Above it: close 1008. 0: no limit.
    first_subscribe_ms: u64 = 0, tiny 0;
    /// Publications a second of one `tapecast.v1.json` connection. Above it: an error. 0: no limit.
    publishes_per_second_max: u32 = 0, tiny 0;
    /// Subscriptions to patterns on one shard. Above it: an error value.
    patterns_max: usize = 65_536, tiny 8;
    /// Patterns that one connection may be subscribed to. Above it: an error value.
    patterns_per_connection_max: usize = 64, tiny 4;
    /// Patterns that the connections of one address (IPv6: one /64) may be subscribed to, on one shard. Above it: an error value. 0: no limit.
    patterns_per_address_max: usize = 0, tiny 0;
    /// Topics of the whole server, each shard its share. Above it: a publication to a new one, or a subscription, is an error value.
    topics_max: usize = 1 << 22, tiny 64;
    /// Topics that one connection may have made by publishing to them and that are still there, each shard its share. Above it: an error value.
    topics_per_connection_max: usize = 65_536, tiny 64;
    /// Topics that the connections of one address (IPv6: one /64) may have made by publishing to them and that are still there, each shard its share. Above it: an error value. 0: no limit.
    topics_per_address_max: usize = 0, tiny 0;
    /// Bytes of all topics, their logs and tapes of the whole server, more or less, each shard its share; topics themselves, with their names, half of it at most. Above it: histories go, the oldest messages of each; then tapes, then values; at last publications are refused.
    topics_bytes_max: usize = 1 << 30, tiny 1 << 20;
    /// Keys whose newest value a topic keeps outside of its history, unless a rule says otherwise. Above it: the value that has not changed for longest goes, and snapshots say so.
    topic_keys_max: usize = 16_384, tiny 4;
    /// Bytes of a topic's past that are handed to one reader at a time.
    replay_bytes_max: usize = 64 << 10, tiny 256;
    /// Bytes of encoded messages kept on one topic's tape per shard and lane, the newest always. A reader further behind falls off.
    tape_bytes_max: usize = 4 << 20, tiny 2 << 10;
    /// Messages kept in one topic's log at its home.
    log_messages_max: usize = 16_384, tiny 8;
    /// Bytes kept in one topic's log at its home, the newest message always.
    log_bytes_max: usize = 4 << 20, tiny 4 << 10;
    /// Milliseconds that a message stays in its topic's log, unless a rule says otherwise. A topic that nobody reads is forgotten with its last message.
    log_ms: u64 = 60_000, tiny 200;
    /// Mails under way from one shard to another; fewer from nine shards on, as places count in `mailbox_bytes_max`. Above it: publishers pause, homes wait.
    mailbox_mails_max: usize = 4_096, tiny 4;
    /// Bytes under way in all mailboxes together: half of it shared evenly by all pairs of shards, half by all receivers for mails that are longer, and one of these always. Same consequence.
    mailbox_bytes_max: usize = 64 << 20, tiny 64 << 10;
    /// Bytes of publications kept for one full mailbox while publishers pause, and of those on their way to one shard from other threads. Above it: refused; so also what one receive brings, where that is longer.
    publish_overflow_bytes_max: usize = 32 << 20, tiny 16 << 10;
    /// Work that a shard does in one turn, in units of about a microsecond: messages handled, channels that they name, topics made, patterns matched, bytes copied, inflated and replayed. Above it: what is left waits for the next turn, each connection's part in its order.
    turn_work_max: u32 = 600, tiny 20;
    /// Milliseconds of a turn without its wait. Above it: counted, and logged at most once a second.
    turn_ms_max: u64 = 50, tiny 50;
    /// Completions that the ring holds for one turn, 2048 at least; the kernel keeps the rest.
    events_per_turn: usize = 512, tiny 8;
    /// Mails taken from each neighbour in one turn.
    mails_per_turn: usize = 512, tiny 4;
    /// Sends started in one turn; the other connections go first in the next.
    sends_per_turn: usize = 128, tiny 4;
    /// Bytes that the sends of one turn carry, each its share and at most 1 MiB, give or take a message. Above it: the rest leaves with the next turns.
    send_bytes_per_turn: usize = 12 << 20, tiny 4 << 10;
    /// Receive buffers of a shard, a power of two. None left: receives wait for one.
    receive_buffers: u16 = 64, tiny 4;
    /// Bytes of a receive buffer.
    receive_buffer_bytes: usize = 32 << 10, tiny 256;
    /// Free buffers a shard keeps, in bytes; above it they go back to the allocator.
    pool_bytes_max: usize = 32 << 20, tiny 64 << 10;
    /// Accepts in flight per listener.
    accepts_in_flight: usize = 16, tiny 2;
    /// Connections that the kernel holds per listener until they are accepted. Above it: it drops their SYN.
    listen_backlog: i32 = 4_096, tiny 16;
    /// Bytes of a socket's send buffer, which a stalled reader can fill; the kernel cuts it to twice `net.core.wmem_max`. 0: the kernel sizes it, up to `net.ipv4.tcp_wmem`.
    socket_send_bytes: usize = 1 << 20, tiny 8 << 10;
    /// Bytes in a send buffer that have not left for the network (TCP_NOTSENT_LOWAT). Above it: the peer counts as slow. 0: the whole send buffer.
    socket_unsent_bytes: u32 = 0, tiny 8 << 10;
    /// Microseconds that a shard without work looks for more before it sleeps. Costs a core, saves a wake-up.
    spin_us: u32 = 0, tiny 0;
}

impl Limits {
    /// The unit of the limit with this name, as its name says it.
    pub fn unit(name: &str) -> &'static str {
        match name {
            name if name.starts_with("bytes_per_second") => "bytes per second",
            name if name.contains("_per_second") => "per second",
            name if name.ends_with("_ms") => "ms",
            name if name.ends_with("_us") => "µs",
            name if name.contains("bytes") => "bytes",
            _ => "count",
        }
    }

    /// The limits that a running server can be given anew. The others size what has
    /// been set up, or are relied on by what is under way.
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

    /// Takes the reloadable limits over from `other`.
    pub fn reload(&mut self, other: &Limits) {
        for (name, value, _) in other.table() {
            if Self::RELOADABLE.contains(&name) {
                self.set(name, value).expect("it comes from a limit of the same name");
            }
        }
    }

    /// The place of a limit in [`Limits::NAMES`], for counting hits by name.
    ///
    /// # Panics
    /// There is none of that name: call it in a constant.
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

/// A limit that can't be as it is.
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
    /// The limit's name; empty if there is none of the name that was given.
    pub name: &'static str,
    /// Its value.
    pub value: u64,
    /// What was expected.
    pub message: String,
}

impl std::fmt::Display for LimitError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let LimitError { name, value, message } = self;
        match name.is_empty() {
            true => formatter.write_str(message),
            false => write!(formatter, "{name} is {value}: {message}"),
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
            // No less than one connection takes.
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
        // Of one that is out of range, or against one that is, no more is said.
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
                "expected at least 16 more than message_bytes_max, or the largest message could \
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

    #[test]
    fn both_sets_hold_and_a_bad_one_is_named() {
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
