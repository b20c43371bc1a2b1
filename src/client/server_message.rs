//! The messages of a server of `tapecast.v1.json`, read from their text.

use crate::protocol::json::{Scanner, string};
use std::borrow::Cow;

/// The subprotocol's name.
pub const NAME: &str = "tapecast.v1.json";

/// A message of a server, borrowed from its text.
///
/// ```
/// use tapecast::client::ServerMessage;
///
/// let message = ServerMessage::read(r#"{"type":"gap","channel":"trades","from":7,"to":9}"#);
/// assert_eq!(message, Ok(ServerMessage::Gap { channel: "trades".into(), from: 7, to: 9 }));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ServerMessage<'a> {
    /// A publication.
    Publication {
        /// The channel.
        channel: Cow<'a, str>,
        /// Its sequence number.
        seq: u64,
        /// Its time in milliseconds since 1970, by the server's clock.
        time_ms: u64,
        /// The key of which it is the value, if it has one.
        key: Option<Cow<'a, str>>,
        /// Whether it removes the key.
        is_removed: bool,
        /// Its JSON.
        body: &'a str,
    },
    /// A subscription is live.
    Subscribed {
        /// The channel or pattern.
        channel: Cow<'a, str>,
        /// The channel's epoch; a pattern has none.
        epoch: Option<u64>,
        /// Messages after this one follow.
        seq: u64,
        /// Whether the subscription resumed at the requested position.
        recovered: bool,
        /// Whether the request had a name and the channel has no presence.
        is_unlisted: bool,
        /// The id of the request.
        id: Option<u64>,
    },
    /// A subscription has ended.
    Unsubscribed {
        /// The channel or pattern.
        channel: Cow<'a, str>,
        /// The id of the request.
        id: Option<u64>,
    },
    /// A publication was accepted.
    Published {
        /// The channel.
        channel: Cow<'a, str>,
        /// The sequence number of the publication.
        seq: u64,
        /// The id of the request.
        id: Option<u64>,
    },
    /// A snapshot begins: the next messages of the channel are the newest values.
    Snapshot {
        /// The channel.
        channel: Cow<'a, str>,
        /// The number of values.
        count: u64,
    },
    /// A snapshot has ended.
    SnapshotEnd {
        /// The channel.
        channel: Cow<'a, str>,
        /// Messages after this one follow.
        seq: u64,
        /// Whether it had the value of every key.
        complete: bool,
    },
    /// Messages are lost.
    Gap {
        /// The channel.
        channel: Cow<'a, str>,
        /// The first lost message.
        from: u64,
        /// The last lost message.
        to: u64,
    },
    /// Messages are conflated: only the newest of each key follow.
    Conflated {
        /// The channel.
        channel: Cow<'a, str>,
        /// The first conflated message.
        from: u64,
        /// The last conflated message.
        to: u64,
    },
    /// Idle channels, each with the last message that was sent.
    Heartbeat(Vec<(Cow<'a, str>, u64)>),
    /// The answer to a ping.
    Pong {
        /// The id of the request.
        id: Option<u64>,
    },
    /// The server shuts down.
    Shutdown {
        /// The time until it ends, in milliseconds.
        within_ms: u64,
    },
    /// A refused request.
    Error {
        /// The error code.
        code: u16,
        /// The reason of the refusal.
        message: Cow<'a, str>,
        /// The id of the request.
        id: Option<u64>,
    },
    /// A message of a later version.
    Other,
}

/// The text is not a message of this protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotAMessage;

impl<'a> ServerMessage<'a> {
    /// Reads a message. Unknown fields are ignored.
    ///
    /// # Errors
    /// The text is not JSON, or lacks a field that its type requires.
    pub fn read(text: &'a str) -> Result<ServerMessage<'a>, NotAMessage> {
        let fields = Fields::read(text)?;
        let channel = || fields.channel.and_then(string).ok_or(NotAMessage);
        let number = |value: Option<&str>| value.and_then(|it| it.parse().ok()).ok_or(NotAMessage);
        let optional = |value: Option<&str>| value.and_then(|it| it.parse().ok());
        let id = optional(fields.id);
        Ok(match fields.kind {
            r#""message""# => ServerMessage::Publication {
                channel: channel()?,
                seq: number(fields.seq)?,
                time_ms: number(fields.time)?,
                key: fields.key.and_then(string),
                is_removed: fields.removed == Some("true"),
                body: fields.message.ok_or(NotAMessage)?,
            },
            r#""subscribed""# => ServerMessage::Subscribed {
                channel: channel()?,
                epoch: optional(fields.epoch),
                seq: optional(fields.seq).unwrap_or(0),
                recovered: fields.recovered == Some("true"),
                is_unlisted: fields.listed == Some("false"),
                id,
            },
            r#""unsubscribed""# => ServerMessage::Unsubscribed { channel: channel()?, id },
            r#""published""# => {
                ServerMessage::Published { channel: channel()?, seq: number(fields.seq)?, id }
            }
            r#""snapshot""# => {
                ServerMessage::Snapshot { channel: channel()?, count: number(fields.count)? }
            }
            r#""snapshot_end""# => {
                let complete = fields.complete != Some("false");
                ServerMessage::SnapshotEnd {
                    channel: channel()?,
                    seq: number(fields.seq)?,
                    complete,
                }
            }
            r#""gap""# => ServerMessage::Gap {
                channel: channel()?,
                from: number(fields.from)?,
                to: number(fields.to)?,
            },
            r#""conflated""# => ServerMessage::Conflated {
                channel: channel()?,
                from: number(fields.from)?,
                to: number(fields.to)?,
            },
            r#""heartbeat""# => {
                ServerMessage::Heartbeat(positions(fields.channels.ok_or(NotAMessage)?)?)
            }
            r#""pong""# => ServerMessage::Pong { id },
            r#""shutdown""# => ServerMessage::Shutdown { within_ms: number(fields.within_ms)? },
            r#""error""# => ServerMessage::Error {
                code: fields.code.and_then(|it| it.parse().ok()).ok_or(NotAMessage)?,
                message: fields.message.and_then(string).unwrap_or_default(),
                id,
            },
            _ => ServerMessage::Other,
        })
    }
}

