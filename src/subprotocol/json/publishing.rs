//! Requests to publish, and chat messages.

use super::answers::{refuse, refused, send, with_id};
use super::error::ErrorCode;
use super::request::{Fields, Refused};
use super::session::{JsonSession, Publishing, Step};
use super::steps::finish_later;
use crate::app::{Conn, Publish};
use crate::hub::HubError;
use crate::protocol::json::Object;
use std::ops::Bound;

/// Publications of a connection whose number is in flight to it.
const PUBLISHES_MAX: usize = 1_024;

/// Publishes the chat message in `request` to every room that the connection has joined, or to
/// those behind one.
pub(super) fn say(
    conn: &mut Conn<'_, JsonSession>,
    fields: &Fields<'_>,
    request: &str,
    behind: Option<&str>,
) -> Result<(), Refused> {
    if conn.session().rooms.is_empty() && behind.is_none() {
        return Err((ErrorCode::NoRoom, "join a room first".into()));
    }
    // Publishing does not change them.
    let rooms = std::mem::take(&mut conn.session().rooms);
    let from = behind.map_or(Bound::Unbounded, Bound::Excluded);
    let mut left = rooms.range::<str, _>((from, Bound::Unbounded)).peekable();
    while let Some(room) = left.next() {
        if let Err(refused) = publish(conn, room, fields) {
            refuse(conn, fields.id, &refused);
        }
        if left.peek().is_some() && conn.is_exhausted() {
            let step = Step::Say { request: request.into(), behind: room.clone() };
            finish_later(conn, fields.id, step);
            break;
        }
    }
    conn.session().rooms = rooms;
    Ok(())
}

pub(super) fn publish(
    conn: &mut Conn<'_, JsonSession>,
    channel: &str,
    fields: &Fields<'_>,
) -> Result<(), Refused> {
    let (message, key, removes_key) = (fields.message()?, fields.key()?, fields.remove()?);
    let per_second_max = conn.limits().publishes_per_second_max;
    let second = conn.now().as_millis() / 1_000;
    let session = conn.session();
    if session.second != second {
        (session.second, session.published) = (second, 0);
    }
    session.published = session.published.saturating_add(1);
    if per_second_max > 0 && session.published > per_second_max {
        let text = format!("{channel}: more than {per_second_max} publications a second");
        return Err((ErrorCode::TooFast, text.into()));
    }
    if fields.id.is_some() && session.publishes.len() >= PUBLISHES_MAX {
        return Err(refused(HubError::Full, channel));
    }
    let token = fields.id.map(|_| session.next_token);
    let publish = Publish { key: key.as_deref(), removes_key, json: true, token };
    conn.publish_json(channel, message, &publish).map_err(|error| refused(error, channel))?;
    if let (Some(token), Some(id)) = (token, fields.id) {
        let session = conn.session();
        session.next_token += 1;
        session.publishes.push_back(Publishing { token, channel: channel.into(), id: id.into() });
    }
    Ok(())
}

/// Answers a publication that had an id.
pub(super) fn published(
    conn: &mut Conn<'_, JsonSession>,
    token: u64,
    result: Result<u64, HubError>,
) {
    let publishes = &mut conn.session().publishes;
    let Some(place) = publishes.iter().position(|publish| publish.token == token) else { return };
    let Some(Publishing { channel, id, .. }) = publishes.remove(place) else { return };
    match result {
        Ok(seq) => {
            let published = Object::new("published").text("channel", &channel).json("seq", seq);
            send(conn, with_id(published, Some(&id)));
        }
        Err(error) => refuse(conn, Some(&id), &refused(error, &channel)),
    }
}
