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
            /// Limits so small that a test hits every one of them with ease.
            pub fn tiny() -> Limits {
                Limits { $($name: $tiny,)+ }
            }

            /// Name, value and text of every limit, in the order of definition.
            pub fn table(&self) -> Vec<(&'static str, u64, &'static str)> {
                vec![$((stringify!($name), self.$name as u64, concat!($($doc,)+).trim()),)+]
            }
        }
    };
}

limits! {
    /// Connections of the whole server, in total. Above it: 503 with `Retry-After`.
    connections_max: usize = 1_000_000, tiny 8;
    /// Connections kept above the total only to tell them 503. Above that: accepting pauses.
    connections_refusing_max: usize = 64, tiny 2;
    /// Bytes of a request head. Above it: 431.
    head_bytes_max: usize = 16 << 10, tiny 512;
    /// Milliseconds from accept to the end of the request head. Above it: 408.
    handshake_ms: u64 = 10_000, tiny 500;
    /// Bytes of one message after reassembly. Above it: close 1009.
    message_bytes_max: usize = 16 << 20, tiny 4 << 10;
    /// Frames of one message. Above it: close 1008. Costs no memory per fragment.
    message_fragments_max: u32 = 128 << 10, tiny 16;
    /// Bytes queued to one connection that the kernel did not take. Above it: close 4008.
    queued_bytes_max: usize = 32 << 20, tiny 16 << 10;
    /// Queued bytes above which a connection is no longer read from until they are gone.
    queued_bytes_pause: usize = 256 << 10, tiny 1 << 10;
    /// Bytes taken from one connection in one turn. Above it: the others go first.
    receive_bytes_per_turn: usize = 256 << 10, tiny 2 << 10;
    /// Milliseconds without a byte received after which a ping is sent. 0: never.
    idle_ping_ms: u64 = 30_000, tiny 1_000;
    /// Milliseconds from that ping without a byte received. Above it: closed as lost, 1006.
    pong_ms: u64 = 20_000, tiny 500;
    /// Milliseconds to wait for the peer's close frame. Above it: the connection is cut.
    close_ms: u64 = 5_000, tiny 300;
    /// Milliseconds a refused peer's bytes are read and dropped, so that it sees why.
    linger_ms: u64 = 2_000, tiny 200;
    /// Milliseconds over which a drain spreads its closes. After it: force.
    drain_ms: u64 = 2_000, tiny 100;
    /// Topics one connection may be subscribed to. Above it: an error value.
    subscriptions_max: usize = 1_024, tiny 4;
    /// Bytes of encoded messages kept on one topic's tape per shard, the newest always. A reader further behind falls off.
    tape_bytes_max: usize = 4 << 20, tiny 2 << 10;
    /// Messages kept in one topic's log at its home.
    log_messages_max: usize = 16_384, tiny 8;
    /// Bytes kept in one topic's log at its home, the newest message always.
    log_bytes_max: usize = 4 << 20, tiny 4 << 10;
    /// Mails under way from one shard to another. Above it: publishers pause, homes wait.
    mailbox_mails_max: usize = 4_096, tiny 4;
    /// Bytes under way in all mailboxes together, shared evenly. Same consequence.
    mailbox_bytes_max: usize = 64 << 20, tiny 64 << 10;
    /// Bytes of publications kept for one full mailbox while publishers pause. Above it: refused.
    publish_overflow_bytes_max: usize = 32 << 20, tiny 16 << 10;
    /// Completions that the ring holds for one turn, 2048 at least; the kernel keeps the rest.
    events_per_turn: usize = 512, tiny 8;
    /// Mails taken from each neighbour in one turn.
    mails_per_turn: usize = 512, tiny 4;
    /// Sends started in one turn; the other connections go first in the next.
    sends_per_turn: usize = 1_024, tiny 4;
    /// Receive buffers of a shard, a power of two. None left: receives wait for one.
    receive_buffers: u16 = 64, tiny 4;
    /// Bytes of a receive buffer.
    receive_buffer_bytes: usize = 32 << 10, tiny 256;
    /// Free buffers a shard keeps, in bytes; above it they go back to the allocator.
    pool_bytes_max: usize = 32 << 20, tiny 64 << 10;
    /// Accepts in flight per listener.
    accepts_in_flight: usize = 16, tiny 2;
}

/// A limit that can't be as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitError(String);

impl std::fmt::Display for LimitError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for LimitError {}

impl Limits {
    /// Checks the limits against each other.
    ///
    /// # Errors
    /// The first limit that is out of range, with what was expected.
    pub fn check(&self) -> Result<(), LimitError> {
        let rules: [(bool, &str, u64, &str); 9] = [
            (
                self.connections_max > 0,
                "connections_max",
                self.connections_max as u64,
                "at least 1",
            ),
            (
                (64..=1 << 20).contains(&self.head_bytes_max),
                "head_bytes_max",
                self.head_bytes_max as u64,
                "64 to 1048576",
            ),
            (
                (125..=1 << 30).contains(&self.message_bytes_max),
                "message_bytes_max",
                self.message_bytes_max as u64,
                "125 to 1073741824",
            ),
            (
                self.queued_bytes_pause < self.queued_bytes_max,
                "queued_bytes_pause",
                self.queued_bytes_pause as u64,
                "less than queued_bytes_max",
            ),
            (
                self.queued_bytes_max >= self.message_bytes_max + 16,
                "queued_bytes_max",
                self.queued_bytes_max as u64,
                "at least 16 more than message_bytes_max, or the largest message could never be sent",
            ),
            (
                self.queued_bytes_max <= 2 << 30,
                "queued_bytes_max",
                self.queued_bytes_max as u64,
                "at most 2147483648",
            ),
            (
                self.receive_buffers.is_power_of_two() && self.receive_buffers <= 1 << 14,
                "receive_buffers",
                u64::from(self.receive_buffers),
                "a power of two up to 16384",
            ),
            (
                (128..=16 << 20).contains(&self.receive_buffer_bytes),
                "receive_buffer_bytes",
                self.receive_buffer_bytes as u64,
                "128 to 16777216",
            ),
            (
                self.events_per_turn > 0
                    && self.mails_per_turn > 0
                    && self.sends_per_turn > 0
                    && self.accepts_in_flight > 0
                    && self.mailbox_mails_max > 0
                    && self.log_messages_max > 0,
                "a budget per turn, accepts_in_flight, mailbox_mails_max or log_messages_max",
                0,
                "at least 1",
            ),
        ];
        match rules.into_iter().find(|rule| !rule.0) {
            None => Ok(()),
            Some((_, name, value, expected)) => {
                Err(LimitError(format!("{name} is {value}: expected {expected}")))
            }
        }
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
    }
}
