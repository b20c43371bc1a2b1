//! The delivery that a subscription asks for.

use super::mode::{Mode, RATE_MAX, SlowReader};
use crate::hub::lane::Lane;
use crate::hub::past::Since;

/// The delivery that a subscription asks for. The default is every message from now on.
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
    /// Maximum moves of the cursor per second, 1 to `RATE_MAX` (1,000). Each brings everything
    /// that is pending then, or the newest message of each key. Catching up counts as one
    /// move.
    pub max_rate: Option<u32>,
    /// Start behind this message: what the topic's log still has is replayed, then live
    /// messages follow, without a gap or a duplicate between the two. If the log no longer
    /// has it, a snapshot replaces the replay, and `Notice::Subscribed` says so.
    pub since: Option<Since>,
    /// The newest value of every key first.
    pub snapshot: bool,
    /// Maximum unacknowledged messages, 1 to [`WINDOW_MAX`]; delivery pauses there.
    pub window: Option<u32>,
    /// The treatment when it falls behind its tape, in place of the topic's rule.
    pub slow_reader: Option<SlowReader>,
    /// How messages are encoded; without one, as they were published.
    pub lane: Option<&'static dyn Lane>,
}

/// Messages that [`Delivery::window`] may ask for.
pub const WINDOW_MAX: u32 = 65_536;

impl Delivery {
    /// Checks the values.
    ///
    /// # Errors
    /// The first value out of range, and its range.
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
