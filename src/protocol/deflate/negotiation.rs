//! The negotiation: which offer is accepted, and the answer (RFC 7692, 7.1).

use super::window::{WINDOW_BITS_MAX, WINDOW_BITS_MIN};
use crate::protocol::extensions::{self, Extension};

/// The offer of a client of this crate.
///
/// ```
/// use tapecast::protocol::deflate::Offered;
///
/// let contexts = "permessage-deflate; client_max_window_bits";
/// assert_eq!(Offered::Contexts.header(), Some(contexts));
/// assert_eq!(Offered::default().header(), None);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Offered {
    /// No compression.
    #[default]
    Nothing,
    /// Each message by itself, in both directions.
    Alone,
    /// Messages may look back at earlier ones, in both directions.
    Contexts,
}

impl Offered {
    /// The value of `Sec-WebSocket-Extensions` in the request.
    pub fn header(self) -> Option<&'static str> {
        // RFC 7692, 7.1.2.2: the server may then demand a smaller window of the client.
        match self {
            Offered::Nothing => None,
            Offered::Alone => Some(
                "permessage-deflate; server_no_context_takeover; client_no_context_takeover; \
                 client_max_window_bits",
            ),
            Offered::Contexts => Some("permessage-deflate; client_max_window_bits"),
        }
    }
}

/// An offer that a server accepts.
///
/// ```
/// use tapecast::protocol::deflate::accept;
///
/// let offered = accept(["foo, permessage-deflate; client_max_window_bits"]).unwrap();
/// assert!(offered.server_context && offered.client_context);
/// assert_eq!(
///     offered.without_contexts().answer(),
///     "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
/// );
/// let small = accept(["permessage-deflate; server_max_window_bits=10"]).unwrap();
/// assert_eq!(small.server_window_bits, 10);
/// assert_eq!(small.answer(), "permessage-deflate; server_max_window_bits=10");
/// // No compressor has so small a window.
/// assert_eq!(accept(["permessage-deflate; server_max_window_bits=8"]), None);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// The server's messages may look back at earlier ones.
    pub server_context: bool,
    /// The client's messages may look back at earlier ones.
    pub client_context: bool,
    /// The server's window as a power of two, 9 to 15 for a server.
    pub server_window_bits: u8,
    /// The client's window as a power of two, 8 to 15.
    pub client_window_bits: u8,
    /// The offer names the server's window, so the answer has to.
    names_window: bool,
}

impl Accepted {
    /// The same terms, with every message compressed by itself.
    #[must_use]
    pub fn without_contexts(self) -> Accepted {
        Accepted { server_context: false, client_context: false, ..self }
    }

    /// The value of `Sec-WebSocket-Extensions` in the response.
    pub fn answer(self) -> String {
        let mut answer = String::from("permessage-deflate");
        if !self.server_context {
            answer += "; server_no_context_takeover";
        }
        if !self.client_context {
            answer += "; client_no_context_takeover";
        }
        if self.names_window {
            answer += &format!("; server_max_window_bits={}", self.server_window_bits);
        }
        answer
    }
}

/// The first acceptable offer in the values of a request's `Sec-WebSocket-Extensions`, with the
/// contexts that it allows. An invalid offer is declined, and the next
/// one is considered (RFC 7692, 5.1).
pub fn accept<'a>(values: impl IntoIterator<Item = &'a str>) -> Option<Accepted> {
    values.into_iter().filter_map(|value| extensions::parse(value).ok()).flatten().find_map(
        |offer| {
            let Parameters { server_alone, client_alone, server_window, .. } =
                Parameters::of(&offer)?;
            // RFC 7692, 7.1.2.1: the largest window that the server may use.
            let server_window_bits = server_window.flatten().unwrap_or(WINDOW_BITS_MAX);
            (server_window_bits >= WINDOW_BITS_MIN).then_some(Accepted {
                // RFC 7692, 7.1.1.1: the client's demand on the server.
                server_context: !server_alone,
                // RFC 7692, 7.1.1.2: the client promises this of its own messages.
                client_context: !client_alone,
                server_window_bits,
                // The largest window reads messages of every smaller one.
                client_window_bits: WINDOW_BITS_MAX,
                names_window: server_window.is_some(),
            })
        },
    )
}

/// The terms that the values of a response accept: `Some(None)` if none,
/// `None` if they accept something that was not offered.
pub fn check_accepted<'a>(
    values: impl IntoIterator<Item = &'a str>,
    offered: Offered,
) -> Option<Option<Accepted>> {
    let mut accepted = Vec::new();
    for value in values {
        accepted.extend(extensions::parse(value).ok()?);
    }
    if accepted.is_empty() {
        return Some(None);
    }
    let [only] = &accepted[..] else { return None };
    let Parameters { server_alone, client_alone, server_window, client_window } =
        Parameters::of(only)?;
    // RFC 7692, 7.1.1.1 and 7.1.2.2: the server confirms the client's demand, and a
    // window for the client has a number of bits.
    let is_ours = match offered {
        Offered::Nothing => false,
        Offered::Alone => server_alone && client_window != Some(None),
        Offered::Contexts => client_window != Some(None),
    };
    is_ours.then_some(Some(Accepted {
        server_context: !server_alone,
        client_context: !client_alone && offered == Offered::Contexts,
        server_window_bits: server_window.flatten().unwrap_or(WINDOW_BITS_MAX),
        client_window_bits: client_window.flatten().unwrap_or(WINDOW_BITS_MAX),
        names_window: server_window.is_some(),
    }))
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
    /// The parameters of an offer or answer; `None` if it is another extension, or a parameter is
    /// unknown, duplicate, or has an invalid value.
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