/// Values as they are written in the text.
#[derive(Default)]
struct Fields<'a> {
    kind: &'a str,
    channel: Option<&'a str>,
    channels: Option<&'a str>,
    seq: Option<&'a str>,
    time: Option<&'a str>,
    key: Option<&'a str>,
    removed: Option<&'a str>,
    message: Option<&'a str>,
    epoch: Option<&'a str>,
    recovered: Option<&'a str>,
    listed: Option<&'a str>,
    complete: Option<&'a str>,
    count: Option<&'a str>,
    from: Option<&'a str>,
    to: Option<&'a str>,
    within_ms: Option<&'a str>,
    code: Option<&'a str>,
    id: Option<&'a str>,
}

impl<'a> Fields<'a> {
    fn read(text: &'a str) -> Result<Fields<'a>, NotAMessage> {
        let mut fields = Fields::default();
        let read = Scanner::new(text).members(|name, value| match name {
            "type" => fields.kind = value,
            "channel" => fields.channel = Some(value),
            "channels" => fields.channels = Some(value),
            "seq" => fields.seq = Some(value),
            "time" => fields.time = Some(value),
            "key" => fields.key = Some(value),
            "removed" => fields.removed = Some(value),
            "message" => fields.message = Some(value),
            "epoch" => fields.epoch = Some(value),
            "recovered" => fields.recovered = Some(value),
            "complete" => fields.complete = Some(value),
            "count" => fields.count = Some(value),
            "from" => fields.from = Some(value),
            "to" => fields.to = Some(value),
            "within_ms" => fields.within_ms = Some(value),
            "code" => fields.code = Some(value),
            "id" => fields.id = Some(value),
            "listed" => fields.listed = Some(value),
            _ => {}
        });
        read.map_err(|_| NotAMessage)?;
        Ok(fields)
    }
}

/// Channels and their positions.
fn positions(object: &str) -> Result<Vec<(Cow<'static, str>, u64)>, NotAMessage> {
    let mut positions = Vec::new();
    let mut is_sound = true;
    let read = Scanner::new(object).members(|name, value| match value.parse() {
        Ok(seq) => positions.push((Cow::Owned(name.to_owned()), seq)),
        Err(_) => is_sound = false,
    });
    match read {
        Ok(()) if is_sound => Ok(positions),
        _ => Err(NotAMessage),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_of_message_is_read() {
        let check = |text, message| assert_eq!(ServerMessage::read(text), Ok(message), "{text}");
        let channel = Cow::Borrowed("a");
        check(
            r#"{"type":"message","channel":"a","seq":3,"time":9,"key":"k","removed":true,"message":{"x":[1]}}"#,
            ServerMessage::Publication {
                channel: channel.clone(),
                seq: 3,
                time_ms: 9,
                key: Some("k".into()),
                is_removed: true,
                body: r#"{"x":[1]}"#,
            },
        );
        check(
            r#"{"type":"subscribed","channel":"a","epoch":5,"seq":3,"recovered":true,"id":8}"#,
            ServerMessage::Subscribed {
                channel: channel.clone(),
                epoch: Some(5),
                seq: 3,
                recovered: true,
                is_unlisted: false,
                id: Some(8),
            },
        );
        check(
            r#"{"type":"subscribed","channel":"a.*","id":8}"#,
            ServerMessage::Subscribed {
                channel: "a.*".into(),
                epoch: None,
                seq: 0,
                recovered: false,
                is_unlisted: false,
                id: Some(8),
            },
        );
        check(
            r#"{"type":"unsubscribed","channel":"a"}"#,
            ServerMessage::Unsubscribed { channel: channel.clone(), id: None },
        );
        check(
            r#"{"type":"published","channel":"a","seq":1,"id":2}"#,
            ServerMessage::Published { channel: channel.clone(), seq: 1, id: Some(2) },
        );
        check(
            r#"{"type":"snapshot","channel":"a","count":1}"#,
            ServerMessage::Snapshot { channel: channel.clone(), count: 1 },
        );
        check(
            r#"{"type":"snapshot_end","channel":"a","seq":1}"#,
            ServerMessage::SnapshotEnd { channel: channel.clone(), seq: 1, complete: true },
        );
        check(
            r#"{"type":"conflated","channel":"a","from":1,"to":2}"#,
            ServerMessage::Conflated { channel, from: 1, to: 2 },
        );
        check(
            r#"{"type":"heartbeat","channels":{"a":1,"b\u002ec":2}}"#,
            ServerMessage::Heartbeat(vec![("a".into(), 1), ("b.c".into(), 2)]),
        );
        check(r#"{"type":"pong","id":2}"#, ServerMessage::Pong { id: Some(2) });
        check(r#"{"type":"shutdown","within_ms":2}"#, ServerMessage::Shutdown { within_ms: 2 });
        check(
            r#"{"type":"error","code":112,"message":"no\n","id":2}"#,
            ServerMessage::Error { code: 112, message: "no\n".into(), id: Some(2) },
        );
        check(r#"{"type":"later","x":1}"#, ServerMessage::Other);
    }

    #[test]
    fn texts_that_are_no_messages_are_refused() {
        for text in [
            "",
            "[]",
            r#"{"type":"message","channel":"a","seq":-1,"time":1,"message":1}"#,
            r#"{"type":"message","channel":7,"seq":1,"time":1,"message":1}"#,
            r#"{"type":"message","channel":"a","seq":1,"time":1}"#,
            r#"{"type":"gap","channel":"a","from":1}"#,
            r#"{"type":"heartbeat","channels":{"a":"1"}}"#,
            r#"{"type":"heartbeat","channels":[1]}"#,
            r#"{"type":"error","message":"x"}"#,
        ] {
            assert_eq!(ServerMessage::read(text), Err(NotAMessage), "{text}");
        }
    }
}
