//! The handler: carries out each request and answers each notice.

use super::answers::{not_subscribed, refuse, refuse_too_big, refused, send, with_id};
use super::error::ErrorCode;
use super::heartbeat::{heartbeat, set_heartbeat};
use super::lane::{LANE, NAME};
use super::publishing::{publish, published, say};
use super::request::{Fields, Kind, Refused};
use super::session::{JsonSession, Step, Subscribing, Unfinished};
use super::subscribing::{subscribe, subscribe_all, subscribed, unsubscribe, unsubscribe_all};
use crate::app::{Conn, Handler, Notice, Request, Upgrade};
use crate::base::work;
use crate::hub::{Delivery, HubError, is_pattern};
use crate::protocol::Message;
use crate::protocol::json::Object;
use std::time::Duration;

/// Bytes of an `id` that is sent back.
const ID_BYTES_MAX: usize = 256;

/// Serves topics in JSON to clients that offer the subprotocol, and to those that offer none.
///
/// The rules of topics say which clients may publish; without rules, every client may
/// ([`Access::Anyone`](crate::hub::Access)).
///
/// ```
/// use tapecast::subprotocol::json::Json;
/// use tapecast::testing::{Received, TestShard};
///
/// let mut shard = TestShard::new(Json);
/// let mut client = shard.connect("/");
/// client.send(r#"{"type":"subscribe","channel":"quotes","id":1}"#);
/// client.send(r#"{"type":"publish","channel":"quotes","key":"BTC","message":{"bid":64000.5}}"#);
/// shard.run();
/// let Some(Received::Text(subscribed)) = client.receive() else { panic!("an answer") };
/// assert!(subscribed.starts_with(r#"{"type":"subscribed","channel":"quotes","epoch":"#));
/// assert!(subscribed.ends_with(r#","seq":0,"recovered":false,"id":1}"#));
/// let quote = r#"{"type":"message","channel":"quotes","seq":1,"time":0,"key":"BTC","message":{"bid":64000.5}}"#;
/// assert_eq!(client.receive(), Some(Received::Text(quote.into())));
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Json;

impl Handler for Json {
    type Session = JsonSession;

    fn upgrade(&mut self, request: &Request<'_>) -> Upgrade<JsonSession> {
        Upgrade::accept(JsonSession::default()).speaks(request, &[NAME])
    }

    fn open(&mut self, conn: &mut Conn<'_, JsonSession>) {
        match conn.limits().first_subscribe_ms {
            0 => set_heartbeat(conn),
            first_ms => conn.set_timer(Duration::from_millis(first_ms)),
        }
    }

    fn message(&mut self, conn: &mut Conn<'_, JsonSession>, message: Message<'_>) {
        let Message::Text(text) = message else {
            return refuse(conn, None, &(ErrorCode::NotText, "expected text".into()));
        };
        conn.charge(work::REQUEST);
        // An id is sent back unchanged, up to a length.
        let short = |id: &&str| id.len() <= ID_BYTES_MAX;
        if text.len() > conn.limits().json_request_bytes_max {
            return refuse_too_big(conn, text, short);
        }
        let fields = match Fields::read(text) {
            Ok(fields) => fields,
            Err((refused, id, read_bytes)) => {
                // Reading it once more finds the error.
                conn.charge(2 * work::json(read_bytes));
                return refuse(conn, id.filter(short), &refused);
            }
        };
        conn.charge(work::json(text.len()));
        let id = fields.id.filter(short);
        let done = match fields.id {
            Some(long) if id.is_none() => Err((
                ErrorCode::BadField,
                format!("id has {} bytes: expected at most 256", long.len()).into(),
            )),
            _ => fields.kind().and_then(|kind| obey(conn, kind, &fields, text)),
        };
        if let Err(refused) = done {
            refuse(conn, id, &refused);
        }
    }

