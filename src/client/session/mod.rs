//! The client without I/O: bytes and time in, bytes and events out.
//!
//! The caller does what [`Session::need`] says, writes the bytes in [`Session::outgoing`],
//! passes on the bytes that it reads, and takes the events.

mod connecting;
mod messages;
mod requests;
mod state;

pub use connecting::Need;
pub use state::Session;

#[cfg(test)]
mod tests;
