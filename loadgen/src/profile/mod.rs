//! A run as data: everything that can be set, and where each value came from.
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
//! | `check` | values that do not fit together, and servers that can't be found |
//! | `print` | `--print-profile` |

mod check;
mod group;
mod group_keys;
mod load;
mod print;
mod run;
mod run_keys;
pub mod values;

pub use group::{Arrivals, Check, Group, Scenario};
pub use group_keys::GROUP_KEYS;
pub use load::BUILT_IN;
pub use run::Profile;
pub use run_keys::RUN_KEYS;
pub use tapecast::settings::nearest;

#[cfg(test)]
mod tests;
