//! Everything that can be set on the server, and where each value came from.
//!
//! `keys` and `topics` are the only definitions of keys; the limits define themselves in
//! `base::limits`. Flags, variables, configuration file and profile become assignments to
//! those keys, carried out from the weakest source to the strongest.
//!
//! | file | contents |
//! |---|---|
//! | `values` | the values that a server runs with |
//! | `keys` | the keys that are neither limits nor of a topic rule |
//! | `topics` | the keys of `[[topics]]`, and the rules they make |
//! | `tls` | the files of certificates, and the acceptor they make |
//! | `assign` | carries assignments out |
//! | `contradictions` | values that do not fit together |
//! | `sources` | from defaults, profile, file, environment and flags to settings |
//! | `flags` | the flags of the commands that take settings |
//! | `print` | `check-config`, `limits`, and the changes of a reload |

mod assign;
mod contradictions;
mod flags;
mod keys;
mod print;
mod sources;
mod tls;
mod topics;
mod values;

pub use flags::Flags;
pub use print::{limits_table, reference};
pub use topics::with_defaults as rules_with_defaults;
pub use values::{LogFormat, Settings, Shards};

#[cfg(test)]
mod tests;
