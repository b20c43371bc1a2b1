//! Why connections end, and the one table from causes to close codes.

use std::fmt;

/// A close code as it stands in a close frame (RFC 6455, 7.4).
///
/// ```
/// use tapecast::CloseCode;
///
/// assert_eq!(CloseCode::new(4001).map(CloseCode::get), Some(4001));
/// // It means that no close frame came, so a frame can't carry it.
/// assert_eq!(CloseCode::new(1006), None);
/// assert_eq!(CloseCode::NORMAL.to_string(), "1000");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CloseCode(u16);

impl CloseCode {
    /// 1000: the connection is no longer needed.
    pub const NORMAL: CloseCode = CloseCode(1000);
    /// 1001: the endpoint goes away.
    pub const GOING_AWAY: CloseCode = CloseCode(1001);
    /// 1005: the peer's close frame had no code. Never sent.
    pub const NO_STATUS: CloseCode = CloseCode(1005);
    /// 1003: the peer sent data that this end can't handle.
    pub const UNSUPPORTED: CloseCode = CloseCode(1003);
    /// 1006: the connection ended without a close frame. Never sent.
    pub const ABNORMAL: CloseCode = CloseCode(1006);

    /// A code that may stand in a frame.
    ///
    /// RFC 6455, 7.4: 1000 to 1003 and 1007 to 1014 are defined or registered;
    /// 3000 to 4999 are for libraries and applications; 1004, 1005, 1006 and
    /// 1015 must not be sent, everything else is reserved.
    pub const fn new(code: u16) -> Option<CloseCode> {
        match code {
            1000..=1003 | 1007..=1014 | 3000..=4999 => Some(CloseCode(code)),
            _ => None,
        }
    }

    /// The number.
    pub const fn get(self) -> u16 {
        self.0
    }
}

impl fmt::Display for CloseCode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

macro_rules! causes {
    ($($(#[doc = $doc:literal])+ $name:ident => $code:literal, $reason:literal;)+) => {
        /// The reasons for which this end closes a connection.
        ///
        /// ```
        /// use tapecast::protocol::CloseCause;
        ///
        /// let cause = CloseCause::InvalidUtf8;
        /// assert_eq!((cause.code().get(), cause.reason()), (1007, "invalid utf-8"));
        /// assert!(cause.is_violation());
        /// // A slow reader breaks no rule of the protocol.
        /// assert!(!CloseCause::SlowReader.is_violation());
        /// ```
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum CloseCause {
            $($(#[doc = $doc])+ $name,)+
        }

        impl CloseCause {
            /// Every cause, in the order of definition.
            pub const ALL: &'static [CloseCause] = &[$(CloseCause::$name,)+];

            /// The close code. Nothing else in the crate chooses one.
            pub const fn code(self) -> CloseCode {
                match self { $(CloseCause::$name => CloseCode($code),)+ }
            }

            /// The reason that goes into the close frame.
            pub const fn reason(self) -> &'static str {
                match self { $(CloseCause::$name => $reason,)+ }
            }
        }
    };
}

causes! {
    /// The server is draining.
    Draining => 1001, "server is going away";
    /// The connection has reached its maximum age.
    MaximumAge => 1001, "maximum age reached: connect again";
    /// No message arrived for as long as a connection may be idle.
    Idle => 1001, "idle for too long";
    /// A reserved bit was set that no extension in use defines (RFC 6455, 5.2; RFC 7692, 6).
    ReservedBit => 1002, "a reserved bit is set";
    /// An opcode that is not defined (RFC 6455, 5.2).
    ReservedOpcode => 1002, "the opcode is reserved";
    /// A length that fits into fewer bytes (RFC 6455, 5.2).
    LengthNotMinimal => 1002, "the payload length is not in its shortest form";
    /// A 64-bit length with its top bit set (RFC 6455, 5.2).
    LengthTopBit => 1002, "the most significant bit of the payload length is set";
    /// A client's frame without a mask (RFC 6455, 5.1).
    MaskMissing => 1002, "a frame from a client must be masked";
    /// A server's frame with a mask (RFC 6455, 5.1).
    MaskForbidden => 1002, "a frame from a server must not be masked";
    /// A control frame in fragments (RFC 6455, 5.5).
    ControlFragmented => 1002, "a control frame must not be fragmented";
    /// A control frame of more than 125 bytes (RFC 6455, 5.5).
    ControlTooLong => 1002, "a control frame carries at most 125 bytes";
    /// A continuation without a message to continue (RFC 6455, 5.4).
    ContinuationUnexpected => 1002, "a continuation without a message to continue";
    /// A new message inside a fragmented one (RFC 6455, 5.4).
    ContinuationMissing => 1002, "a new message inside a fragmented one";
    /// A close frame with a payload of one byte (RFC 6455, 5.5.1).
    CloseTooShort => 1002, "a close frame's payload is empty or at least two bytes";
    /// A close frame with a code that must not be sent (RFC 6455, 7.4).
    CloseCodeInvalid => 1002, "the close code must not be sent";
    /// A compressed message that is not DEFLATE (RFC 7692, 7.2.2).
    InvalidDeflate => 1007, "a compressed message can't be inflated";
    /// Text, or a close reason, that is not UTF-8 (RFC 6455, 8.1).
    InvalidUtf8 => 1007, "invalid utf-8";
    /// More fragments in one message than allowed.
    TooManyFragments => 1008, "the message has too many fragments";
    /// A message took longer to arrive than allowed.
    MessageTooSlow => 1008, "the message takes too long";
    /// A message longer than allowed.
    MessageTooBig => 1009, "the message is too big";
    /// A handler panicked on this connection.
    HandlerPanicked => 1011, "internal error";
    /// Connections hold more memory than allowed, and this one is among the largest.
    OutOfMemory => 1013, "the server is short of memory: try again later";
    /// More bytes wait for this reader than its send queue holds.
    SlowReader => 4008, "too slow: the send queue is full";
    /// The subscriber fell behind a topic's tape, and the topic's policy is to close.
    FellBehind => 4009, "too slow: fell behind the tape";
}

impl CloseCause {
    /// Whether the peer broke a rule of the protocol.
    pub const fn is_violation(self) -> bool {
        matches!(self.code().get(), 1002 | 1007)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cause_has_a_code_that_may_be_sent_and_a_reason_that_fits() {
        for cause in CloseCause::ALL {
            assert!(CloseCode::new(cause.code().get()).is_some(), "{cause:?}");
            assert!(cause.reason().len() <= 123, "{cause:?}");
        }
    }

    #[test]
    fn codes_that_must_not_be_sent_are_refused() {
        for code in [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535] {
            assert_eq!(CloseCode::new(code), None, "{code}");
        }
        for code in [1000, 1001, 1002, 1003, 1007, 1011, 1014, 3000, 3999, 4000, 4999] {
            assert_eq!(CloseCode::new(code).map(CloseCode::get), Some(code));
        }
    }
}
