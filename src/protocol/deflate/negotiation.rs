//! Which offer is accepted, and what is answered (RFC 7692, 7.1).

use crate::protocol::extensions::{self, Extension};

/// What a client of this crate offers: messages by themselves, in both directions.
pub const OFFER: &str =
    "permessage-deflate; server_no_context_takeover; client_no_context_takeover";

/// An offer that a server takes.
///
/// ```
/// use tapecast::protocol::deflate::accept;
///
/// let accepted = accept(["foo, permessage-deflate; client_max_window_bits"]).unwrap();
/// assert_eq!(
///     accepted.answer(),
///     "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
/// );
/// // It could not read what is compressed once for everybody.
/// assert_eq!(accept(["permessage-deflate; server_max_window_bits=10"]), None);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// It asked how far the server looks back: that has to be answered.
    names_window: bool,
}

impl Accepted {
    /// The value of `Sec-WebSocket-Extensions` in the response.
    pub fn answer(self) -> &'static str {
        match self.names_window {
            false => OFFER,
            true => {
                "permessage-deflate; server_no_context_takeover; client_no_context_takeover; \
                 server_max_window_bits=15"
            }
        }
    }
}

/// The first offer, in the values of a request's `Sec-WebSocket-Extensions`, that can be
/// accepted. One that is odd is declined, and the next one looked at (RFC 7692, 5.1).
pub fn accept<'a>(values: impl IntoIterator<Item = &'a str>) -> Option<Accepted> {
    values.into_iter().filter_map(|value| extensions::parse(value).ok()).flatten().find_map(
        |offer| {
            let Parameters { server_window, .. } = Parameters::of(&offer)?;
            // RFC 7692, 7.1.2.1: a smaller window may be declined; frames are shared here.
            let is_full = server_window.is_none_or(|bits| bits == Some(15));
            is_full.then_some(Accepted { names_window: server_window.is_some() })
        },
    )
}

/// Whether the values of a response accept what [`OFFER`] offers: `Some(false)` if there
/// is none, `None` if they accept something else.
pub fn check_accepted<'a>(values: impl IntoIterator<Item = &'a str>) -> Option<bool> {
    let mut accepted = Vec::new();
    let mut values = values.into_iter().filter(|value| !value.trim().is_empty()).peekable();
    if values.peek().is_none() {
        return Some(false);
    }
    for value in values {
        accepted.extend(extensions::parse(value).ok()?);
    }
    let [only] = &accepted[..] else { return None };
    let parameters = Parameters::of(only)?;
    // RFC 7692, 7.1.2.2: the client's window is only named if the client has named it.
    let is_ours = parameters.server_alone && parameters.client_window.is_none();
    is_ours.then_some(true)
}

/// The parameters of permessage-deflate.
#[derive(Debug, Default, PartialEq, Eq)]
struct Parameters {
    server_alone: bool,
    client_alone: bool,
    server_window: Option<Option<u8>>,
    client_window: Option<Option<u8>>,
}

impl Parameters {
    /// Those of an offer or answer; `None` if it is another extension, or one of them is
    /// unknown, there twice, or has a value that it can't have.
    fn of(extension: &Extension<'_>) -> Option<Parameters> {
        if extension.name != "permessage-deflate" {
            return None;
        }
        let mut found = Parameters::default();
        for (name, value) in &extension.parameters {
            let value = value.as_deref();
            let is_new = match *name {
                "server_no_context_takeover" if value.is_none() => {
                    !std::mem::replace(&mut found.server_alone, true)
                }
                "client_no_context_takeover" if value.is_none() => {
                    !std::mem::replace(&mut found.client_alone, true)
                }
                "server_max_window_bits" => {
                    found.server_window.replace(Some(window_bits(value?)?)).is_none()
                }
                "client_max_window_bits" => {
                    let bits = value.map(window_bits);
                    if bits == Some(None) {
                        return None;
                    }
                    found.client_window.replace(bits.flatten()).is_none()
                }
                _ => false,
            };
            if !is_new {
                return None;
            }
        }
        Some(found)
    }
}

/// RFC 7692, 7.1.2: a number from 8 to 15 without leading zeroes.
fn window_bits(value: &str) -> Option<u8> {
    match value {
        "8" => Some(8),
        "9" => Some(9),
        "10" => Some(10),
        "11" => Some(11),
        "12" => Some(12),
        "13" => Some(13),
        "14" => Some(14),
        "15" => Some(15),
        _ => None,
    }
}
