//! What received bytes mean: the handshake, messages, and the calls of handlers.
//!
//! Every call of a handler goes through `catch_unwind`: a panic closes the
//! connection it was for with 1011, and the handler lives on.

use super::Shard;
use super::links::Posted;
use super::notes::Note;
use super::securing::send_sealed;
use super::slot::{Holds, Phase, Slot, connection_id};
use crate::admission::is_from_here;
use crate::app::{Conn, Core, Decision, Handler, Link, Request, Upgrade};
use crate::base::planted::{Bug, planted};
use crate::base::{BufferPool, ConnectionId, Counters, Limits, ShardId, work};
use crate::connection::{Arrival, Close, SendOutcome};
use crate::driver::{Driver, Errno};
use crate::protocol::deflate::{Accepted, Compression, WINDOW_BITS_MAX};
use crate::protocol::handshake::{self, Answer};
use crate::protocol::{self, CloseCause, Input, Kind, Refusal, deflate};
use bytes::Bytes;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// An echo of which so much is left to send is not copied into the queue.
const HANDED_OVER_BYTES_MIN: usize = if cfg!(test) { 512 } else { 256 << 10 };

/// Bytes of the subprotocols that a client has offered, in a log line.
const OFFERED_BYTES_LOGGED: usize = 256;

/// How serving a piece of input ended.
enum Served {
    All,
    /// Its share is used up, or its handler has more to do.
    Paused,
    Closed,
    Panicked,
}

/// Accepts an offer of permessage-deflate, if there is one that can be.
fn agree_on_compression<S>(
    slot: &mut Slot<S>,
    core: &mut Core,
    counters: &Counters,
    request: &protocol::Request<'_>,
) -> Option<Accepted> {
    if core.limits.deflate_level == 0 {
        return None;
    }
    let offered = deflate::accept(request.all("sec-websocket-extensions"))?;
    let Accepted { server_context, client_context, server_window_bits, .. } = offered;
    let contexts = core.pool.contexts();
    let contexts = contexts.begin(server_context, client_context, server_window_bits);
    let (accepted, compression) = match contexts {
        Some(compression) => (offered, compression),
        None => (offered.without_contexts(), Compression::alone(server_window_bits)),
    };
    slot.own.outbound.compress(compression);
    if server_window_bits == WINDOW_BITS_MAX {
        // With a smaller window it could not read what is compressed once for everybody.
        slot.own.subscriptions.set_deflates();
    }
    counters.handshakes_deflate.add(1);
    let has_context = accepted.server_context || accepted.client_context;
    counters.handshakes_deflate_context.add(u64::from(has_context));
    if accepted != offered && core.limits.deflate_contexts_bytes_max > 0 {
        counters.limits_hit.hit(const { Limits::index_of("deflate_contexts_bytes_max") });
    }
    Some(accepted)
}

/// Queues the last `bytes` bytes of the echo of the message that was received last. Where
/// those are many, the buffer in which the message was put together becomes the queue.
fn queue_echo<S>(
    slot: &mut Slot<S>,
    input: &mut Input<'_>,
    kind: Kind,
    bytes: usize,
    pool: &mut BufferPool,
) {
    if bytes == 0 {
        return;
    }
    let outbound = &mut slot.own.outbound;
    if bytes >= HANDED_OVER_BYTES_MIN
        && outbound.queued_bytes() == 0
        && let Some(buffer) = slot.inbound.hand_over(pool)
    {
        let sent = buffer.len() - bytes;
        return outbound.queue_buffer(pool, buffer, sent);
    }
    if let Ok(frame) = slot.inbound.frame_in_place(input, kind) {
        outbound.bytes(pool, &frame[frame.len() - bytes..]);
    }
}

/// Echoes the message that was received last, at once and from where it lies.
fn send_straight<S, D: Driver>(
    slot: &mut Slot<S>,
    input: &mut Input<'_>,
    kind: Kind,
    driver: &mut D,
    pool: &mut BufferPool,
    counters: &Counters,
) {
    let waits = slot.is_blocked();
    let outbound = &mut slot.own.outbound;
    let frame = match slot.inbound.frame_in_place(input, kind) {
        Ok(frame) if !waits => frame,
        Ok(frame) => {
            let bytes = frame.len();
            return queue_echo(slot, input, kind, bytes, pool);
        }
        Err(payload) => return outbound.frame(pool, kind.opcode(), payload, None),
    };
    if let Some(channel) = &mut slot.channel {
        let rest = send_sealed(channel, outbound, frame, slot.socket, driver, pool, counters);
        let bytes = rest.len();
        return queue_echo(slot, input, kind, bytes, pool);
    }
    let queued = outbound.queued_bytes();
    let sent = match driver.send_now(slot.socket, &[outbound.queued(), frame]) {
        Ok(sent) => sent,
        Err(Errno::AGAIN | Errno::INTR) => 0,
        // The connection is broken: its receive ends and says so.
        Err(_) => queued + frame.len(),
    };
    counters.sends.add(1);
    counters.bytes_sent.add(sent as u64);
    outbound.advance(pool, sent.min(queued));
    let rest = frame.len() - sent.saturating_sub(queued);
    counters.sends_short.add(u64::from(rest > 0));
    queue_echo(slot, input, kind, rest, pool);
}

