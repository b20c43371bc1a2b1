//! Answers to requests, with the `id` that the request brought.

use super::error::ErrorCode;
use super::request::{Fields, Refused};
use super::session::JsonSession;
use crate::app::Conn;
use crate::base::work;
use crate::connection::SendOutcome;
use crate::hub::HubError;
use crate::protocol::json::Object;

/// The part of a request that is too long in which its `id` is looked for, in bytes.
const ID_WITHIN_BYTES: usize = 4 << 10;

/// Adds a request's id to its answer, unchanged.
pub(super) fn with_id(answer: Object, id: Option<&str>) -> Object {
    match id {
        Some(id) => answer.raw("id", id),
        None => answer,
    }
}

pub(super) fn send(conn: &mut Conn<'_, JsonSession>, answer: Object) {
    let text = answer.end();
    conn.charge(work::ANSWER + work::copy(text.len()));
    // A client that does not read its answers is paused, and then closed by the limits.
    let (SendOutcome::Queued | SendOutcome::Backpressure | SendOutcome::Dropped) =
        conn.send(text.as_str());
}

pub(super) fn refuse(conn: &mut Conn<'_, JsonSession>, id: Option<&str>, refused: &Refused) {
    let (code, text) = refused;
    let error = Object::new("error").json("code", *code as u16).text("message", text);
    send(conn, with_id(error, id));
}

/// Refuses a request that is too long: a request is read in one piece.
pub(super) fn refuse_too_big(
    conn: &mut Conn<'_, JsonSession>,
    text: &str,
    short: impl Fn(&&str) -> bool,
) {
    let first = &text[..text.floor_char_boundary(ID_WITHIN_BYTES)];
    conn.charge(work::json(first.len()));
    let id = match Fields::read(first) {
        Ok(fields) => fields.id,
        Err((_, id, _)) => id,
    };
    let bytes_max = conn.limits().json_request_bytes_max;
    let why = format!("it has {} bytes: expected at most {bytes_max}", text.len());
    refuse(conn, id.filter(short), &(ErrorCode::TooBig, why.into()));
}

pub(super) fn refused(error: HubError, channel: &str) -> Refused {
    (error.into(), format!("{channel}: {error}").into())
}

pub(super) fn not_subscribed(channel: &str) -> Refused {
    (ErrorCode::NotSubscribed, format!("{channel}: not subscribed").into())
}
