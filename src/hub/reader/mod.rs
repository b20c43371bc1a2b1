//! The reader side of topics: tapes of encoded frames, and the subscribers on them. Nothing here
//! knows a log or where a message comes from.

mod lanes;
mod subscribers;
mod superseded;
mod tape;
mod tapes;
mod topic;

pub use lanes::Lanes;
pub use tape::{Span, Tape};
pub use tapes::Tapes;
pub use topic::{Live, ReaderTopic};
