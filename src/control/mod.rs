//! Layer 7: the control thread, on tokio-uring, beside the shards.
//!
//! It owns what is slow, rare and asynchronous, so that no shard ever waits for
//! it. It knows no connection: what it wants to know or to have done is an errand
//! for a shard.
//!
//! | file | what is there |
//! |---|---|
//! | `signals` | what ends the process |
//! | `admin` | the administration server |
//! | `bodies` | what the bodies of its requests may hold |
//! | `metrics` | what it counts, for Prometheus |
//! | `watch` | names a shard that is stuck; tells the supervisor that all live; has free memory given back |

mod admin;
mod bodies;
mod fault;
mod lines;
mod metrics;
mod signals;
mod thread;
mod watch;

pub use admin::Admin;
pub use signals::Order;
pub(crate) use thread::{Control, start};
