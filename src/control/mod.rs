//! Layer 7: the control thread, on tokio-uring, beside the shards.
//!
//! It owns everything that is slow, rare and asynchronous, so that no shard ever waits for
//! it. It knows no connection: it sends its questions and orders to shards as commands.
//!
//! | file | subject |
//! |---|---|
//! | `thread` | the thread: its start, and the tasks that it runs |
//! | `signals` | the signals that end the process or reload it |
//! | `admin` | the administration server |
//! | `bodies` | the memory and time that bodies of its requests may take |
//! | `fault` | the errors that it answers with |
//! | `metrics` | the metrics, for Prometheus |
//! | `watch` | reports stuck shards and dropped log lines, and runs the watchdog and the return of memory |

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
