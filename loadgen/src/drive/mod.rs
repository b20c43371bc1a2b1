//! Carries a plan out: opens the connections, sends the load, and counts what happens.
//!
//! It imports `profile` for the words of a scenario, `plan` for the schedule, and `measure` for
//! the counts. It knows no report and no verdict. Threads share only a phase, the publishers'
//! counters and a list of ended seconds.
//!
//! | file | subject |
//! |---|---|
//! | `run` | starts the threads and collects their results |
//! | `rehearse` | a small run before one that measures memory |
//! | `coordinator` | leads the threads through the phases |
//! | `ledger` | makes rows of the seconds that threads end |
//! | `phase` | the phases of a run, and news of them |
//! | `shared` | the state that the threads of a run share |
//! | `failure` | why a run has no result |
//! | `worker` | one thread: a ring, its connections, the loop |
//! | `traffic` | the messages that connections send, and how they judge those that arrive |

mod coordinator;
mod failure;
mod ledger;
mod phase;
mod rehearse;
mod run;
mod shared;
mod traffic;
mod worker;

pub use failure::RunError;
pub use phase::{News, Phase};
pub use rehearse::rehearse;
pub use run::run;
