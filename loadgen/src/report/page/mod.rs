//! One self-contained page: charts as SVG, the values, the profile in effect. It loads nothing
//! from anywhere. Without scripts only the readout under the pointer is missing.
//!
//! | file | subject |
//! |---|---|
//! | `document` | the page, its tables, its style and script |
//! | `charts` | the charts of the page |
//! | `chart` | one chart as SVG |
//! | `text` | numbers and texts as the page writes them |

mod chart;
mod charts;
mod document;
mod text;

pub use document::page;
