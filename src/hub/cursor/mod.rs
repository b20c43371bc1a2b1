//! Cursors: the place of each subscription on its topic's tape, its flow control, and catching
//! up. Nothing here knows a log: a portion of the past comes from outside.

mod beginning;

mod catching_up;
mod connections;
mod cursors;
mod delivering;
mod flow_control;
mod marking;
mod meetings;
mod members;
mod patterns;
mod portions;
mod rates;
mod subscription;
mod window;

pub use catching_up::{CatchingUp, Output, Progress, Request, ready_range};
pub use connections::Connection;
pub use cursors::Cursors;
pub use flow_control::{FlowControl, Start};
pub use meetings::{Appeared, Meeting};
pub use members::{Members, Membership};
pub use patterns::{PatternSubscription, Patterns};
pub use subscription::{NO_PATTERN, Policy, State, Subscription, Subscriptions, moves};
#[cfg(test)]
pub use window::Window;
