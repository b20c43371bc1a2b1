//! Layer 1: the machinery of settings, which the server and the load generator share.
//!
//! A program has tables of [`Key`]s. Flags, variables, files and profiles all become
//! [`Assignment`]s to those keys, carried out from the weakest source to the strongest;
//! each value remembers its [`Origin`], and each mistake names it. This module knows how
//! keys are named, read and printed. It knows no key.
//!
//! | file | contents |
//! |---|---|
//! | `key` | what defines a key; its flag and its help |
//! | `origin` | where values are given, and what is wrong with them |
//! | `file` | TOML files, with the line of every key |
//! | `reading` | one value, several, one of a few words |
//! | `number` | counts, bytes and times as whole numbers with a unit |
//! | `duration`, `time` | spans and points of time |
//! | `printing` | values as TOML |
//! | `nearest` | the known word that a mistyped one resembles |
//! | `invariants` | what every table of keys promises, for tests |

mod duration;
mod file;
mod invariants;
mod key;
mod nearest;
mod number;
mod origin;
mod printing;
mod reading;
mod time;

pub use duration::{duration, show_duration};
pub use file::{Contents, Numbers, contents};
pub use invariants::faults;
pub use key::{Key, Takes, find};
pub use nearest::{did_you_mean, nearest};
pub use number::{Unit, number, within};
pub use origin::{Assignment, Origin, Problem};
pub use printing::{list, quoted};
pub use reading::{all, choice, either, one, or_none, put, word};
pub use time::{rfc3339, show_time};
