//! `tapecast replay`: publishes the lines of a CSV file to a running server, at the pace
//! at which they happened or another.
//!
//! The first line names the columns. Each further line becomes a JSON object of its columns;
//! a value that is a number in JSON stays one, as it is written. Lines leave as far apart as
//! the times in their column of time, which are seconds, milliseconds, microseconds or
//! nanoseconds since 1970 (distinguished by their size) or RFC 3339, UTC without an offset.
//! An error in the file names its line, and how much was published before it.

mod arguments;
mod columns;
mod lines;
mod publishing;

pub use arguments::Replay;
pub use publishing::run;