/// The route that a session counts for; none if the handler panics over that.
pub(super) fn route_of<H: Handler>(handler: &H, session: &H::Session) -> Option<usize> {
    catch_unwind(AssertUnwindSafe(|| handler.route_of(session))).ok()
}

impl<H: Handler, D: Driver> Shard<H, D> {
    /// Takes bytes that were received for the connection at `index`: those that it has a
    /// share for, and the others as its backlog.
    pub(super) fn ingest(&mut self, index: u32, bytes: &mut [u8]) {
        let Some(slot) = self.slots.at_mut(index) else { return };
        slot.inbound.keep_alive.hear(self.core.now);
        if slot.phase >= Phase::Flushing {
            return;
        }
        let has_backlog = slot.holds.has(Holds::WORK) && !planted(Bug::OvertakenBacklog);
        if has_backlog || self.core.is_exhausted() {
            return self.fall_behind(index, bytes);
        }
        let token = self.token(index);
        let (left, is_behind) = self.process(index, bytes);
        if !self.is_current(token) {
            return;
        }
        if is_behind {
            self.fall_behind(index, &bytes[bytes.len() - left..]);
        }
        self.incur(index);
    }

    /// Serves `bytes` of a connection. Says how many of them are left, and whether it is to
    /// be served further when others have had their turns.
    pub(super) fn process(&mut self, index: u32, bytes: &mut [u8]) -> (usize, bool) {
        let mut input = Input::new(bytes);
        let Some(slot) = self.slots.at_mut(index) else { return (0, false) };
        if slot.inbound.expects_head() {
            if !self.handshake(index, &mut input) {
                self.weigh(index, false);
                return (0, false);
            }
            if self.slots.at(index).is_some_and(|slot| slot.holds.has(Holds::WORK)) {
                // The request that `open` has begun goes on first.
                return (input.rest().len(), true);
            }
        }
        if self.slots.at(index).is_some_and(|slot| slot.inbound.has_deflate()) {
            self.core.work += work::deflated(input.rest().len());
        }
        let messages = self.counters().messages_received.get();
        let bytes = input.rest().len() as u64;
        let served = self.serve(index, &mut input);
        self.core.work += self.core.pool.take_grown_work();
        let messages = self.counters().messages_received.get() - messages;
        self.weigh(index, messages > 0);
        if messages > 0
            && let Some(slot) = self.slots.at_mut(index)
        {
            slot.inbound.keep_alive.use_at(self.core.now);
        }
        // What is small on the wire and large in here counts as large.
        let inflated = std::mem::take(&mut self.core.inflated_now);
        self.core.inflated_bytes += inflated;
        let inflated = inflated as u64;
        if let Some(slot) = self.slots.at_mut(index) {
            slot.turn_bytes = slot.turn_bytes.saturating_add(inflated as u32);
        }
        let bytes = bytes + inflated;
        if self.rates.is_enabled() {
            self.charge(index, messages, bytes);
        }
        let left = input.rest().len();
        let is_behind = match served {
            // What is small on the wire may be long.
            Ok(Served::All) => self.slots.at(index).is_some_and(|slot| slot.inbound.is_inflating()),
            Ok(Served::Paused) => true,
            Ok(Served::Closed) => {
                self.flush_and_end(index);
                false
            }
            Ok(Served::Panicked) => {
                self.fail(index, CloseCause::HandlerPanicked);
                return (0, false);
            }
            Err(cause) => {
                self.fail(index, cause);
                return (0, false);
            }
        };
        self.after_call(index);
        (left, is_behind)
    }

