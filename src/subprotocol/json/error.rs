//! The numbered errors of `tapecast.v1.json`.

use crate::hub::HubError;

macro_rules! errors {
    ($($(#[doc = $doc:literal])+ $name:ident = $code:literal,)+) => {
        /// Why a request is refused, by number. The connection stays open.
        ///
        /// ```
        /// use tapecast::subprotocol::json::ErrorCode;
        ///
        /// assert_eq!(ErrorCode::UnknownType as u16, 103);
        /// ```
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[non_exhaustive]
        pub enum ErrorCode {
            $($(#[doc = $doc])+ $name = $code,)+
        }

        impl ErrorCode {
            /// Every error: its number, its name, and its meaning.
            pub const ALL: &'static [(u16, &'static str, &'static str)] =
                &[$(($code, stringify!($name), concat!($($doc,)+)),)+];
        }
    };
}

errors! {
    /// The message is not text.
    NotText = 100,
    /// The message is not JSON; the text says what is wrong and at which byte.
    Malformed = 101,
    /// The message is JSON, but not an object.
    NotAnObject = 102,
    /// The `type` is unknown.
    UnknownType = 103,
    /// A field that the request needs is missing.
    MissingField = 104,
    /// A field has a value of the wrong kind.
    BadField = 105,
    /// The request has more than `json_request_bytes_max` bytes. Its `id` is known if it is in the first 4 KiB.
    TooBig = 107,
    /// The channel's or room's name is invalid.
    BadChannel = 110,
    /// There is a subscription to this channel already.
    AlreadySubscribed = 111,
    /// There is no subscription to this channel.
    NotSubscribed = 112,
    /// The connection has reached `subscriptions_max`.
    TooManySubscriptions = 113,
    /// The delivery that was asked for is invalid.
    BadDelivery = 114,
    /// The channel's rule does not allow it.
    NotAllowed = 115,
    /// The key is longer than 255 bytes, or the channel has no keys; or the name of a member is invalid.
    BadKey = 116,
    /// The topic limit `topics_max` is reached.
    TooManyTopics = 117,
    /// The connection, or its address, has reached a limit of patterns, or of topics that it has made; the text names it.
    QuotaReached = 118,
    /// The limit `patterns_max` is reached.
    TooManyPatterns = 119,
    /// The channel is overloaded: retry later.
    Behind = 120,
    /// The connection has exceeded `publishes_per_second_max`.
    TooFast = 122,
    /// A chat message before any room was joined.
    NoRoom = 130,
}

impl From<HubError> for ErrorCode {
    fn from(error: HubError) -> ErrorCode {
        match error {
            HubError::BadName => ErrorCode::BadChannel,
            HubError::BadKey => ErrorCode::BadKey,
            HubError::BadJson => ErrorCode::Malformed,
            HubError::BadDelivery(_) => ErrorCode::BadDelivery,
            HubError::NotAllowed => ErrorCode::NotAllowed,
            HubError::AlreadySubscribed => ErrorCode::AlreadySubscribed,
            HubError::TooManySubscriptions => ErrorCode::TooManySubscriptions,
            HubError::TooManyTopics => ErrorCode::TooManyTopics,
            HubError::TooManyPatterns => ErrorCode::TooManyPatterns,
            HubError::QuotaReached(_) => ErrorCode::QuotaReached,
            HubError::Full | HubError::OverBudget | HubError::Stopped => ErrorCode::Behind,
            HubError::TooBig => ErrorCode::TooBig,
        }
    }
}

/// The errors as a table in Markdown.
pub fn table() -> String {
    let mut out = String::from("| code | name | when |\n|---|---|---|\n");
    for (code, name, text) in ErrorCode::ALL {
        out += &format!("| {code} | {name} |{text} |\n");
    }
    out
}
