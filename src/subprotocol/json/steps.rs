//! Requests that name many channels, in steps.

use super::answers::refuse;
use super::request::Refused;
use super::session::{JsonSession, Step, Unfinished};
use crate::app::Conn;

/// The rest of a request follows when other connections have had their turns.
pub(super) fn finish_later(conn: &mut Conn<'_, JsonSession>, id: Option<&str>, step: Step) {
    let id = id.map(Box::from);
    conn.session().unfinished = Some(Box::new(Unfinished { id, step }));
    conn.resume_later();
}

/// Does something with each of several channels, as long as the connection's share of the turn
/// lasts; a failure with one does not stop the others. Returns those that are left.
pub(super) fn for_each<'c, C: AsRef<str>>(
    conn: &mut Conn<'_, JsonSession>,
    channels: &'c [C],
    id: Option<&str>,
    mut each: impl FnMut(&mut Conn<'_, JsonSession>, &str) -> Result<(), Refused>,
) -> &'c [C] {
    for (done, channel) in channels.iter().enumerate() {
        if done > 0 && conn.is_exhausted() {
            return &channels[done..];
        }
        if let Err(refused) = each(conn, channel.as_ref()) {
            refuse(conn, id, &refused);
        }
    }
    &[]
}

pub(super) fn boxed(channels: &[impl AsRef<str>]) -> Vec<Box<str>> {
    channels.iter().map(|channel| channel.as_ref().into()).collect()
}
