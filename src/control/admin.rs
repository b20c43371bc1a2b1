//! The administration server: HTTP and JSON, described by `openapi.json`.

use super::bodies::{self, Bodies};
use super::fault::Fault;
use super::lines::LinesDropped;
use super::metrics;
use super::signals::Order;
use crate::app::{Answer, ConnectionSummary, Page, Publish, ShardCommand, Shards};
use crate::base::ConnectionId;
use crate::protocol::{CloseCode, Message};
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{DefaultBodyLimit, Query, Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// The description of the API, for programs.
const OPENAPI: &str = include_str!("openapi.json");
/// How long a shard may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Bytes of a request's body beyond its message.
const BODY_BYTES: usize = 64 << 10;
/// The longest escape of one byte of a message: `\u0001`.
const ESCAPED_BYTES: usize = 6;
/// Items of a page at most, and by default.
const PAGE_ITEMS_MAX: usize = 1_000;

/// An administration server to be started.
#[derive(Debug)]
pub struct Admin {
    /// A bound socket.
    pub listener: TcpListener,
    /// The token that every request has to carry as `Authorization: Bearer TOKEN`.
    pub token: Option<String>,
}

#[derive(Clone)]
struct Access {
    shards: Shards,
    orders: mpsc::Sender<Order>,
    token: Option<Arc<str>>,
    lines_dropped: LinesDropped,
}

impl Admin {
    /// Serves forever.
    pub(super) fn serve(
        self,
        shards: Shards,
        orders: mpsc::Sender<Order>,
        lines_dropped: LinesDropped,
    ) -> io::Result<impl Future<Output = ()> + 'static> {
        self.listener.set_nonblocking(true)?;
        let listener = tokio::net::TcpListener::from_std(self.listener)?;
        let body_bytes_max = ESCAPED_BYTES * shards.publisher.message_bytes_max() + BODY_BYTES;
        let access = Access { shards, orders, token: self.token.map(Arc::from), lines_dropped };
        let router = Router::new()
            .route("/metrics", get(show_metrics))
            .route("/connections", get(show_connections))
            .route("/topics", get(show_topics))
            .route("/publish", post(publish))
            .route("/disconnect", post(disconnect))
            .route("/drain", post(drain))
            .route("/openapi.json", get(show_openapi))
            .fallback(async || Fault(StatusCode::NOT_FOUND, "no such path".into()))
            .method_not_allowed_fallback(async || {
                Fault(StatusCode::METHOD_NOT_ALLOWED, "method not allowed".into())
            })
            .layer(DefaultBodyLimit::disable())
            .layer(middleware::from_fn_with_state(Bodies::new(body_bytes_max), bodies::collect))
            .layer(middleware::from_fn_with_state(access.clone(), check_token))
            .with_state(access);
        Ok(async move {
            if let Err(error) = axum::serve(listener, router).await {
                tracing::error!(%error, "the administration server has ended");
            }
        })
    }
}

fn bad(message: impl Into<String>) -> Fault {
    Fault(StatusCode::BAD_REQUEST, message.into())
}

async fn check_token(State(access): State<Access>, request: Request, next: Next) -> Response {
    let given = request.headers().get(header::AUTHORIZATION);
    let given = given.and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
    match &access.token {
        Some(token) if !given.is_some_and(|given| is_equal(given, token)) => {
            Fault(StatusCode::UNAUTHORIZED, "the token is missing or wrong".into()).into_response()
        }
        None if !is_local_request(request.headers()) => {
            let why = "web pages are refused: set admin_token_file, or use the server's IP address";
            Fault(StatusCode::FORBIDDEN, why.into()).into_response()
        }
        _ => next.run(request).await,
    }
}

/// Without a token, only loopback protects the server, and a web page in a browser on this
/// machine reaches loopback too: by a cross-origin request, which carries its
/// origin, or under a name of its own that resolves to loopback.
fn is_local_request(headers: &HeaderMap) -> bool {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let host = host.and_then(|host| host.parse::<Authority>().ok());
    let is_address = host.is_some_and(|host| {
        let name = host.host().trim_matches(['[', ']']);
        name == "localhost" || name.parse::<IpAddr>().is_ok()
    });
    is_address && !headers.contains_key(header::ORIGIN)
}

/// Compares in a time that depends only on the lengths.
fn is_equal(one: &str, other: &str) -> bool {
    let differences = one.bytes().zip(other.bytes()).map(|(one, other)| one ^ other);
    one.len() == other.len() && differences.fold(0, |all, one| all | one) == 0
}

