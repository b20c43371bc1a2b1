//! Layer 5: who may come in, and how much they may do.
//!
//! It decides and counts; what follows from its answers (a refusal, a pause) is
//! the shard's business. It knows no sockets and no rings. All that counts is off,
//! and costs a branch, while its limits are 0.

mod addresses;
mod origin;
mod rates;

pub use addresses::Addresses;
pub use origin::is_from_here;
pub use rates::{Pace, Rates};
