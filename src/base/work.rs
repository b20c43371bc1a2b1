//! The costs of work: the units in which a shard's turn is budgeted.
//!
//! Costs are constants and not measurements, so that a simulation is repeatable and a
//! busy machine does not change what is allowed. They are nanoseconds of the machine on which
//! they were measured (`tests/live/work.py` compares them with a server's CPU time), and
//! limits count in thousands of them: units of about a microsecond.

/// An amount of work, in thousandths of a unit.
pub type Work = u64;

/// One unit, in which limits count.
pub const UNIT: Work = 1_000;

/// A handler takes a message.
pub const MESSAGE: Work = 40;
/// A ping is answered, or a pong is handled.
pub const CONTROL: Work = 25;
/// A request of `tapecast.v1.json` is read, in addition to [`json`].
pub const REQUEST: Work = 80;
/// A step of a TLS handshake.
pub const TLS: Work = 120 * UNIT;
/// A request of `tapecast.v1.json` is answered, in addition to [`copy`].
pub const ANSWER: Work = 100;
/// A request head is parsed and answered.
pub const HANDSHAKE: Work = 12 * UNIT;
/// A message is numbered and stored at its topic's home, in addition to [`keep`].
pub const PUBLICATION: Work = 280;
/// A message is forwarded to a shard that reads its topic and put on a tape there, in addition to
/// [`keep`]. The publisher is charged for it, and not for the delivery.
pub const FORWARD: Work = 360;
/// A publication is sent to its topic's home on another shard and received there.
pub const MAIL: Work = 250;
/// A topic is created, and removed at its end.
pub const TOPIC: Work = 1_500;
/// A topic or a subscription is looked up by its name.
pub const LOOK_UP: Work = 60;
/// A subscription is created, and removed at its end.
pub const SUBSCRIPTION: Work = 600;
/// A subscription begins, and its connection is notified.
pub const BEGINNING: Work = 300;
/// A pattern is subscribed to and unsubscribed from, without the topics that it matches.
pub const PATTERN: Work = 900;
/// A step on the way to the patterns that match a topic, or from those to their subscribers.
pub const MATCH: Work = 40;
/// A topic is tested against a new pattern.
pub const SCAN: Work = 25;
/// A subscriber is marked as having messages to receive.
pub const MARK: Work = 12;
/// A message is read from a log and encoded for one subscriber.
pub const REPLAY: Work = 90;
/// One step through a list.
pub const STEP: Work = 10;

/// `bytes` bytes are copied, or scanned as quickly.
#[inline]
pub const fn copy(bytes: usize) -> Work {
    bytes as Work / 8
}

/// `bytes` bytes are received. It is less than they take, since a turn that reads few large
/// messages pays more for each.
#[inline]
pub const fn receive(bytes: usize) -> Work {
    bytes as Work / 16
}

/// `bytes` bytes are copied to memory of their own, which is freed later.
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

/// How many bytes come out of a decompressor for this much work.
#[inline]
pub const fn inflated_by(work: Work) -> usize {
    work as usize
}
