//! One thread: a ring, its share of every group's connections, and the loop.
//!
//! It knows no scenario: it asks a group's traffic for messages and hands it those that arrive.
//! No fault of a server ends it: faults are counted.
//!
//! | file | subject |
//! |---|---|
//! | `state` | the state of a thread |
//! | `share` | a group's connections on this thread |
//! | `peer` | one connection |
//! | `wire` | the ring, and buffers that are reused |
//! | `stopwatch` | when a second ends, and the totals at the end of the last one |
//! | `life` | from the first connection to the last |
//! | `turn` | one turn of the ring |
//! | `sending` | which messages leave, in the open model and in a closed loop |
//! | `opening` | connections that open |
//! | `events` | completions of the kernel |
//! | `receiving` | messages that arrive |
//! | `stalling` | readers that stop reading |
//! | `ending` | connections that end |
//! | `seconds` | the counts of all groups, second by second |

mod ending;
mod events;
mod life;
mod opening;
mod peer;
mod receiving;
mod seconds;
mod sending;
mod share;
mod stalling;
mod state;
mod stopwatch;
mod turn;
mod wire;

pub use life::run;
