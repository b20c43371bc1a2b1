//! Requests to subscribe and unsubscribe.

use super::answers::{not_subscribed, refuse, refused, send, with_id};
use super::request::Refused;
use super::session::{JsonSession, Step, Subscribing};
use super::steps::{boxed, finish_later, for_each};
use crate::app::Conn;
use crate::hub::{Delivery, HubError, is_member_name, is_pattern};
use crate::protocol::json::Object;

pub(super) fn subscribe_all(
    conn: &mut Conn<'_, JsonSession>,
    channels: &[impl AsRef<str>],
    name: Option<&str>,
    delivery: &Delivery,
    id: Option<&str>,
) {
    let left = for_each(conn, channels, id, |conn, channel| {
        let is_unlisted = subscribe(conn, channel, name, delivery)?;
        subscribed(conn, channel, id, is_unlisted);
        Ok(())
    });
    if !left.is_empty() {
        let (channels, name) = (boxed(left), name.map(Box::from));
        finish_later(conn, id, Step::Subscribe { channels, name, delivery: *delivery });
    }
}

pub(super) fn unsubscribe_all(
    conn: &mut Conn<'_, JsonSession>,
    channels: &[impl AsRef<str>],
    id: Option<&str>,
) {
    let left = for_each(conn, channels, id, |conn, channel| unsubscribe(conn, channel, id));
    if !left.is_empty() {
        let channels = boxed(left);
        finish_later(conn, id, Step::Unsubscribe { channels });
    }
}

/// Subscribes; with a name, as a listed member. Returns whether there is a name and the channel
/// has no list.
pub(super) fn subscribe(
    conn: &mut Conn<'_, JsonSession>,
    channel: &str,
    name: Option<&str>,
    delivery: &Delivery,
) -> Result<bool, Refused> {
    if name.is_some_and(|name| !is_member_name(name)) {
        return Err(refused(HubError::BadKey, channel));
    }
    let (subscribed, is_unlisted) = match name {
        Some(name) if is_pattern(channel) || conn.lists_members(channel) => {
            (conn.subscribe_as(channel, name, delivery), false)
        }
        _ => (conn.subscribe_with(channel, delivery), name.is_some()),
    };
    subscribed.map_err(|error| refused(error, channel))?;
    Ok(is_unlisted)
}

/// Remembers the request of a subscription, for its answer.
pub(super) fn subscribed(
    conn: &mut Conn<'_, JsonSession>,
    channel: &str,
    id: Option<&str>,
    is_unlisted: bool,
) {
    let session = conn.session();
    session.is_subscribed = true;
    if is_pattern(channel) {
        // Each topic that it matches has an answer of its own.
        send(conn, with_id(Object::new("subscribed").text("channel", channel), id));
    } else if id.is_some() || is_unlisted {
        let asked = Subscribing { id: id.map(Box::from), is_unlisted };
        session.subscribing.insert(channel.into(), asked);
    }
}

pub(super) fn unsubscribe(
    conn: &mut Conn<'_, JsonSession>,
    channel: &str,
    id: Option<&str>,
) -> Result<(), Refused> {
    if !conn.unsubscribe(channel) {
        return Err(not_subscribed(channel));
    }
    let session = conn.session();
    session.rooms.remove(channel);
    if let Some(Subscribing { id: Some(id), .. }) = session.subscribing.remove(channel) {
        // It never began.
        refuse(conn, Some(&id), &not_subscribed(channel));
    }
    send(conn, with_id(Object::new("unsubscribed").text("channel", channel), id));
    Ok(())
}