    /// Takes every message out of `input` and through the handler.
    fn serve(&mut self, index: u32, input: &mut Input<'_>) -> Result<Served, CloseCause> {
        let token = self.token(index);
        let Shard { slots, core, handler, driver, counters, .. } = self;
        let counters = &counters[core.id.index()];
        let Some(slot) = slots.at_mut(index) else { return Ok(Served::All) };
        let round_trip_us = slot.inbound.keep_alive.round_trip_us();
        let id = connection_id(core.id, token);
        loop {
            let outbound = &mut slot.own.outbound;
            let deflates = slot.inbound.has_deflate();
            let rules = &core.rules[usize::from(deflates)];
            let arrival = slot.inbound.next(core.now, rules, &mut core.pool, input, outbound);
            core.work += work::CONTROL;
            if deflates {
                let inflated = core.pool.take_inflated_bytes() as usize;
                core.work += work::inflate(inflated);
                core.inflated_now += inflated;
            }
            let message = match arrival? {
                None => return Ok(Served::All),
                Some(Arrival::Control) if core.is_exhausted() => return Ok(Served::Paused),
                Some(Arrival::Control) => continue,
                Some(Arrival::Closed(close)) => {
                    slot.is_clean = input.rest().is_empty();
                    slot.close.get_or_insert_with(|| Box::new(close));
                    return Ok(Served::Closed);
                }
                Some(Arrival::Message(message)) => message,
            };
            core.work += work::MESSAGE - work::CONTROL;
            // RFC 6455, 1.4: after its close frame, this end discards further data.
            // One whose queue is full is about to send it.
            if slot.phase != Phase::Open || outbound.is_ended() || outbound.is_overflowed() {
                continue;
            }
            counters.messages_received.add(1);
            counters.messages_received_text.add(u64::from(message.kind() == Kind::Text));
            let Some(session) = &mut slot.session else { return Ok(Served::All) };
            let (core, own) = (&mut *core, &mut slot.own);
            let link = Link { id, round_trip_us, core, own, received: Some(message) };
            let mut conn = Conn::new(session, link);
            if catch_unwind(AssertUnwindSafe(|| handler.message(&mut conn, message))).is_err() {
                return Ok(Served::Panicked);
            }
            if let Some(kind) = core.deferred.straight.take() {
                send_straight(slot, input, kind, driver, &mut core.pool, counters);
            }
            if core.deferred.resumes || core.is_exhausted() && !input.rest().is_empty() {
                return Ok(Served::Paused);
            }
        }
    }

    /// Takes what it can of the request head; says whether messages follow.
    fn handshake(&mut self, index: u32, input: &mut Input<'_>) -> bool {
        self.core.work += work::HANDSHAKE;
        let slot = self.slots.at_mut(index).expect("ingest looked it up");
        let head = match slot.inbound.head(&self.core.limits, input) {
            Ok(Some(head)) => head,
            Ok(None) => return false,
            Err(refusal) => {
                self.refuse(index, refusal);
                return false;
            }
        };
        // Also of one that is refused before it is parsed.
        // RFC 9112, 2.2: empty lines may come before it.
        let is_head = head.trim_ascii_start().starts_with(b"HEAD ");
        if slot.is_refused {
            self.refuse_request(index, is_head, Refusal::Unavailable);
            return false;
        }
        let mut headers = vec![httparse::EMPTY_HEADER; self.core.limits.head_fields_max];
        let request = match protocol::Request::parse(&head, &mut headers) {
            Ok(request) => request,
            Err(refusal) => {
                self.refuse_request(index, is_head, refusal);
                return false;
            }
        };
        let peer = slot.own.peer.get();
        let is_draining = self.drain.is_some();
        // Health checks are still answered; nothing new begins.
        if is_draining && handshake::check_upgrade(&request).is_ok() {
            self.refuse_request(index, is_head, Refusal::Unavailable);
            return false;
        }
        let handler = &mut self.handler;
        let channel = self.slots.at(index).and_then(|slot| slot.channel.as_deref());
        let certificate = channel.and_then(|channel| channel.session().peer_certificate());
        let request_to = Request::new(&request, peer, certificate, is_draining);
        let answer = catch_unwind(AssertUnwindSafe(|| handler.upgrade(&request_to)));
        let Ok(Upgrade { decision }) = answer else {
            self.counters().handler_panics.add(1);
            self.refuse_request(index, is_head, Refusal::Internal);
            return false;
        };
        match decision {
            Decision::Respond { status, content_type, headers, body } => {
                let (content_type, headers, body) = (&content_type, &headers, &body);
                let answer = Answer { status, content_type, headers, body };
                self.respond(index, status, |out| answer.write(is_head, out));
                false
            }
            Decision::Accept { session, protocol, spoken, headers } => {
                if let Err(refusal) = handshake::check_upgrade(&request) {
                    // The session was given, so its end is told.
                    let handler = &mut self.handler;
                    let told =
                        catch_unwind(AssertUnwindSafe(|| handler.close(session, Close::lost())));
                    self.counters().handler_panics.add(u64::from(told.is_err()));
                    self.refuse_request(index, is_head, refusal);
                    return false;
                }
                let protocol = protocol.and_then(|offered| request.protocols().nth(offered));
                if protocol.is_none() && !spoken.is_empty() {
                    self.note_unspoken(&request, spoken);
                }
                let slot = self.slots.at_mut(index).expect("ingest looked it up");
                let counters = &self.counters[self.core.id.index()];
                let deflate = agree_on_compression(slot, &mut self.core, counters, &request);
                slot.own.outbound.write(&mut self.core.pool, |out| {
                    handshake::write_accept(out, &request, protocol, &headers, deflate);
                });
                slot.inbound.open(deflate);
                let route = route_of(&self.handler, &session);
                slot.session = Some(session);
                slot.own.is_local = is_from_here(&request, peer);
                slot.own.target = request.path_and_query().into();
                self.counters().handshakes.add(1);
                self.counters().statuses.add(101);
                self.counters().sessions.add(1);
                let Some(route) = route else {
                    self.fail(index, CloseCause::HandlerPanicked);
                    return false;
                };
                self.counters().routes.begin(route);
                self.call(index, |handler, conn| handler.open(conn));
                self.set_deadline(index);
                self.slots.at(index).is_some_and(|slot| slot.phase == Phase::Open)
            }
        }
    }

