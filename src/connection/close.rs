//! How a connection ended.

use crate::protocol::CloseCode;

/// How a connection ended, as it is reported to the application.
///
/// ```
/// use tapecast::{Close, CloseCode};
///
/// let is_clean = |close: &Close| close.code != CloseCode::ABNORMAL;
/// let by_us = Close { code: CloseCode::NORMAL, reason: "bye".into(), by_peer: false };
/// assert!(is_clean(&by_us));
/// assert!(!is_clean(&Close::lost()));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Close {
    /// The code of the first close frame, sent by either end, or 1006 if the
    /// connection was lost.
    pub code: CloseCode,
    /// The reason, empty if there is none.
    pub reason: Box<str>,
    /// Whether the peer sent the first close frame.
    pub by_peer: bool,
}

impl Close {
    /// The connection was lost without a close frame.
    pub fn lost() -> Close {
        Close { code: CloseCode::ABNORMAL, reason: Box::default(), by_peer: true }
    }
}
