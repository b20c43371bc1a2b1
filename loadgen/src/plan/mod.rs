//! The plan of a run: a profile with every default decided and every target resolved.
//!
//! A [`Plan`] is made once, before the first connection. `drive` carries it out and `report`
//! describes it; neither looks at a profile again. It imports only `profile`.
//!
//! | file | subject |
//! |---|---|
//! | `whole` | the whole run |
//! | `group` | a group of connections: how many, at which pace, with which messages |
//! | `rooms` | which connection is in which room, and which ones publish |
//! | `opening` | how connections are opened: targets, sources, the request |
//! | `target` | the address behind a URL |
//! | `messages` | the form of messages, and placeholders in texts |
//! | `payload` | making and checking messages |
//! | `stamp` | the identity and the time of a publication |
//! | `following` | frames that repeat the one before them |
//! | `schedule` | when messages are planned, in the open model |
//! | `resources` | local ports, descriptors and cores that the run needs |

mod following;
mod group;
mod messages;
mod opening;
mod payload;
mod resources;
mod rooms;
mod schedule;
mod stamp;
mod target;
mod whole;

pub use following::Following;
pub use group::{Group, Pace};
pub use messages::fill_in;
pub use payload::Payload;
pub use schedule::Schedule;
pub use stamp::Stamp;
pub use target::Target;
pub use whole::Plan;
