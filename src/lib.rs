//! x
#![allow(missing_docs)]
pub mod base;
pub mod connection;
pub mod hub;
pub mod mailbox;
pub mod protocol;
pub mod ring;
pub use base::Limits;
