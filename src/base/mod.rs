//! Layer 0: the vocabulary of every other module.
//!
//! Limits with their names, identifiers, a slab with generations, the pool of
//! buffers, the timer wheel, counters, the costs of work, and time as a value. It knows
//! nothing of the rest of the crate, does no I/O and reads no clock; `entropy` asks the kernel
//! for random numbers.

pub mod clock;
pub mod counters;
pub mod entropy;
pub mod ids;
pub mod limits;
pub mod peer;
pub mod planted;
pub mod pool;
pub mod random;
pub mod shortage;
pub mod slab;
pub mod spare;
pub mod wake;
pub mod wheel;
pub mod work;

pub use clock::Time;
pub use counters::Counters;
pub use ids::{ConnectionId, ShardId};
pub use limits::Limits;
pub use peer::PeerAddress;
pub use pool::BufferPool;
pub use random::Random;
pub use slab::Slab;
pub use spare::Spare;
pub use wake::Wake;
pub use wheel::TimerWheel;
