//! The result of a run, as data and in every form.
//!
//! A [`Report`] is computed once from a plan and the measurements. It is written as JSON, read
//! again, merged, compared and shown: a merged report is one like any other. It reads `plan`
//! and `measure`. It knows neither how a run is driven nor how it is judged; the judgement that
//! it contains is data, which `verdict` fills in.
//!
//! | file | subject |
//! |---|---|
//! | `contents` | the report as data, and as JSON |
//! | `group` | a group of connections in it |
//! | `figures` | the counts of a group's connections |
//! | `second` | one second in it |
//! | `recorded` | a histogram as JSON |
//! | `judgement` | the verdict that it contains |
//! | `making` | makes a report of a plan and the measurements |
//! | `merging` | one report of runs on several machines |
//! | `values` | its named values |
//! | `warnings` | reasons to doubt the numbers |
//! | `format` | numbers for people |
//! | `summary` | for a terminal |
//! | `tables` | CSV, HdrHistogram's percentile table, Prometheus' text |
//! | `page` | one page with charts |
//! | `comparison` | changes against an earlier report, beyond noise |

mod comparison;
mod contents;
mod figures;
mod format;
mod group;
mod judgement;
mod making;
mod merging;
mod page;
mod recorded;
mod second;
mod summary;
mod tables;
#[cfg(test)]
pub mod tests;
mod values;
mod warnings;

pub use comparison::compare;
pub use contents::Report;
pub use figures::Figures;
pub use format::{amount, time};
pub use group::Group;
pub use judgement::{Judgement, Verdict};
pub use page::page;
pub use summary::summary;
pub use tables::{csv, hgrm, prometheus};
