//! Layer 5: which clients are admitted, and how much they may do.
//!
//! It decides and counts; the shard acts on the answers (a refusal, a pause). It knows no
//! sockets and no rings. While a limit is 0, its counting is off and costs a branch.

mod addresses;
mod origin;
mod rates;

pub use addresses::Addresses;
pub use origin::is_from_here;
pub use rates::{Pace, Rates};
