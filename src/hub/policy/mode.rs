//! The messages that a subscription gets, and its treatment when it is slow.

/// Which messages a cursor stops at.
///
/// ```
/// use tapecast::hub::{Delivery, Mode};
///
/// assert_eq!(Delivery::default().mode, Mode::All);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Every message, in order.
    #[default]
    All,
    /// Of each key the newest: a message is skipped when its key has a newer one.
    /// Messages without a key are all of one key. The last value always arrives.
    Latest,
}

/// The treatment of a slow consumer: a reader that falls behind the oldest frame of its tape.
///
/// ```
/// use tapecast::hub::{Delivery, SlowReader};
///
/// let chat = Delivery { slow_reader: Some(SlowReader::Close), ..Delivery::default() };
/// # assert_ne!(chat.slow_reader, Delivery::default().slow_reader);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SlowReader {
    /// It gets a gap mark with the missed numbers, and continues with the oldest message left.
    #[default]
    Gap,
    /// It gets a mark and the newest value of each key that has changed, and continues with
    /// the messages published from then on.
    Conflate,
    /// It is closed with 4009. In mode `latest` it is brought up to date instead, since that
    /// mode asks for holes.
    Close,
}

/// Moves per second that [`Delivery::max_rate`](super::Delivery::max_rate) may ask for.
pub const RATE_MAX: u32 = 1_000;
