//! The counts of a run, in fixed memory.
//!
//! `drive` fills it and `report` reads it. It imports nothing of the other modules: a count
//! here means the same in every scenario.
//!
//! | file | subject |
//! |---|---|
//! | `histogram` | distributions of times |
//! | `counted` | the counts of one group on one thread |
//! | `faults` | faults by kind |
//! | `track` | gaps, duplicates and reorderings in a numbered stream |
//! | `second` | one second of one thread |
//! | `row` | one second of all threads |
//! | `process` | CPU, memory and descriptors of a local process |
//! | `found` | everything that a run measured |

mod counted;
mod faults;
mod found;
mod histogram;
mod process;
mod row;
mod second;
mod track;

pub use counted::Counted;
pub use faults::{Fault, Faults};
pub use found::{Found, GroupFound};
pub use histogram::histogram;
pub use process::{Process, Sample};
pub use row::Row;
pub use second::{Second, Sums};
pub use track::{Order, Track};
