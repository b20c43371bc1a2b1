//! A client's request: one JSON object, whose known fields are picked out in one pass.

use super::ErrorCode;
use crate::hub::{Mode, Since};
use crate::protocol::json::{Scanner, string};
use std::borrow::Cow;
use std::str::FromStr;

/// A refused request: the number of the error, and its text.
pub type Refused = (ErrorCode, Cow<'static, str>);

/// The fields of a request as the client wrote them; `None` is missing, or null but for `id` and
/// `message`, which may be null.
#[derive(Clone, Copy, Debug, Default)]
pub struct Fields<'a> {
    pub id: Option<&'a str>,
    kind: Option<&'a str>,
    channel: Option<&'a str>,
    channels: Option<&'a str>,
    room: Option<&'a str>,
    key: Option<&'a str>,
    message: Option<&'a str>,
    mode: Option<&'a str>,
    max_rate: Option<&'a str>,
    since: Option<&'a str>,
    snapshot: Option<&'a str>,
    window: Option<&'a str>,
    name: Option<&'a str>,
    seq: Option<&'a str>,
    remove: Option<&'a str>,
}

/// The kind of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Subscribe,
    Unsubscribe,
    Publish,
    Ack,
    Ping,
    Join,
    Leave,
    Message,
}

fn missing(name: &'static str) -> Refused {
    (ErrorCode::MissingField, format!("{name} is missing").into())
}

fn bad(name: &'static str, expected: &'static str) -> Refused {
    (ErrorCode::BadField, format!("{name}: expected {expected}").into())
}

impl<'a> Fields<'a> {
    /// Reads a request. Unknown fields are ignored; of one that is given twice the last
    /// counts.
    ///
    /// # Errors
    /// The text is not JSON, or not an object. With it come the id, if it precedes the mistake, and
    /// the number of bytes that do.
    pub fn read(text: &'a str) -> Result<Fields<'a>, (Refused, Option<&'a str>, usize)> {
        let mut fields = Fields::default();
        let read = Scanner::new(text).members(|name, value| {
            let field = match name {
                "type" => &mut fields.kind,
                "channel" => &mut fields.channel,
                "message" => &mut fields.message,
                "id" => &mut fields.id,
                "key" => &mut fields.key,
                "seq" => &mut fields.seq,
                "channels" => &mut fields.channels,
                "room" => &mut fields.room,
                "mode" => &mut fields.mode,
                "max_rate" => &mut fields.max_rate,
                "since" => &mut fields.since,
                "snapshot" => &mut fields.snapshot,
                "window" => &mut fields.window,
                "name" => &mut fields.name,
                "remove" => &mut fields.remove,
                _ => return,
            };
            // A message may well be null, and so may an id.
            *field =
                Some(value).filter(|value| matches!(name, "message" | "id") || *value != "null");
        });
        let Err(error) = read else { return Ok(fields) };
        let refused = match Scanner::new(text).whole() {
            Ok(()) => (ErrorCode::NotAnObject, "expected an object".into()),
            Err(_) => {
                (ErrorCode::Malformed, format!("{} at byte {}", error.message, error.at).into())
            }
        };
        Err((refused, fields.id, error.at))
    }

    /// The kind of the request. A message without a type is a chat message.
    ///
    /// # Errors
    /// There is no such type.
    pub fn kind(&self) -> Result<Kind, Refused> {
        let Some(kind) = self.kind else {
            return match self.message {
                Some(_) => Ok(Kind::Message),
                None => Err(missing("type")),
            };
        };
        Ok(match string(kind).as_deref().unwrap_or_default() {
            "subscribe" => Kind::Subscribe,
            "unsubscribe" => Kind::Unsubscribe,
            "publish" => Kind::Publish,
            "ack" => Kind::Ack,
            "ping" => Kind::Ping,
            "join" => Kind::Join,
            "leave" => Kind::Leave,
            "message" => Kind::Message,
            _ => {
                let known = "subscribe, unsubscribe, publish, ack, ping, join, leave, message";
                let text = format!("unknown type: expected one of {known}");
                return Err((ErrorCode::UnknownType, text.into()));
            }
        })
    }

    /// The one channel that the request names.
    ///
    /// # Errors
    /// It is missing, or not a string.
    pub fn channel(&self) -> Result<Cow<'a, str>, Refused> {
        required("channel", self.channel)
    }

