//! The values of a profile: each is read from text, and written as that text.

mod content;
mod delivery;
mod plain;
mod rate;
mod sizes;
mod sources;

pub use content::Content;
pub use delivery::Delivery;
pub use plain::{header, moment, share};
pub use rate::{Rate, Step};
pub use sizes::{SIZE_MAX, Sizes, bytes};
pub use sources::Sources;
