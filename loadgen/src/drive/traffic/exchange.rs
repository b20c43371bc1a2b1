//! The exchange between a worker and the traffic of a group.

/// Takes the payload of a message to send. Returns whether there is room for another.
pub type Send<'a> = dyn FnMut(&[u8]) -> bool + 'a;

/// Sends as long as `next` has something to send and returns that there is room for more.
/// Returns how many messages it sent.
pub(super) fn send_all(mut next: impl FnMut() -> Option<bool>) -> u64 {
    let mut sent = 0;
    while let Some(has_room) = next() {
        sent += 1;
        if !has_room {
            break;
        }
    }
    sent
}

/// The traffic's judgement of a message that arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    /// The awaited message, or one that is no fault.
    Fine,
    /// Not the awaited message.
    Wrong,
    /// A message that nothing awaited.
    Unawaited,
    /// The server refuses a request.
    Refused,
    /// The awaited message, and the connection has completed.
    Done,
}
