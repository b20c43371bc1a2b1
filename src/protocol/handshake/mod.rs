//! The opening handshake (RFC 6455, 4), both sides.

mod answering;
mod key;
mod offering;
mod response;

pub use super::refusal::Answer;
pub use answering::{check_upgrade, write_accept};
pub use key::accept_value;
pub use offering::{Offer, check_header, write_request};
pub use response::{Response, ResponseError, check_beginning, check_response, is_interim};

#[cfg(test)]
mod tests;
