//! The operation that a completion belongs to: the user data of every entry, and the meaning of
//! its result.

use crate::driver::event::Interest;
use crate::driver::token::{GENERATION_MASK, Token};
use rustix::io::Errno;

/// The kind of operation that a completion belongs to: the upper four bits of its user data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Operation {
    Accept = 1,
    Receive = 2,
    PollReadable = 3,
    PollWritable = 4,
    Close = 5,
    Send = 6,
    Now = 7,
    Wake = 8,
    Shutdown = 10,
    /// Its completion carries nothing that the driver needs.
    Ignored = 9,
}

impl Operation {
    pub(super) fn of(user_data: u64) -> Option<Operation> {
        use Operation::*;
        [Accept, Receive, PollReadable, PollWritable, Close, Send, Now, Wake, Shutdown, Ignored]
            .into_iter()
            .find(|operation| *operation as u64 == user_data >> 60)
    }

    pub(super) const fn user_data(self, token: Token) -> u64 {
        (self as u64) << 60
            | ((token.generation & GENERATION_MASK) as u64) << 32
            | token.index as u64
    }

    pub(super) const fn numbered(self, number: u32) -> u64 {
        self.user_data(Token { index: number, generation: 0 })
    }
}

pub(super) const fn token(user_data: u64) -> Token {
    Token { index: user_data as u32, generation: (user_data >> 32) as u32 & GENERATION_MASK }
}

pub(super) const fn poll_of(interest: Interest) -> (u32, Operation) {
    match interest {
        Interest::Readable => ((libc::POLLIN | libc::POLLRDHUP) as u32, Operation::PollReadable),
        Interest::Writable => (libc::POLLOUT as u32, Operation::PollWritable),
    }
}

pub(super) fn outcome_of(result: i32) -> Result<usize, Errno> {
    if result < 0 { Err(Errno::from_raw_os_error(-result)) } else { Ok(result as usize) }
}