    /// A client that offers subprotocols gets none: it may hang up over that, and not say why.
    fn note_unspoken(&mut self, request: &protocol::Request<'_>, spoken: &[&str]) {
        let mut offered: String = request.protocols().collect::<Vec<_>>().join(", ");
        if offered.is_empty() {
            return;
        }
        // They are tokens, so in ASCII.
        offered.truncate(OFFERED_BYTES_LOGGED);
        let text = format!(
            "{} speaks {} and was offered {offered}: accepted without a subprotocol",
            request.path(),
            spoken.join(", "),
        );
        self.note_info(Note::Unspoken, &text);
    }

    /// Refuses a connection that has not sent a whole request.
    pub(super) fn refuse(&mut self, index: u32, refusal: Refusal) {
        self.refuse_request(index, false, refusal);
    }

    /// Refuses the request: response, linger, close.
    fn refuse_request(&mut self, index: u32, is_head: bool, refusal: Refusal) {
        match refusal {
            Refusal::HeadTooLarge => self.hit(const { Limits::index_of("head_bytes_max") }),
            Refusal::TooManyFields => self.hit(const { Limits::index_of("head_fields_max") }),
            _ => {}
        }
        self.respond(index, refusal.status(), |out| refusal.write(is_head, out));
    }

    fn respond(&mut self, index: u32, status: u16, write: impl FnOnce(&mut Vec<u8>)) {
        self.counters().refusals.add(1);
        self.counters().statuses.add(status);
        let slot = self.slots.at_mut(index).expect("a connection that is answered");
        slot.own.outbound.write(&mut self.core.pool, write);
        slot.own.outbound.end();
        self.flush_and_end(index);
    }

