//! The messages that connections send, and how they judge the messages that arrive.
//!
//! Each group has one [`Traffic`] on every thread. It knows neither sockets nor frames: the
//! worker asks it for messages to send, and hands it the messages that arrive.
//!
//! | file | subject |
//! |---|---|
//! | `scenario` | the traffic of a group, whatever its scenario |
//! | `exchange` | the exchange between worker and traffic |
//! | `echo` | every message is answered by itself, in order |
//! | `broadcast` | some connections publish, all in their room receive |
//! | `stream` | one publisher, as all threads see it |
//! | `topics` | a broadcast in the words of `tapecast.v1.json` |
//! | `connect` | connections that open, exchange a few messages, and close |

mod broadcast;
mod connect;
mod echo;
mod exchange;
mod scenario;
mod stream;
mod topics;

pub use exchange::{Received, Send};
pub use scenario::Traffic;
pub use stream::Stream;
