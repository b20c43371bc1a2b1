//! A lane in words, for tests: every message with its number, and marks that can be
//! read.

use crate::hub::{Entry, Lane, Mark};
use crate::protocol::{Kind, Opcode, frame};

/// Encodes a message as `M TOPIC SEQ TIME_MS KEY PAYLOAD`, text or binary as it was
/// published, with `-` for no key; marks as text: `G TOPIC FROM TO` for a gap,
/// `C TOPIC FROM TO` for conflation, `S TOPIC COUNT` and `E TOPIC SEQ` around a
/// snapshot.
///
/// ```
/// use tapecast::hub::Delivery;
/// use tapecast::testing::{ENVELOPE, Received, TestShard};
/// # use tapecast::{Conn, Handler, Message, Request, Upgrade};
///
/// struct News;
///
/// impl Handler for News {
/// #     type Session = ();
/// #     fn upgrade(&mut self, _request: &Request<'_>) -> Upgrade<()> {
/// #         Upgrade::accept(())
/// #     }
/// #     fn message(&mut self, _conn: &mut Conn<'_, ()>, _message: Message<'_>) {}
///     fn open(&mut self, conn: &mut Conn<'_, ()>) {
///         let delivery = Delivery { lane: Some(&ENVELOPE), ..Delivery::default() };
///         conn.subscribe_with("news", &delivery).expect("a good name, once");
///     }
/// }
///
/// let mut shard = TestShard::new(News);
/// let mut client = shard.connect("/");
/// shard.run();
/// shard.publisher().publish("news", "rain")?;
/// shard.run();
/// assert_eq!(client.receive(), Some(Received::Text("M news 1 0 - rain".into())));
/// # Ok::<(), tapecast::HubError>(())
/// ```
#[derive(Debug)]
pub struct Envelope;

/// The lane, for [`Delivery::lane`](crate::hub::Delivery::lane).
pub static ENVELOPE: Envelope = Envelope;

impl Lane for Envelope {
    fn name(&self) -> &'static str {
        "envelope"
    }

    fn message(&self, topic: &str, entry: &Entry, out: &mut Vec<u8>) {
        let key = entry.key.as_deref().unwrap_or("-");
        let head = format!("M {topic} {} {} {key} ", entry.seq, entry.time_ms);
        let bytes = head.len() + entry.payload.len();
        out.extend_from_slice(frame::encode(entry.kind.opcode(), true, bytes, None).as_bytes());
        out.extend_from_slice(head.as_bytes());
        out.extend_from_slice(&entry.payload);
    }

    fn mark(&self, topic: &str, mark: &Mark, out: &mut Vec<u8>) {
        let words = match mark {
            Mark::Gap { from, to } => format!("G {topic} {from} {to}"),
            Mark::Conflated { from, to } => format!("C {topic} {from} {to}"),
            Mark::Snapshot { count } => format!("S {topic} {count}"),
            Mark::SnapshotEnd { seq, is_complete: true } => format!("E {topic} {seq}"),
            Mark::SnapshotEnd { seq, is_complete: false } => format!("E {topic} {seq} of some"),
        };
        const TEXT: Opcode = Kind::Text.opcode();
        out.extend_from_slice(frame::encode(TEXT, true, words.len(), None).as_bytes());
        out.extend_from_slice(words.as_bytes());
    }
}
