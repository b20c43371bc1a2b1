//! Judges runs: whether one has passed, and which is the highest rate that keeps an objective.
//!
//! It reads reports. It makes runs only through a function that it is given, so that it needs
//! nothing of `drive`.
//!
//! | file | subject |
//! |---|---|
//! | `bounds` | whether a report keeps a bound |
//! | `shortfalls` | promised messages and connections that are missing |
//! | `judge` | passed, failed or suspicious |
//! | `search` | the search for the highest rate |
//! | `curve` | the result of the search, as a table |

mod bounds;
mod curve;
mod judge;
mod search;
mod shortfalls;

pub use judge::judge;
pub use search::{check, search};
