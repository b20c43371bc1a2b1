//! The real driver, over the `io-uring` crate.
//!
//! [`ring`] holds the ring and begins its operations, [`opening`] sets it up, [`entering`] enters
//! the kernel, [`completions`] turns completions into events. `unsafe` is in `ring`,
//! [`buffers`] and [`queues`] alone, each with its proof.

mod buffers;
mod completions;
mod entering;
mod opening;
mod operation;
mod queues;
mod ring;
mod waker;

pub use buffers::ReceiveBuffer;
pub use ring::Uring;
pub use waker::EventWaker;

#[cfg(test)]
mod tests;
