//! Layer 6: the event loop, where driver, connections and hub meet.
//!
//! A [`Shard`] is generic over its driver, so that the same code runs over the kernel and over
//! the simulation. It is two things: the slots of its connections, and the engine, which is
//! everything else. A step on a connection looks its slot up once (`state::Peer`) and leads
//! through the methods of the engine.
//!
//! | file | what happens there |
//! |---|---|
//! | `turning` | one turn, top to bottom |
//! | `accepting` | connections come in, up to the limits |
//! | `receiving`, `pacing` | bytes come in: how they are read, and when not |
//! | `sharing` | each connection gets its share of a turn's work; the rest waits |
//! | `handshaking`, `serving` | what the bytes mean: the request head, then messages |
//! | `calling` | the handler is called, and what it has left behind is carried out |
//! | `echoing` | an echo leaves from where it was received |
//! | `sending`, `tapes` | what leaves: direct replies and tapes, in one send |
//! | `unsealing`, `sealing` | TLS, between these and the wire |
//! | `topics` | what the hub has for connections |
//! | `ending` | the three steps of an end: terminate, join, close |
//! | `timing`, `draining` | deadlines, keep-alive, the drain |
//! | `memory` | what connections hold together is bounded |
//! | `commands`, `links` | what comes from other threads, and from other shards |
//! | `state` | what a shard keeps; `parts` has it together |
//!
//! What always holds: a slot is given back only after every operation on it has ended; an event
//! whose token names an earlier generation only gives its buffer back; a connection between two
//! messages owns no buffer.

mod accepting;
mod calling;
mod commands;
mod draining;
mod echoing;
mod ending;
mod handshaking;
pub(crate) mod links;
mod memory;
mod pacing;
mod parts;
mod receiving;
mod sealing;
mod sending;
mod serving;
mod sharing;
mod state;
mod tapes;
mod timing;
mod topics;
mod turning;
mod unsealing;

pub(crate) use parts::{Command, Parts, Shard};

#[cfg(test)]
mod tests;
