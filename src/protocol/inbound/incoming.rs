//! Typing what the stream carries: unmasked payloads become messages, pings, pongs and close
//! frames.

use crate::protocol::cause::{CloseCause, CloseCode};
use crate::protocol::frame::Opcode;
use crate::protocol::message::Message;

/// A piece of the stream, as [`Inbound::next`](super::Inbound::next) returns it.
///
/// ```
/// use tapecast::CloseCode;
/// use tapecast::protocol::{Inbound, Incoming, Input, Role, Rules, Workspace};
///
/// # let rules = Rules { role: Role::Client, message_bytes_max: 125, message_fragments_max: 1, deflate: false };
/// # let (mut inbound, mut pool) = (Inbound::new(), Workspace::new(1 << 20));
/// let mut ping_and_close = *b"\x89\x02hi\x88\x02\x03\xE8";
/// let mut input = Input::new(&mut ping_and_close);
/// assert_eq!(inbound.next(&rules, &mut pool, &mut input), Ok(Some(Incoming::Ping(b"hi"))));
/// let close = Incoming::Close(Some((CloseCode::NORMAL, "")));
/// assert_eq!(inbound.next(&rules, &mut pool, &mut input), Ok(Some(close)));
/// assert_eq!(inbound.next(&rules, &mut pool, &mut input), Ok(None));
/// ```
#[derive(Debug, PartialEq, Eq)]
pub enum Incoming<'a> {
    /// A whole message.
    Message(Message<'a>),
    /// A ping, which a pong of the same payload answers.
    Ping(&'a [u8]),
    /// A pong, which answers a ping of this side or comes unasked.
    Pong(&'a [u8]),
    /// The peer's last frame, with its code and reason if it has them.
    Close(Option<(CloseCode, &'a str)>),
}

/// Types a payload that has been unmasked. Called from three places, and still
/// inlined: a result that goes through memory costs as much as decoding the frame.
#[inline(always)]
pub(super) fn incoming(opcode: Opcode, payload: &[u8]) -> Result<Incoming<'_>, CloseCause> {
    Ok(match opcode {
        Opcode::Text => Incoming::Message(Message::Text(text(payload)?)),
        Opcode::Binary => Incoming::Message(Message::Binary(payload)),
        Opcode::Ping => Incoming::Ping(payload),
        Opcode::Pong => Incoming::Pong(payload),
        Opcode::Close => Incoming::Close(close(payload)?),
        Opcode::Continuation => unreachable!("a continuation is collected into its message"),
    })
}

#[inline]
pub(super) fn text(payload: &[u8]) -> Result<&str, CloseCause> {
    simdutf8::basic::from_utf8(payload).map_err(|_| CloseCause::InvalidUtf8)
}

/// RFC 6455, 5.5.1: a close frame is empty, or a code and a UTF-8 reason.
fn close(payload: &[u8]) -> Result<Option<(CloseCode, &str)>, CloseCause> {
    match payload {
        [] => Ok(None),
        [_] => Err(CloseCause::CloseTooShort),
        &[high, low, ref reason @ ..] => {
            let code = CloseCode::new(u16::from_be_bytes([high, low]))
                .ok_or(CloseCause::CloseCodeInvalid)?;
            Ok(Some((code, text(reason)?)))
        }
    }
}
