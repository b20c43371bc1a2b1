//! The lane of `tapecast.v1.json`: the envelope of messages and marks.

use crate::hub::{Entry, EntryKind, Lane, Mark};
use crate::protocol::json::write_string;
use crate::protocol::{Opcode, frame};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use std::io::Write;

/// The subprotocol's name.
pub const NAME: &str = "tapecast.v1.json";

/// Messages as JSON objects: a body of JSON stays as it was written, text becomes a string, and
/// bytes become base64.
///
/// ```
/// use tapecast::hub::Lane;
/// use tapecast::subprotocol::json::LANE;
///
/// assert_eq!(LANE.name(), "tapecast.v1.json");
/// ```
#[derive(Debug)]
pub struct JsonLane;

/// The lane, for `Delivery::lane`.
pub static LANE: JsonLane = JsonLane;

/// Bytes of a frame's header at most.
const HEADER_BYTES_MAX: usize = frame::SERVER_HEADER_BYTES_MAX;

/// Appends the output of `write` as a text frame. Its length is known only then: the
/// header goes into room that was left for it.
fn text_frame(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0; HEADER_BYTES_MAX]);
    write(out);
    let bytes = out.len() - start - HEADER_BYTES_MAX;
    let header = frame::encode(Opcode::Text, true, bytes, None);
    let header = header.as_bytes();
    out[start..start + header.len()].copy_from_slice(header);
    out.drain(start + header.len()..start + HEADER_BYTES_MAX);
}

/// Writing to memory does not fail.
macro_rules! put {
    ($out:expr, $($text:tt)*) => { write!($out, $($text)*).expect("memory takes it") };
}

impl Lane for JsonLane {
    fn name(&self) -> &'static str {
        NAME
    }

    fn message(&self, topic: &str, entry: &Entry, out: &mut Vec<u8>) {
        text_frame(out, |out| {
            out.extend_from_slice(br#"{"type":"message","channel":"#);
            write_string(topic, out);
            put!(out, r#","seq":{},"time":{}"#, entry.seq, entry.time_ms);
            if let Some(key) = &entry.key {
                out.extend_from_slice(br#","key":"#);
                write_string(key, out);
            }
            if entry.removes_key {
                out.extend_from_slice(br#","removed":true"#);
            }
            out.extend_from_slice(br#","message":"#);
            body(entry, out);
            out.push(b'}');
        });
    }

    fn mark(&self, topic: &str, mark: &Mark, out: &mut Vec<u8>) {
        let (word, rest) = match mark {
            Mark::Gap { from, to } => ("gap", format!(r#""from":{from},"to":{to}"#)),
            Mark::Conflated { from, to } => ("conflated", format!(r#""from":{from},"to":{to}"#)),
            Mark::Snapshot { count } => ("snapshot", format!(r#""count":{count}"#)),
            Mark::SnapshotEnd { seq, is_complete: true } => {
                ("snapshot_end", format!(r#""seq":{seq}"#))
            }
            Mark::SnapshotEnd { seq, is_complete: false } => {
                ("snapshot_end", format!(r#""seq":{seq},"complete":false"#))
            }
        };
        text_frame(out, |out| {
            put!(out, r#"{{"type":"{word}","channel":"#);
            write_string(topic, out);
            put!(out, ",{rest}}}");
        });
    }
}

fn body(entry: &Entry, out: &mut Vec<u8>) {
    match entry.kind {
        EntryKind::Json => out.extend_from_slice(&entry.payload),
        // Came out of a text.
        EntryKind::Text => write_string(&String::from_utf8_lossy(&entry.payload), out),
        EntryKind::Binary => {
            out.push(b'"');
            out.extend_from_slice(BASE64_STANDARD.encode(&entry.payload).as_bytes());
            out.push(b'"');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::json::Scanner;
    use bytes::Bytes;

    fn encoded(topic: &str, kind: EntryKind, key: Option<&str>, payload: &[u8]) -> String {
        let entry = Entry {
            seq: 7,
            time_ms: 1_700_000_000_000,
            since: Default::default(),
            key: key.map(Into::into),
            removes_key: false,
            kind,
            payload: Bytes::copy_from_slice(payload),
        };
        let mut out = b"before".to_vec();
        LANE.message(topic, &entry, &mut out);
        let frame = &out[6..];
        assert_eq!(frame[0], 0x81);
        let start = match frame[1] {
            126 => 4,
            127 => 10,
            length => {
                assert_eq!(usize::from(length), frame.len() - 2);
                2
            }
        };
        let text = std::str::from_utf8(&frame[start..]).unwrap().to_owned();
        assert_eq!(Scanner::new(&text).whole(), Ok(()), "{text}");
        text
    }

    #[test]
    fn an_envelope_carries_the_body_as_it_was_published() {
        let head = r#"{"type":"message","channel":"a","seq":7,"time":1700000000000"#;
        let check = |kind, key, payload, rest: &str| {
            assert_eq!(encoded("a", kind, key, payload), format!("{head}{rest}"));
        };
        check(EntryKind::Json, None, br#"{"x": [1 ]}"#, r#","message":{"x": [1 ]}}"#);
        check(EntryKind::Text, Some("k\""), b"hi\n", r#","key":"k\"","message":"hi\n"}"#);
        check(EntryKind::Binary, None, b"\xff\x00", r#","message":"/wA="}"#);
        assert!(encoded("q\"\\", EntryKind::Json, None, b"1").contains(r#""channel":"q\"\\""#));
        for bytes in [100, 200, 70_000] {
            encoded("a", EntryKind::Text, None, &vec![b'x'; bytes]);
        }
    }

    #[test]
    fn every_mark_has_its_object() {
        for (mark, expected) in [
            (Mark::Gap { from: 1, to: 2 }, r#"{"type":"gap","channel":"a","from":1,"to":2}"#),
            (Mark::Snapshot { count: 3 }, r#"{"type":"snapshot","channel":"a","count":3}"#),
            (
                Mark::SnapshotEnd { seq: 4, is_complete: true },
                r#"{"type":"snapshot_end","channel":"a","seq":4}"#,
            ),
            (
                Mark::SnapshotEnd { seq: 4, is_complete: false },
                r#"{"type":"snapshot_end","channel":"a","seq":4,"complete":false}"#,
            ),
        ] {
            let mut out = Vec::new();
            LANE.mark("a", &mark, &mut out);
            assert_eq!(&out[2..], expected.as_bytes());
        }
    }
}
