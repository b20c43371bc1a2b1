//! Heartbeats: the positions of quiet channels.

use super::answers::send;
use super::session::JsonSession;
use crate::app::Conn;
use crate::protocol::json::{Object, write_string};
use std::io::Write;
use std::time::Duration;

pub(super) fn set_heartbeat(conn: &mut Conn<'_, JsonSession>) {
    if let heartbeat_ms @ 1.. = conn.limits().heartbeat_ms {
        conn.set_timer(Duration::from_millis(heartbeat_ms));
    }
}

/// Reports the positions of channels without a message since the last heartbeat, so that a client
/// notices messages that are missing at the end. A client that has yet to take earlier bytes gets
/// none, since heartbeats would pile up.
pub(super) fn heartbeat(conn: &mut Conn<'_, JsonSession>) {
    if conn.queued_bytes() > 0 {
        return;
    }
    let mut quiet = Vec::new();
    conn.quiet(|channel, position| {
        quiet.push(if quiet.is_empty() { b'{' } else { b',' });
        write_string(channel, &mut quiet);
        // Writing to a vector does not fail.
        let _ = write!(quiet, ":{position}");
    });
    if !quiet.is_empty() {
        quiet.push(b'}');
        let quiet = String::from_utf8(quiet).expect("written from text");
        send(conn, Object::new("heartbeat").raw("channels", &quiet));
    }
}
