//! JSON (RFC 8259): a validating scanner, strings, and objects that are written.

mod object;
mod scanner;
mod string;

pub use object::Object;
pub use scanner::{DEPTH_MAX, Malformed, Scanner};
pub use string::{string, write_string};

#[cfg(test)]
mod tests;
