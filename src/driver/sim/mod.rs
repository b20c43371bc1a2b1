//! The driver's twin: sockets in memory, virtual time, and faults from a seed.
//!
//! A [`World`] holds the sockets of any number of [`SimRing`]s and the ends of
//! their clients. It often shows what a kernel seldom does: partial receives and
//! sends, receives that end for no reason or for want of a buffer, cancels that take effect
//! late, accepts that fail, connections that break. It panics when a shard breaks its side of
//! the driver's contract.

mod buffer;
mod client;
mod faults;
mod pipe;
mod ring;
mod state;
mod world;

pub use buffer::SimBuffer;
pub use client::SimClient;
pub use faults::Faults;
pub use ring::{SimRing, SimWaker};
pub use world::World;
