//! The request head: the handler accepts, refuses or answers it.

use super::calling::{Called, guard, route_of};
use super::parts::Engine;
use super::state::{Note, Peer, Phase, Slot};
use crate::admission::is_from_here;
use crate::app::{Core, Decision, Handler, Request, Upgrade};
use crate::base::{Counters, Limits, work};
use crate::connection::Close;
use crate::driver::Driver;
use crate::protocol::deflate::{Accepted, Compression, WINDOW_BITS_MAX};
use crate::protocol::handshake::{self, Answer};
use crate::protocol::{self, CloseCause, Input, Refusal, deflate};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Bytes of the subprotocols that a client has offered, in a log line.
const OFFERED_BYTES_LOGGED: usize = 256;

/// The handler's decision on a connection that it accepts.
struct Acceptance<S> {
    session: S,
    /// The subprotocol among those that were offered.
    protocol: Option<usize>,
    /// The subprotocols that the route speaks.
    spoken: &'static [&'static str],
    headers: String,
}

/// Accepts an offer of permessage-deflate, if a valid one was made.
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
    slot.state.outbound.compress(compression);
    if server_window_bits == WINDOW_BITS_MAX {
        // A client with a smaller window can't read frames that are compressed once for all.
        slot.state.subscriptions.set_deflates();
    }
    counters.handshakes_deflate.add(1);
    let has_context = accepted.server_context || accepted.client_context;
    counters.handshakes_deflate_context.add(u64::from(has_context));
    if accepted != offered && core.limits.deflate_contexts_bytes_max > 0 {
        counters.limits_hit.hit(const { Limits::index_of("deflate_contexts_bytes_max") });
    }
    Some(accepted)
}

impl<H: Handler, D: Driver> Engine<H, D> {
    /// Parses as much of the request head as has arrived. Returns whether messages follow.
    pub fn handshake(&mut self, peer: &mut Peer<'_, H::Session>, input: &mut Input<'_>) -> bool {
        self.core.work += work::HANDSHAKE;
        let head = match peer.inbound.head(&self.core.limits, input) {
            Ok(Some(head)) => head,
            Ok(None) => return false,
            Err(refusal) => {
                self.refuse(peer, refusal);
                return false;
            }
        };
        // Also of one that is refused before it is parsed.
        // RFC 9112, 2.2: empty lines may come before it.
        let is_head = head.trim_ascii_start().starts_with(b"HEAD ");
        if peer.is_refused {
            self.refuse_request(peer, is_head, Refusal::Unavailable);
            return false;
        }
        let mut headers = vec![httparse::EMPTY_HEADER; self.core.limits.head_fields_max];
        let request = match protocol::Request::parse(&head, &mut headers) {
            Ok(request) => request,
            Err(refusal) => {
                self.refuse_request(peer, is_head, refusal);
                return false;
            }
        };
        let is_draining = self.drain.is_some();
        // Health checks are still answered; no new connection opens.
        if is_draining && handshake::check_upgrade(&request).is_ok() {
            self.refuse_request(peer, is_head, Refusal::Unavailable);
            return false;
        }
        let handler = &mut self.handler;
        let certificate =
            peer.channel.as_deref().and_then(|channel| channel.session().peer_certificate());
        let request_to = Request::new(&request, peer.state.peer.get(), certificate, is_draining);
        let answer = catch_unwind(AssertUnwindSafe(|| handler.upgrade(&request_to)));
        let Ok(Upgrade { decision }) = answer else {
            self.counters().handler_panics.add(1);
            self.refuse_request(peer, is_head, Refusal::Internal);
            return false;
        };
        match decision {
            Decision::Respond { status, content_type, headers, body } => {
                let (content_type, headers, body) = (&content_type, &headers, &body);
                let answer = Answer { status, content_type, headers, body };
                self.respond(peer, status, |out| answer.write(is_head, out));
                false
            }
            Decision::Accept { session, protocol, spoken, headers } => {
                if let Err(refusal) = handshake::check_upgrade(&request) {
                    // The handler has returned a session, so its `close` has to be called.
                    let handler = &mut self.handler;
                    let called = guard(|| handler.close(session, Close::lost()));
                    self.counters().handler_panics.add(u64::from(called == Called::Panicked));
                    self.refuse_request(peer, is_head, refusal);
                    return false;
                }
                self.accept(peer, &request, Acceptance { session, protocol, spoken, headers })
            }
        }
    }

    /// Answers 101 and opens the connection. Returns whether messages follow.
    fn accept(
        &mut self,
        peer: &mut Peer<'_, H::Session>,
        request: &protocol::Request<'_>,
        acceptance: Acceptance<H::Session>,
    ) -> bool {
        let Acceptance { session, protocol, spoken, headers } = acceptance;
        let protocol = protocol.and_then(|offered| request.protocols().nth(offered));
        if protocol.is_none() && !spoken.is_empty() {
            self.note_unspoken(request, spoken);
        }
        let Engine { core, counters, handler, .. } = self;
        let counters = &counters[core.id.index()];
        let deflate = agree_on_compression(peer.slot(), core, counters, request);
        peer.state.outbound.write(&mut core.pool, |out| {
            handshake::write_accept(out, request, protocol, &headers, deflate);
        });
        peer.inbound.open(deflate);
        let route = route_of(handler, &session);
        peer.session = Some(session);
        peer.state.is_local = is_from_here(request, peer.state.peer.get());
        peer.state.target = request.path_and_query().into();
        counters.handshakes.add(1);
        counters.statuses.add(101);
        counters.sessions.add(1);
        let Some(route) = route else {
            self.fail(peer, CloseCause::HandlerPanicked);
            return false;
        };
        counters.routes.begin(route);
        self.call(peer, |handler, conn| handler.open(conn));
        self.set_deadline(peer);
        peer.phase == Phase::Open
    }

    /// A client that offers subprotocols gets none: it may hang up over that without a reason.
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
    pub fn refuse(&mut self, peer: &mut Peer<'_, H::Session>, refusal: Refusal) {
        self.refuse_request(peer, false, refusal);
    }

    /// Refuses the request: response, linger, close.
    fn refuse_request(&mut self, peer: &mut Peer<'_, H::Session>, is_head: bool, refusal: Refusal) {
        match refusal {
            Refusal::HeadTooLarge => self.hit(const { Limits::index_of("head_bytes_max") }),
            Refusal::TooManyFields => self.hit(const { Limits::index_of("head_fields_max") }),
            _ => {}
        }
        self.respond(peer, refusal.status(), |out| refusal.write(is_head, out));
    }

    fn respond(
        &mut self,
        peer: &mut Peer<'_, H::Session>,
        status: u16,
        write: impl FnOnce(&mut Vec<u8>),
    ) {
        self.counters().refusals.add(1);
        self.counters().statuses.add(status);
        peer.state.outbound.write(&mut self.core.pool, write);
        peer.state.outbound.end();
        self.flush_and_end(peer);
    }
}
