//! x
#![allow(missing_docs)]
pub mod base;
pub mod protocol;
pub use base::Limits;
