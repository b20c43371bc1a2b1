//! `tapecast.v1.json`: topics in JSON, one object per text message.
//!
//! A request is answered, with the `id` that it brought; what is wrong with it is an
//! `error` with a number ([`ErrorCode`]), and never the connection's end. Bodies of
//! messages pass through as their publishers wrote them, inside an envelope that only
//! the server writes.

mod error;
mod lane;
mod request;

pub use error::{ErrorCode, table as error_table};
pub use lane::{JsonLane, LANE};

use crate::app::{Conn, Handler, Notice, Publish, Request, Upgrade};
use crate::base::work;
use crate::connection::SendOutcome;
use crate::hub::{Delivery, HubError, is_member_name, is_pattern};
use crate::protocol::Message;
use crate::protocol::json::{Object, write_string};
use foldhash::fast::RandomState;
use request::{Fields, Kind, Refused};
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::io::Write;
use std::ops::Bound;
use std::time::Duration;

/// The subprotocol's name.
pub const NAME: &str = "tapecast.v1.json";

/// Bytes of an `id` that is sent back.
const ID_BYTES_MAX: usize = 256;
/// Where the `id` of a request that is too long is looked for.
const ID_WITHIN_BYTES: usize = 4 << 10;
/// Publications of a connection whose number is under way to it.
const PUBLISHES_MAX: usize = 1_024;

/// Serves topics in JSON to clients that name the subprotocol, and to those that name
/// none.
///
/// Who may publish is what the rules of topics say; an embedded server without any lets
/// every client ([`Access::Anyone`](crate::hub::Access)).
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

/// What is kept for a connection: most of it only while a request is under way.
#[derive(Debug, Default)]
pub struct JsonSession {
    /// Rooms that were joined: a chat message goes to all of them.
    rooms: BTreeSet<Box<str>>,
    /// The requests to subscribe that have no answer yet, by channel: they get it when they
    /// are live.
    subscribing: HashMap<Box<str>, Subscribing, RandomState>,
    /// Publications whose number was asked for.
    publishes: VecDeque<Publishing>,
    next_token: u64,
    /// Publications of this second, by its number.
    second: u64,
    published: u32,
    is_subscribed: bool,
    /// A request that is done in part.
    unfinished: Option<Box<Unfinished>>,
}

#[derive(Debug)]
struct Subscribing {
    id: Option<Box<str>>,
    /// It came with a name, and the channel lists nobody.
    is_unlisted: bool,
}

/// What is left of a request that names many channels, or goes to many rooms.
#[derive(Debug)]
struct Unfinished {
    id: Option<Box<str>>,
    step: Step,
}

#[derive(Debug)]
enum Step {
    Subscribe {
        channels: Vec<Box<str>>,
        name: Option<Box<str>>,
        delivery: Delivery,
    },
    Unsubscribe {
        channels: Vec<Box<str>>,
    },
    /// A chat message, as its request stands, for the rooms behind this one.
    Say {
        request: Box<str>,
        behind: Box<str>,
    },
}

#[derive(Debug)]
struct Publishing {
    token: u64,
    channel: Box<str>,
    id: Box<str>,
}

/// Adds a request's id to its answer, as it came.
fn with_id(answer: Object, id: Option<&str>) -> Object {
    match id {
        Some(id) => answer.raw("id", id),
        None => answer,
    }
}

fn send(conn: &mut Conn<'_, JsonSession>, answer: Object) {
    let text = answer.end();
    conn.charge(work::ANSWER + work::copy(text.len()));
    // Who does not read its answers is paused, and then closed by the limits.
    let (SendOutcome::Queued | SendOutcome::Backpressure | SendOutcome::Dropped) =
        conn.send(text.as_str());
}

fn refuse(conn: &mut Conn<'_, JsonSession>, id: Option<&str>, refused: &Refused) {
    let (code, text) = refused;
    let error = Object::new("error").json("code", *code as u16).text("message", text);
    send(conn, with_id(error, id));
}

