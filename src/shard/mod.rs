//! Layer 6: the event loop, where driver, connections and hub meet.
//!
//! A [`Shard`] is generic over its driver, so that the same code runs over the kernel and over
//! the simulation. It is two things: the slots of its connections, and the engine, which is
//! everything else. A step on a connection looks its slot up once (`state::Peer`) and leads
//! through the methods of the engine.
//!
//! | file | subject |
//! |---|---|
//! | `turning` | one turn, top to bottom |
//! | `accepting` | connections are accepted, up to the limits |
//! | `receiving`, `pacing` | bytes are received: how connections are read from, and when not |
//! | `sharing` | each connection gets its share of a turn's work; the rest waits |
//! | `upgrading`, `serving` | bytes become the request head, then messages |
//! | `calling` | the handler is called, and its deferred effects are carried out |
//! | `echoing` | an echo leaves from where it was received |
//! | `sending`, `tapes` | direct replies and tapes leave, in one send |
//! | `unsealing`, `sealing` | TLS, between these and the wire |
//! | `topics` | the hub's signals reach connections |
//! | `ending` | the three steps of an end: terminate, join, close |
//! | `timing`, `draining` | deadlines, keep-alive, the drain |
//! | `memory` | the memory of all connections is bounded |
//! | `commands`, `links` | commands of other threads, and messages of other shards |
//! | `state` | the state of a shard; `parts` puts it together |
//!
//! Invariants: a slot is freed only after every operation on it has ended; an event
//! whose token names an earlier generation only gives its buffer back; a connection between two
//! messages owns no buffer.

mod accepting;
mod calling;
mod commands;
mod draining;
mod echoing;
mod ending;
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
mod upgrading;

pub(crate) use parts::{Command, Parts, Shard};

#[cfg(test)]
mod tests;
