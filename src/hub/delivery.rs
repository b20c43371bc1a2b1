//! How a subscription wants its messages.

use super::lane::Lane;

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

/// What becomes of a reader that falls off its tape.
///
/// ```
/// use tapecast::hub::{Delivery, SlowReader};
///
/// let chat = Delivery { slow_reader: Some(SlowReader::Close), ..Delivery::default() };
/// # assert_ne!(chat.slow_reader, Delivery::default().slow_reader);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SlowReader {
    /// It is told which messages are gone, and goes on with the oldest that is left.
    #[default]
    Gap,
    /// It is told, gets the newest value of each key that has changed, and goes on
    /// with what is published from then on.
    Conflate,
    /// It is closed with 4009. Not in mode `latest`, where it is brought up to date: holes
    /// are what that asks for.
    Close,
}

/// A place in a topic's history: behind message `seq` of incarnation `epoch`.
///
/// ```
/// use tapecast::hub::{Delivery, Since};
///
/// let resumed = Delivery { since: Some(Since { epoch: 77, seq: 41 }), ..Delivery::default() };
/// # assert_eq!(resumed.since.unwrap().seq, 41);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Since {
    /// The topic's incarnation, as `Notice::Subscribed` told it.
    pub epoch: u64,
    /// The number of the last message that was seen.
    pub seq: u64,
}

/// How a subscription wants its messages; the default is every message from now on.
///
/// ```
/// use tapecast::hub::{Delivery, Mode};
///
/// // Quotes for a screen: the newest of each symbol, ten times a second, and a
/// // snapshot of all of them first.
/// let board = Delivery {
///     mode: Mode::Latest,
///     max_rate: Some(10),
///     snapshot: true,
///     ..Delivery::default()
/// };
/// # assert!(board.check().is_ok());
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Delivery {
    /// All messages, or the newest of each key.
    pub mode: Mode,
    /// Moves of the cursor per second at most, 1 to [`RATE_MAX`]: each brings all
    /// that is pending then, all of it or the newest of each key. Catching up, with
    /// the past or after a fall from the tape, is one move.
    pub max_rate: Option<u32>,
    /// Start behind this message: what the topic's log still has is replayed, then
    /// it goes on live, without a gap or a duplicate between the two. What can't be
    /// replayed is a snapshot, and `Notice::Subscribed` says so.
    pub since: Option<Since>,
    /// The newest value of every key first.
    pub snapshot: bool,
    /// Stop at this many messages that the client has not acknowledged.
    pub window: Option<u32>,
    /// What becomes of it when it falls off its tape, if not what the topic's rule
    /// says.
    pub slow_reader: Option<SlowReader>,
    /// How messages are encoded; as they were published, if none is given.
    pub lane: Option<&'static dyn Lane>,
}

/// Moves per second that [`Delivery::max_rate`] may ask for.
pub const RATE_MAX: u32 = 1_000;
/// Messages that [`Delivery::window`] may ask for.
pub const WINDOW_MAX: u32 = 65_536;

impl Delivery {
    /// Whether the values can be.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn check(&self) -> Result<(), &'static str> {
        if self.max_rate.is_some_and(|rate| !(1..=RATE_MAX).contains(&rate)) {
            return Err("max_rate is 1 to 1000 a second");
        }
        if self.window.is_some_and(|window| !(1..=WINDOW_MAX).contains(&window)) {
            return Err("a window is 1 to 65536 messages");
        }
        Ok(())
    }
}
