//! What things cost: the units in which a shard's turn is budgeted.
//!
//! Costs are constants and not measurements, so that a simulation repeats itself and one
//! busy machine does not change what is allowed. They are nanoseconds of the machine that
//! they were measured on (`tests/live/work.py` compares them with a server's CPU time), and
//! limits are given in thousands of them: units of about a microsecond.

/// An amount of work, in thousandths of a unit.
pub type Work = u64;

/// One unit, in which limits count.
pub const UNIT: Work = 1_000;

/// A message goes through its handler.
pub const MESSAGE: Work = 40;
/// A ping is answered, or a pong taken.
pub const CONTROL: Work = 25;
/// A request of `tapecast.v1.json` is read, beside [`json`].
pub const REQUEST: Work = 80;
/// A step of a TLS handshake.
pub const TLS: Work = 120 * UNIT;
/// A request of `tapecast.v1.json` is answered, beside [`copy`].
pub const ANSWER: Work = 100;
/// A request head is parsed and answered.
pub const HANDSHAKE: Work = 12 * UNIT;
/// A message is numbered and kept at its topic's home, beside [`keep`].
pub const PUBLICATION: Work = 280;
/// A message is sent on to a shard that reads its topic and put on a tape there, beside
/// [`keep`]. It is charged to who publishes it; what its delivery takes is not.
pub const FORWARD: Work = 360;
/// A publication is sent to its topic's home on another shard and taken there.
pub const MAIL: Work = 250;
/// A topic is made, and forgotten when it is over.
pub const TOPIC: Work = 1_500;
/// A topic or a subscription is looked up by its name.
pub const LOOK_UP: Work = 60;
/// A subscription is made, and ended.
pub const SUBSCRIPTION: Work = 600;
/// It begins, and its connection is told.
pub const BEGINNING: Work = 300;
/// A pattern is subscribed to, and unsubscribed from, beside what it finds.
pub const PATTERN: Work = 900;
/// A step on the way to the patterns that match a topic, or from those to their subscribers.
pub const MATCH: Work = 40;
/// A topic is looked at for whether a new pattern matches it.
pub const SCAN: Work = 25;
/// A subscriber is marked as having something to get.
pub const MARK: Work = 12;
/// A message is taken out of a log and encoded for one reader.
pub const REPLAY: Work = 90;
/// A list of some kind is gone through: each step.
pub const STEP: Work = 10;

/// `bytes` bytes are copied, or looked through as quickly.
#[inline]
pub const fn copy(bytes: usize) -> Work {
    bytes as Work / 8
}

/// `bytes` bytes are received: less than that takes, for where a turn reads few large
/// messages, each costs more.
#[inline]
pub const fn receive(bytes: usize) -> Work {
    bytes as Work / 16
}

/// `bytes` bytes are copied to memory of their own, which is given back later.
#[inline]
pub const fn keep(bytes: usize) -> Work {
    bytes as Work / 3
}

/// `bytes` bytes of JSON are read.
#[inline]
pub const fn json(bytes: usize) -> Work {
    2 * bytes as Work
}

/// `bytes` bytes go into a decompressor, whatever comes out.
#[inline]
pub const fn deflated(bytes: usize) -> Work {
    4 * bytes as Work
}

/// `bytes` bytes go into a compressor.
#[inline]
pub const fn deflate(bytes: usize) -> Work {
    5 * bytes as Work
}

/// `bytes` bytes come out of a decompressor.
#[inline]
pub const fn inflate(bytes: usize) -> Work {
    bytes as Work
}

/// How many bytes come out of a decompressor by so much work.
#[inline]
pub const fn inflated_by(work: Work) -> usize {
    work as usize
}
