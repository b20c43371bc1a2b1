//! Which offer is accepted, and what is answered (RFC 7692, 7.1).

use super::window::{WINDOW_BITS_MAX, WINDOW_BITS_MIN};
use crate::protocol::extensions::{self, Extension};

/// What a client of this crate offers.
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
    /// Messages by themselves, in both directions.
    Alone,
    /// Messages may look back at earlier ones, in both directions.
    Contexts,
}

impl Offered {
    /// The value of `Sec-WebSocket-Extensions` in the request.
    pub fn header(self) -> Option<&'static str> {
        // RFC 7692, 7.1.2.2: the server may then ask for a smaller window of the client's.
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

/// An offer that a server takes.
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
    /// The client's may.
    pub client_context: bool,
    /// The server looks back by at most two to this power of bytes, 9 to 15 for a server.
    pub server_window_bits: u8,
    /// The client looks back by at most two to this power of bytes, 8 to 15.
    pub client_window_bits: u8,
    /// It asked how far the server looks back: that has to be answered.
    names_window: bool,
}

impl Accepted {
    /// The same, with every message by itself.
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

/// The first offer, in the values of a request's `Sec-WebSocket-Extensions`, that can be
/// accepted, with the contexts that it leaves open. One that is odd is declined, and the next
/// one looked at (RFC 7692, 5.1).
pub fn accept<'a>(values: impl IntoIterator<Item = &'a str>) -> Option<Accepted> {
    values.into_iter().filter_map(|value| extensions::parse(value).ok()).flatten().find_map(
        |offer| {
            let Parameters { server_alone, client_alone, server_window, .. } =
                Parameters::of(&offer)?;
            // RFC 7692, 7.1.2.1: the window that the server may use at most.
            let server_window_bits = server_window.flatten().unwrap_or(WINDOW_BITS_MAX);
            (server_window_bits >= WINDOW_BITS_MIN).then_some(Accepted {
                // RFC 7692, 7.1.1.1: what the client demands of the server.
                server_context: !server_alone,
                // RFC 7692, 7.1.1.2: it says that its own messages stand by themselves.
                client_context: !client_alone,
                server_window_bits,
                // Whatever the client's window is: the largest reads it.
                client_window_bits: WINDOW_BITS_MAX,
                names_window: server_window.is_some(),
            })
        },
    )
}

/// What the values of a response accept of what was offered: `Some(None)` if nothing,
/// `None` if they accept something else.
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
    // RFC 7692, 7.1.1.1 and 7.1.2.2: what was demanded of the server is confirmed, and a
    // window of the client's has its bits.
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
