//! The state of a shard: connections, queues, timers, budgets. Nothing here does I/O or calls a
//! handler.

mod accepting;
mod backlogs;
mod clock;
mod drain;
mod holders;
mod notes;
mod pacing;
mod queues;
mod scratch;
mod slot;
mod timers;

pub use accepting::Accepting;
pub use backlogs::Budget;
pub use clock::Clock;
pub use drain::Drain;
pub use holders::{HOLDER_BYTES_MIN, LOOK_MS, Memory, OVERDUE_LOOK_MS};
pub use notes::{Note, Notes};
pub use pacing::{PACE_MS, Pacing};
pub use queues::Queues;
pub use scratch::Scratch;
pub use slot::{CatchUp, Holds, Operations, Peer, Phase, Slot, connection_id, token};
pub use timers::Timers;