    fn notice(&mut self, conn: &mut Conn<'_, JsonSession>, notice: Notice<'_>) {
        match notice {
            Notice::Subscribed { topic, epoch, seq, recovered } => {
                // None if a pattern has made the subscription.
                let asked = conn.session().subscribing.remove(topic);
                let subscribed = Object::new("subscribed")
                    .text("channel", topic)
                    .json("epoch", epoch)
                    .json("seq", seq)
                    .json("recovered", recovered);
                let subscribed = match &asked {
                    Some(Subscribing { is_unlisted: true, .. }) => subscribed.json("listed", false),
                    _ => subscribed,
                };
                let id = asked.as_ref().and_then(|asked| asked.id.as_deref());
                send(conn, with_id(subscribed, id));
            }
            Notice::Published { token: Some(token), result } => published(conn, token, result),
            Notice::Published { token: None, result } => {
                if let Err(error) = result {
                    refuse(conn, None, &refused(error, "a publication"));
                }
            }
            Notice::Refused { topic, error } => refuse(conn, None, &refused(error, topic)),
            Notice::Timer
                if conn.session().is_subscribed || conn.limits().first_subscribe_ms == 0 =>
            {
                heartbeat(conn);
                set_heartbeat(conn);
            }
            Notice::Timer => conn.close(1008, "no subscription in time"),
            Notice::Draining => {
                let limits = conn.limits();
                let within_ms = limits.drain_notice_ms + limits.drain_ms;
                send(conn, Object::new("shutdown").json("within_ms", within_ms));
            }
            Notice::Resume => resume(conn),
            // The lane encodes marks.
            Notice::Marked { .. } | Notice::Writable => {}
        }
    }
}

fn obey(
    conn: &mut Conn<'_, JsonSession>,
    kind: Kind,
    fields: &Fields<'_>,
    text: &str,
) -> Result<(), Refused> {
    match kind {
        Kind::Publish => {
            let channel = fields.channel()?;
            publish(conn, &channel, fields)
        }
        Kind::Message => say(conn, fields, text, None),
        Kind::Ack => {
            let (channel, seq) = (fields.channel()?, fields.seq()?);
            if !conn.acknowledge(&channel, seq) {
                return Err(not_subscribed(&channel));
            }
            Ok(())
        }
        Kind::Ping => {
            send(conn, with_id(Object::new("pong"), fields.id));
            Ok(())
        }
        Kind::Subscribe => {
            let delivery = Delivery {
                mode: fields.mode()?,
                max_rate: fields.max_rate()?,
                since: fields.since()?,
                snapshot: fields.snapshot()?,
                window: fields.window()?,
                slow_reader: None,
                lane: Some(&LANE),
            };
            let channels = fields.all_channels(conn.limits().subscriptions_max)?;
            subscribe_all(conn, &channels, fields.name()?.as_deref(), &delivery, fields.id);
            Ok(())
        }
        Kind::Unsubscribe => {
            let channels = fields.all_channels(conn.limits().subscriptions_max)?;
            unsubscribe_all(conn, &channels, fields.id);
            Ok(())
        }
        Kind::Join => {
            let delivery = Delivery { lane: Some(&LANE), ..Delivery::default() };
            let (room, name) = (fields.room()?, fields.name()?);
            if is_pattern(&room) {
                return Err(refused(HubError::BadName, &room));
            }
            let is_unlisted = subscribe(conn, &room, name.as_deref(), &delivery)?;
            subscribed(conn, &room, fields.id, is_unlisted);
            conn.session().rooms.insert(room.into());
            Ok(())
        }
        Kind::Leave => unsubscribe(conn, &fields.room()?, fields.id),
    }
}

/// Continues a request that is partly done.
fn resume(conn: &mut Conn<'_, JsonSession>) {
    let Some(unfinished) = conn.session().unfinished.take() else { return };
    let Unfinished { id, step } = *unfinished;
    let id = id.as_deref();
    match step {
        Step::Subscribe { channels, name, delivery } => {
            subscribe_all(conn, &channels, name.as_deref(), &delivery, id);
        }
        Step::Unsubscribe { channels } => unsubscribe_all(conn, &channels, id),
        Step::Say { request, behind } => {
            // It is copied and read again for each step.
            conn.charge(work::json(request.len()) + work::keep(request.len()));
            let fields = Fields::read(&request).expect("it was read before");
            if let Err(refused) = say(conn, &fields, &request, Some(&behind)) {
                refuse(conn, id, &refused);
            }
        }
    }
}