async fn show_metrics(State(access): State<Access>) -> impl IntoResponse {
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], metrics::text(&access.shards, (access.lines_dropped)()))
}

async fn show_openapi() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], OPENAPI)
}

/// The page that a request asks for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PageRequest {
    /// `next` of the previous page.
    cursor: Option<String>,
    limit: Option<usize>,
}

impl PageRequest {
    /// The shard, and the place in it, at which the page begins.
    fn start(&self, shards: usize) -> Result<(usize, u32), Fault> {
        let Some(cursor) = &self.cursor else { return Ok((0, 0)) };
        let numbers = cursor.split_once('.');
        let read =
            numbers.and_then(|(shard, from)| Some((shard.parse().ok()?, from.parse().ok()?)));
        read.filter(|(shard, _)| *shard < shards)
            .ok_or_else(|| bad(format!("cursor is {cursor:?}: expected `next` of a page")))
    }
}

/// A callback for an answer, and the answer; `None` if it takes too long.
fn question<T: Send + 'static>() -> (Answer<T>, impl Future<Output = Option<T>>) {
    let (sender, receiver) = oneshot::channel();
    // The request may have ended.
    let answer = Box::new(move |value| drop(sender.send(value)));
    (answer, async { tokio::time::timeout(PATIENCE, receiver).await.ok()?.ok() })
}

impl Access {
    /// Sends a command to a shard and waits for its answer.
    async fn ask<T: Send + 'static>(
        &self,
        shard: usize,
        command: impl FnOnce(Answer<T>) -> ShardCommand,
    ) -> Result<T, Fault> {
        let (answer, answered) = question();
        let late = || {
            let why = format!("shard {shard} does not answer in time: it is overloaded or stuck");
            Fault(StatusCode::SERVICE_UNAVAILABLE, why)
        };
        self.shards.senders[shard].post(command(answer)).map_err(|_| late())?;
        answered.await.ok_or_else(late)
    }

    /// Collects items of the shards, from the start of the page on, until the page is full.
    async fn page<T: Send + 'static>(
        &self,
        asked: &PageRequest,
        command: impl Fn(u32, usize, Answer<Page<T>>) -> ShardCommand,
    ) -> Result<(Vec<T>, Option<String>), Fault> {
        let shards = self.shards.senders.len();
        let (mut shard, mut from) = asked.start(shards)?;
        let limit = asked.limit.unwrap_or(PAGE_ITEMS_MAX).clamp(1, PAGE_ITEMS_MAX);
        let mut items = Vec::new();
        while shard < shards {
            let left = limit - items.len();
            let page = self.ask(shard, |answer| command(from, left, answer)).await?;
            items.extend(page.items);
            match page.next {
                Some(next) => from = next,
                None => (shard, from) = (shard + 1, 0),
            }
            if items.len() == limit && shard < shards {
                return Ok((items, Some(format!("{shard}.{from}"))));
            }
        }
        Ok((items, None))
    }
}

async fn show_connections(
    State(access): State<Access>,
    asked: Result<Query<PageRequest>, QueryRejection>,
) -> Result<Json<Value>, Fault> {
    let Query(asked) = asked?;
    let command = |from, count, answer| ShardCommand::Connections { from, count, answer };
    let (items, next) = access.page(&asked, command).await?;
    let items: Vec<Value> = items.iter().map(connection).collect();
    Ok(Json(json!({ "connections": items, "next": next })))
}

fn connection(summary: &ConnectionSummary) -> Value {
    json!({
        "id": summary.id.to_string(),
        "peer": summary.peer.map(|peer| peer.to_string()),
        // Without the query, which may carry a token.
        "path": summary.target.split('?').next(),
        "state": summary.state,
        "state_ms": summary.state_ms,
        "idle_ms": summary.idle_ms,
        "queued_bytes": summary.queued_bytes,
        "subscriptions": summary.subscriptions,
        "round_trip_us": summary.round_trip_us,
    })
}

/// A topic, put together from all shards on a page.
#[derive(Default)]
struct Topic {
    home: u16,
    subscribers: usize,
    seq: Option<u64>,
    log_messages: usize,
    keys: usize,
    tape_bytes: usize,
}