    /// The room that the request names.
    ///
    /// # Errors
    /// As for a channel.
    pub fn room(&self) -> Result<Cow<'a, str>, Refused> {
        required("room", self.room)
    }

    /// `channel`, or every one of `channels`, at most `count_max` of them.
    ///
    /// # Errors
    /// Both are missing, or have the wrong type.
    pub fn all_channels(&self, count_max: usize) -> Result<Vec<Cow<'a, str>>, Refused> {
        let Some(channels) = self.channels else { return Ok(vec![self.channel()?]) };
        let expected = || bad("channels", "an array of strings");
        let mut found = Vec::new();
        let mut is_right = true;
        let elements = Scanner::new(channels).elements(|element| match string(element) {
            Some(channel) if found.len() <= count_max => found.push(channel),
            Some(_) => {}
            None => is_right = false,
        });
        if elements.is_err() || !is_right || found.is_empty() {
            return Err(expected());
        }
        if found.len() > count_max {
            let text = format!("channels: expected at most {count_max}");
            return Err((ErrorCode::TooManySubscriptions, text.into()));
        }
        Ok(found)
    }

    /// The body of a publication, as the client wrote it.
    ///
    /// # Errors
    /// It is missing.
    pub fn message(&self) -> Result<&'a str, Refused> {
        self.message.ok_or_else(|| missing("message"))
    }

    /// The key of a publication, if it has one.
    ///
    /// # Errors
    /// It is not a string.
    pub fn key(&self) -> Result<Option<Cow<'a, str>>, Refused> {
        let key = self.key.map(|value| string(value).ok_or_else(|| bad("key", "a string")));
        key.transpose()
    }

    /// Whether the publication removes its key.
    ///
    /// # Errors
    /// It is neither true nor false.
    pub fn remove(&self) -> Result<bool, Refused> {
        truth("remove", self.remove)
    }

    /// The number that an acknowledgement names.
    ///
    /// # Errors
    /// It is missing, or not a number.
    pub fn seq(&self) -> Result<u64, Refused> {
        number("seq", self.seq)?.ok_or_else(|| missing("seq"))
    }

    /// The messages that a subscription requests: all, or the newest.
    ///
    /// # Errors
    /// There is no such mode.
    pub fn mode(&self) -> Result<Mode, Refused> {
        match self.mode.map(|mode| string(mode).unwrap_or_default()).as_deref() {
            None | Some("all") => Ok(Mode::All),
            Some("latest") => Ok(Mode::Latest),
            Some(_) => Err(bad("mode", r#""all" or "latest""#)),
        }
    }

    /// The rate that a subscription requests: deliveries a second at most.
    ///
    /// # Errors
    /// It is not a number.
    pub fn max_rate(&self) -> Result<Option<u32>, Refused> {
        number("max_rate", self.max_rate)
    }

    /// The window that a subscription requests: messages in flight at most.
    ///
    /// # Errors
    /// It is not a number.
    pub fn window(&self) -> Result<Option<u32>, Refused> {
        number("window", self.window)
    }

    /// The name under which a subscription is listed, if it has one.
    ///
    /// # Errors
    /// It is not a string.
    pub fn name(&self) -> Result<Option<Cow<'a, str>>, Refused> {
        self.name.map(|name| required("name", Some(name))).transpose()
    }

    /// Whether a subscription requests a snapshot of the newest values.
    ///
    /// # Errors
    /// It is neither true nor false.
    pub fn snapshot(&self) -> Result<bool, Refused> {
        truth("snapshot", self.snapshot)
    }

    /// The position at which a subscription resumes, if it has one.
    ///
    /// # Errors
    /// It is not an object with an epoch and a number.
    pub fn since(&self) -> Result<Option<Since>, Refused> {
        let Some(since) = self.since else { return Ok(None) };
        let expected = || bad("since", r#"{"epoch":number,"seq":number}"#);
        let (mut epoch, mut seq) = (None, None);
        let read = Scanner::new(since).members(|name, value| match name {
            "epoch" => epoch = value.parse().ok(),
            "seq" => seq = value.parse().ok(),
            _ => {}
        });
        match (read, epoch, seq) {
            (Ok(()), Some(epoch), Some(seq)) => Ok(Some(Since { epoch, seq })),
            _ => Err(expected()),
        }
    }
}

fn required<'a>(name: &'static str, value: Option<&'a str>) -> Result<Cow<'a, str>, Refused> {
    string(value.ok_or_else(|| missing(name))?).ok_or_else(|| bad(name, "a string"))
}

fn number<N: FromStr>(name: &'static str, value: Option<&str>) -> Result<Option<N>, Refused> {
    let parse = |value: &str| value.parse().map_err(|_| bad(name, "a whole number"));
    value.map(parse).transpose()
}

fn truth(name: &'static str, value: Option<&str>) -> Result<bool, Refused> {
    match value {
        None | Some("false") => Ok(false),
        Some("true") => Ok(true),
        Some(_) => Err(bad(name, "true or false")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_of_a_request_is_read() {
        let text = r#"{"type":"subscribe","channels":["a","b\u002ec"],"mode":"latest",
            "max_rate":10,"since":{"epoch":5,"seq":7},"snapshot":true,"window":3,"id":[1, 2],
            "unknown":{},"key":null}"#;
        let fields = Fields::read(text).unwrap();
        assert_eq!(fields.kind(), Ok(Kind::Subscribe));
        assert_eq!(fields.all_channels(9).unwrap(), ["a", "b.c"]);
        assert_eq!(fields.all_channels(1).unwrap_err().0, ErrorCode::TooManySubscriptions);
        assert_eq!(fields.mode(), Ok(Mode::Latest));
        assert_eq!((fields.max_rate(), fields.window()), (Ok(Some(10)), Ok(Some(3))));
        assert_eq!(fields.since(), Ok(Some(Since { epoch: 5, seq: 7 })));
        assert_eq!(
            (fields.snapshot(), fields.key(), fields.id),
            (Ok(true), Ok(None), Some("[1, 2]"))
        );
        assert_eq!(fields.channel().unwrap_err(), missing("channel"));
        let chat = Fields::read(r#"{"message":null}"#).unwrap();
        assert_eq!((chat.kind(), chat.message()), (Ok(Kind::Message), Ok("null")));
    }

    #[test]
    fn escapes_in_fields_are_decoded() {
        let text = r#"{"typ\u0065":"subscr\u0069be","\u0063hannel":"\u0061","mod\u0065":"l\u0061test",
            "since":{"\u0065poch":1,"seq":2},"id":null}"#;
        let fields = Fields::read(text).unwrap();
        assert_eq!((fields.kind(), fields.mode()), (Ok(Kind::Subscribe), Ok(Mode::Latest)));
        assert_eq!(fields.channel().unwrap(), "a");
        assert_eq!(fields.since(), Ok(Some(Since { epoch: 1, seq: 2 })));
        assert_eq!(fields.id, Some("null"));
    }

    #[test]
    fn a_malformed_request_is_refused_with_its_code() {
        let read = |text| Fields::read(text).map(|_| ()).unwrap_err();
        assert_eq!(read("[1]").0.0, ErrorCode::NotAnObject);
        assert_eq!(read("{").0.0, ErrorCode::Malformed);
        let ((code, text), id, at) = read(r#"{"type":tru,"id":1}"#);
        assert_eq!((code, &*text), (ErrorCode::Malformed, "expected a value at byte 8"));
        assert_eq!(at, 8);
        assert_eq!(id, None);
        let ((code, _), id, _) = read(r#"{"id":7,"type":tru}"#);
        assert_eq!((code, id), (ErrorCode::Malformed, Some("7")));
        let fields = Fields::read(
            r#"{"type":"x","channel":1,"channels":["a",1],"mode":"most","max_rate":-1,
                "since":{"epoch":1},"snapshot":1,"seq":1.5,"key":{},"remove":"yes"}"#,
        )
        .unwrap();
        assert_eq!(fields.kind().unwrap_err().0, ErrorCode::UnknownType);
        let refused = [
            fields.channel().map(drop),
            fields.all_channels(9).map(drop),
            fields.mode().map(drop),
            fields.max_rate().map(drop),
            fields.since().map(drop),
            fields.snapshot().map(drop),
            fields.seq().map(drop),
            fields.key().map(drop),
            fields.remove().map(drop),
        ];
        assert!(refused.iter().all(|it| matches!(it, Err((ErrorCode::BadField, _)))));
        assert_eq!(Fields::read("{}").unwrap().kind().unwrap_err(), missing("type"));
    }
}