    /// Calls the handler for a connection that has a session, and does what the
    /// call left to do.
    pub(super) fn call(
        &mut self,
        index: u32,
        call: impl FnOnce(&mut H, &mut Conn<'_, H::Session>),
    ) {
        let token = self.token(index);
        let Shard { slots, core, handler, .. } = self;
        let Some(slot) = slots.at_mut(index) else { return };
        let Some((session, link)) = slot.link(core, token) else { return };
        let mut conn = Conn::new(session, link);
        match catch_unwind(AssertUnwindSafe(|| call(handler, &mut conn))) {
            Ok(()) => self.after_call(index),
            Err(_) => self.fail(index, CloseCause::HandlerPanicked),
        }
    }

    /// Does what calls of the handler have left to do.
    pub(super) fn after_call(&mut self, index: u32) {
        self.settle_deferred(index);
        let limits = &self.core.limits;
        let Some(slot) = self.slots.at_mut(index) else { return };
        if slot.phase >= Phase::Flushing {
            return;
        }
        if slot.own.outbound.is_overflowed() && slot.phase == Phase::Open {
            return self.close(index, CloseCause::SlowReader);
        }
        if slot.own.outbound.is_ended() && slot.phase == Phase::Open {
            return self.await_close(index);
        }
        if slot.own.outbound.queued_bytes() > limits.queued_bytes_pause
            && slot.holds.add(Holds::QUEUE)
        {
            self.counters().limits_hit.hit(const { Limits::index_of("queued_bytes_pause") });
            self.counters().receives_paused.add(1);
            self.read_on(index);
        }
        // A queue that a straight echo has emptied is accounted for by a send of
        // nothing.
        let needs_turn = |slot: &Slot<H::Session>| {
            slot.has_queued() || slot.holds.has(Holds::QUEUE) || slot.wants_writable
        };
        if self.slots.at(index).is_some_and(needs_turn) {
            self.mark_dirty(index);
        }
        // No send will come that would have it weighed.
        if self.slots.at(index).is_some_and(Slot::is_blocked) {
            self.weigh(index, false);
        }
    }

    /// Counts, letters and pauses that calls of the handler asked for.
    pub(super) fn settle_deferred(&mut self, index: u32) {
        self.core.work += work::deflate(self.core.pool.take_deflated_bytes() as usize);
        let deferred = &mut self.core.deferred;
        let counters = &self.counters[self.core.id.index()];
        counters.messages_sent.add(std::mem::take(&mut deferred.messages));
        counters.messages_sent_text.add(std::mem::take(&mut deferred.texts));
        counters.publications.add(std::mem::take(&mut deferred.publications));
        let refused = std::mem::take(&mut deferred.publications_refused);
        counters.publications_refused.add(refused);
        let over_budget = std::mem::take(&mut deferred.publications_over_budget);
        if refused > over_budget {
            counters.limits_hit.hit(const { Limits::index_of("publish_overflow_bytes_max") });
        }
        if over_budget > 0 {
            counters.limits_hit.hit(const { Limits::index_of("topics_bytes_max") });
        }
        if std::mem::take(&mut deferred.subscriptions_refused) > 0 {
            counters.limits_hit.hit(const { Limits::index_of("subscriptions_max") });
        }
        let wants_writable = std::mem::take(&mut deferred.wants_writable);
        let mut congested = std::mem::take(&mut deferred.congested);
        let timer_set = std::mem::take(&mut deferred.timer_set);
        let resumes = std::mem::take(&mut deferred.resumes);
        let close = deferred.close.take();
        if !deferred.letters.is_empty() {
            for (to, kind, payload) in std::mem::take(&mut deferred.letters) {
                congested = self.send_letter(to, kind, payload).or(congested);
            }
        }
        let token = self.token(index);
        let Some(slot) = self.slots.at_mut(index) else { return };
        slot.wants_writable |= wants_writable;
        if close.is_some() {
            slot.close = close;
        }
        if let Some(home) = congested
            && slot.holds.add(Holds::PUBLICATIONS)
        {
            self.congested[home.index()].push_back(token);
            self.counters().receives_paused.add(1);
            self.read_on(index);
        }
        if timer_set {
            self.set_deadline(index);
        }
        if resumes {
            self.resume_later(index);
        }
    }

    /// Sends a letter on. Says at which shard it waits for room: whoever has written it is not
    /// read from before there is some.
    fn send_letter(&mut self, to: ConnectionId, kind: Kind, payload: Bytes) -> Option<ShardId> {
        if to.shard == self.core.id {
            self.deliver_letter(to, kind, &payload);
            return None;
        }
        let waiting_bytes_max = self.core.limits.publish_overflow_bytes_max;
        match self.links.letter(to, kind, payload, waiting_bytes_max) {
            Posted::Sent => None,
            Posted::Waits => Some(to.shard),
            Posted::Dropped => {
                self.counters().letters_dropped.add(1);
                self.hit(const { Limits::index_of("publish_overflow_bytes_max") });
                None
            }
        }
    }

    /// Queues a message from another connection.
    pub(super) fn deliver_letter(&mut self, to: ConnectionId, kind: Kind, payload: &[u8]) {
        // A letter may come long after the connection has ended, and its slot may
        // then be somebody else's.
        let is_current = self.is_current(super::slot::token(to.index, to.generation));
        let Shard { slots, core, counters, .. } = self;
        let slot = slots.at_mut(to.index).filter(|slot| is_current && slot.session.is_some());
        let counters = &counters[core.id.index()];
        let Some(slot) = slot else {
            return counters.letters_dropped.add(1);
        };
        // Came out of a `Message`, so it is one.
        let Some(message) = kind.message(payload) else { return };
        match slot.own.outbound.message(&mut core.pool, &core.limits, message) {
            SendOutcome::Dropped => counters.letters_dropped.add(1),
            SendOutcome::Queued | SendOutcome::Backpressure => {
                counters.messages_sent.add(1);
                counters.messages_sent_text.add(u64::from(kind == Kind::Text));
            }
        }
        self.after_call(to.index);
    }
}