async fn show_topics(
    State(access): State<Access>,
    asked: Result<Query<PageRequest>, QueryRejection>,
) -> Result<Json<Value>, Fault> {
    let Query(asked) = asked?;
    let command = |from, count, answer| ShardCommand::Topics { from, count, answer };
    let (items, next) = access.page(&asked, command).await?;
    // A topic's home knows it, and each shard that reads it. Their parts on one page are
    // put together.
    let mut topics: BTreeMap<String, Topic> = BTreeMap::new();
    for summary in items {
        let topic = topics.entry(summary.name).or_default();
        topic.home = summary.home.0;
        topic.subscribers += summary.subscribers;
        topic.seq = topic.seq.or(summary.seq);
        topic.log_messages += summary.log_messages;
        topic.keys += summary.keys;
        topic.tape_bytes += summary.tape_bytes;
    }
    let topics: Vec<Value> = topics
        .into_iter()
        .map(|(name, topic)| {
            json!({
                "topic": name,
                "home": topic.home,
                "subscribers": topic.subscribers,
                "seq": topic.seq,
                "log_messages": topic.log_messages,
                "keys": topic.keys,
                "tape_bytes": topic.tape_bytes,
            })
        })
        .collect();
    Ok(Json(json!({ "topics": topics, "next": next })))
}

/// A message for a topic: JSON, text, or bytes as base64.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Publication {
    topic: String,
    key: Option<String>,
    #[serde(default)]
    removes_key: bool,
    #[serde(default, deserialize_with = "as_written")]
    message: Option<Box<RawValue>>,
    text: Option<String>,
    binary: Option<String>,
}

/// Takes any JSON, also null.
fn as_written<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Box<RawValue>>, D::Error> {
    Box::<RawValue>::deserialize(from).map(Some)
}

async fn publish(
    State(access): State<Access>,
    publication: Result<Json<Publication>, JsonRejection>,
) -> Result<Json<Value>, Fault> {
    let Json(publication) = publication?;
    let publisher = &access.shards.publisher;
    let (topic, key) = (&publication.topic, publication.key.as_deref());
    let json = publication.message.is_some();
    let how = Publish { key, removes_key: publication.removes_key, json, token: None };
    let decoded;
    let message = match (&publication.message, &publication.text, &publication.binary) {
        (Some(message), None, None) => Message::Text(message.get()),
        (None, Some(text), None) => Message::Text(text),
        (None, None, Some(binary)) => {
            decoded = BASE64.decode(binary).map_err(|error| bad(format!("binary: {error}")))?;
            Message::Binary(&decoded)
        }
        _ => return Err(bad("expected exactly one of message (any JSON), text and binary")),
    };
    let (answer, answered) = question();
    publisher.post(topic, message, &how, Some(answer))?;
    // The message may still be published.
    let late = || {
        let why = "the topic's home does not answer in time: the message may still be published";
        Fault(StatusCode::GATEWAY_TIMEOUT, why.into())
    };
    let seq = answered.await.ok_or_else(late)??;
    Ok(Json(json!({ "published": true, "seq": seq })))
}

/// The connection to close, and how.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Disconnection {
    id: String,
    code: Option<u16>,
    #[serde(default)]
    reason: String,
}

async fn disconnect(
    State(access): State<Access>,
    asked: Result<Json<Disconnection>, JsonRejection>,
) -> Result<Json<Value>, Fault> {
    let Json(asked) = asked?;
    let id: ConnectionId = asked.id.parse().map_err(bad)?;
    let code = asked.code.unwrap_or(CloseCode::GOING_AWAY.get());
    let code = CloseCode::new(code)
        .ok_or_else(|| bad(format!("code is {code}: a close frame can't carry it")))?;
    let reason = asked.reason;
    if id.shard.index() >= access.shards.senders.len() {
        return Err(bad(format!("there is no shard {}", id.shard)));
    }
    let command = |answer| ShardCommand::Disconnect { id, code, reason, answer };
    if !access.ask(id.shard.index(), command).await? {
        return Err(Fault(
            StatusCode::NOT_FOUND,
            format!("{id}: no such connection, or it has ended"),
        ));
    }
    Ok(Json(json!({ "disconnected": true })))
}

async fn drain(State(access): State<Access>) -> (StatusCode, Json<Value>) {
    // A full queue already holds an order to drain.
    let _ = access.orders.try_send(Order::Drain);
    (StatusCode::ACCEPTED, Json(json!({ "draining": true })))
}