/// A request is too long to be read: one is done in one piece.
fn refuse_too_big(conn: &mut Conn<'_, JsonSession>, text: &str, short: impl Fn(&&str) -> bool) {
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

fn refused(error: HubError, channel: &str) -> Refused {
    (error.into(), format!("{channel}: {error}").into())
}

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
        // An id is sent back as it came, within reason.
        let short = |id: &&str| id.len() <= ID_BYTES_MAX;
        if text.len() > conn.limits().json_request_bytes_max {
            return refuse_too_big(conn, text, short);
        }
        let fields = match Fields::read(text) {
            Ok(fields) => fields,
            Err((refused, id, read_bytes)) => {
                // Once more, to say what is wrong.
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
                // None if a pattern has found it.
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
            // Marks come in their lane.
            Notice::Resume => resume(conn),
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
            match conn.acknowledge(&channel, seq) {
                true => Ok(()),
                false => Err(not_subscribed(&channel)),
            }
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

/// Goes on with a request that was done in part.
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
            // Copied and read again for each step.
            conn.charge(work::json(request.len()) + work::keep(request.len()));
            let fields = Fields::read(&request).expect("it was read before");
            if let Err(refused) = say(conn, &fields, &request, Some(&behind)) {
                refuse(conn, id, &refused);
            }
        }
    }
}

/// The rest of a request follows when others have had their turns.
fn finish_later(conn: &mut Conn<'_, JsonSession>, id: Option<&str>, step: Step) {
    let id = id.map(Box::from);
    conn.session().unfinished = Some(Box::new(Unfinished { id, step }));
    conn.resume_later();
}

/// Does something with each of several channels, as long as the connection's share of the
/// turn lasts; what goes wrong with one does not stop the others. Gives those that are left.
fn for_each<'c, C: AsRef<str>>(
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

fn boxed(channels: &[impl AsRef<str>]) -> Vec<Box<str>> {
    channels.iter().map(|channel| channel.as_ref().into()).collect()
}

fn subscribe_all(
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

fn unsubscribe_all(
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

/// Subscribes, as a member that is listed if there is a name. Says whether there is one and the
/// channel has no list.
fn subscribe(
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

/// Remembers what a subscription was asked for with, for its answer.
fn subscribed(
    conn: &mut Conn<'_, JsonSession>,
    channel: &str,
    id: Option<&str>,
    is_unlisted: bool,
) {
    let session = conn.session();
    session.is_subscribed = true;
    if is_pattern(channel) {
        // Each topic that it matches is told of in its turn.
        send(conn, with_id(Object::new("subscribed").text("channel", channel), id));
    } else if id.is_some() || is_unlisted {
        let asked = Subscribing { id: id.map(Box::from), is_unlisted };
        session.subscribing.insert(channel.into(), asked);
    }
}

fn unsubscribe(
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

fn not_subscribed(channel: &str) -> Refused {
    (ErrorCode::NotSubscribed, format!("{channel}: not subscribed").into())
}

/// A chat message, which stands in `request`, goes to every room that was joined, or to those
/// behind one.
fn say(
    conn: &mut Conn<'_, JsonSession>,
    fields: &Fields<'_>,
    request: &str,
    behind: Option<&str>,
) -> Result<(), Refused> {
    if conn.session().rooms.is_empty() && behind.is_none() {
        return Err((ErrorCode::NoRoom, "join a room first".into()));
    }
    // Publishing does not touch them.
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

fn publish(
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

/// What became of a publication that had an id.
fn published(conn: &mut Conn<'_, JsonSession>, token: u64, result: Result<u64, HubError>) {
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

fn set_heartbeat(conn: &mut Conn<'_, JsonSession>) {
    if let heartbeat_ms @ 1.. = conn.limits().heartbeat_ms {
        conn.set_timer(Duration::from_millis(heartbeat_ms));
    }
}

/// Tells the positions of channels on which nothing has come since the last heartbeat,
/// so that a client sees what is missing at the end. One that has yet to take what was
/// said before is told nothing: it would pile up.
fn heartbeat(conn: &mut Conn<'_, JsonSession>) {
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

#[cfg(test)]
mod tests;
