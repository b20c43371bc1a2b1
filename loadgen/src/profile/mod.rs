//! A run as data: every setting, with the origin of its value.
//!
//! A profile and the flags become assignments to keys, carried out in that order. Keys of the
//! run occur once; keys of a group occur once for every group of connections, of which most
//! profiles have one.
//!
//! | file | contents |
//! |---|---|
//! | `run`, `group` | a run and its groups |
//! | `run_keys`, `group_keys` | the only definitions of their keys |
//! | `values` | rates, sizes, URLs and other values that are read from text |
//! | `load` | from a profile and flags to a run |
//! | `bound`, `named` | bounds like `p99>5ms`, and the values of a report that they name |
//! | `publication` | the room that a publication needs |
//! | `check` | values that do not fit together |
//! | `print` | `--print-profile` |

pub mod bound;
mod check;
mod group;
mod group_keys;
mod load;
mod named;
mod print;
mod publication;
mod run;
mod run_keys;
pub mod values;

pub use group::{Arrivals, Check, Group, Scenario};
pub use group_keys::GROUP_KEYS;
pub use load::BUILT_IN;
pub use named::{NAMES, Unit, percentile, unit};
pub use publication::stamp_bytes;
pub use run::Profile;
pub use run_keys::RUN_KEYS;

#[cfg(test)]
mod tests;
