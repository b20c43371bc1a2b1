//! The state of a simulated kernel: pipes, rings and their sockets, and the operations that are
//! to complete.
//!
//! It checks what a shard promises its driver and panics when the shard breaks it: an
//! operation is armed once, a socket is closed with nothing in flight on it, a buffer is
//! released once.

use super::buffer::SimBuffer;
use super::faults::Faults;
use super::pipe::Pipe;
use crate::base::{Random, Time};
use crate::driver::event::{Event, Interest, ReceiveEnd};
use crate::driver::setup::Setup;
use crate::driver::token::{Socket, Token};
use rustix::io::Errno;
use std::cell::RefCell;
use std::collections::{BTreeSet, VecDeque};
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// The state that a world, its rings and its clients share.
pub(super) type Shared = Rc<RefCell<State>>;

#[derive(Debug)]
pub(super) struct State {
    pub(super) now: Time,
    /// The wall clock in milliseconds since 1970 at `Time::ZERO`.
    pub(super) unix_ms: u64,
    pub(super) random: Random,
    pub(super) faults: Faults,
    pub(super) pipes: Vec<Pipe>,
    pub(super) rings: Vec<Ring>,
    /// Bytes that a socket takes before its client reads.
    pub(super) socket_bytes_max: usize,
}

#[derive(Debug)]
pub(super) struct Ring {
    pub(super) setup: Setup,
    pub(super) sockets: Vec<Option<Open>>,
    pub(super) backlog: VecDeque<usize>,
    /// Accepts in flight, by listener.
    pub(super) accepts: VecDeque<u32>,
    pub(super) stops_listening: bool,
    /// Numbers of the buffers that the shard holds.
    pub(super) lent: BTreeSet<u32>,
    pub(super) next_buffer: u32,
    pub(super) woken: Arc<AtomicBool>,
    /// When the wait of the last turn ends; a time that has passed if it does not wait.
    pub(super) waits_until: Time,
}

#[derive(Debug)]
pub(super) struct Open {
    pipe: usize,
    pub(super) receive: Option<Armed>,
    pub(super) polls: [Option<Armed>; 2],
    pub(super) shutdown: Option<Token>,
    pub(super) close: Option<Token>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Armed {
    pub(super) token: Token,
    pub(super) stopping: bool,
}

impl Armed {
    pub(super) fn new(token: Token) -> Option<Armed> {
        Some(Armed { token, stopping: false })
    }
}

impl Ring {
    pub(super) fn new(setup: Setup) -> Ring {
        Ring {
            setup,
            sockets: Vec::new(),
            backlog: VecDeque::new(),
            accepts: VecDeque::new(),
            stops_listening: false,
            lent: BTreeSet::new(),
            next_buffer: 0,
            woken: Arc::new(AtomicBool::new(false)),
            waits_until: Time::ZERO,
        }
    }

    pub(super) fn open(&mut self, socket: Socket) -> &mut Open {
        let open = self.sockets.get_mut(socket.0 as usize).and_then(Option::as_mut);
        let open = open.expect("an operation on a socket that is closed");
        assert!(open.close.is_none(), "an operation on a socket that is being closed");
        open
    }

    pub(super) fn by_token(
        &mut self,
        token: Token,
        of: impl Fn(&mut Open) -> &mut Option<Armed>,
    ) -> Option<&mut Armed> {
        let armed = self.sockets.iter_mut().flatten().filter_map(|open| of(open).as_mut());
        armed.into_iter().find(|armed| armed.token == token)
    }

    pub(super) fn has_completion(&self, pipes: &[Pipe], socket_bytes_max: usize) -> bool {
        let accepts = !self.accepts.is_empty();
        (accepts && (!self.backlog.is_empty() || self.stops_listening))
            || self.sockets.iter().flatten().any(|open| {
                let pipe = &pipes[open.pipe];
                open.close.is_some()
                    || open.shutdown.is_some()
                    || open.receive.is_some_and(|armed| armed.stopping || pipe.is_readable())
                    || open.polls[0].is_some_and(|armed| armed.stopping || pipe.is_readable())
                    || open.polls[1]
                        .is_some_and(|armed| armed.stopping || pipe.room(socket_bytes_max) > 0)
            })
    }
}

impl State {
    pub(super) fn new(seed: u64, faults: Faults, socket_bytes_max: usize) -> State {
        State {
            now: Time::ZERO,
            unix_ms: 0,
            random: Random::new(seed),
            faults,
            pipes: Vec::new(),
            rings: Vec::new(),
            socket_bytes_max,
        }
    }

    /// Sends, without waiting.
    pub(super) fn send(
        &mut self,
        ring: usize,
        socket: Socket,
        bytes: &mut dyn Iterator<Item = u8>,
        len: usize,
    ) -> Result<usize, Errno> {
        let pipe = self.rings[ring].open(socket).pipe;
        let breaks = self.random.chance(self.faults.reset);
        let pipe = &mut self.pipes[pipe];
        if breaks {
            pipe.broken = true;
            pipe.to_client.clear();
        }
        if pipe.broken {
            return Err(Errno::CONNRESET);
        }
        assert!(!pipe.server_ended || len == 0, "a send behind the end of the stream");
        let mut room = pipe.room(self.socket_bytes_max).min(len);
        if room == 0 {
            return if len == 0 { Ok(0) } else { Err(Errno::AGAIN) };
        }
        if self.random.chance(self.faults.partial) {
            room = 1 + self.random.below(room as u64) as usize;
        }
        pipe.to_client.extend(bytes.take(room));
        Ok(room)
    }

    pub(super) fn receive(
        &mut self,
        ring: usize,
        socket: Socket,
        bytes: &mut [u8],
    ) -> Result<usize, Errno> {
        let pipe = self.rings[ring].open(socket).pipe;
        let pipe = &mut self.pipes[pipe];
        if pipe.broken {
            return Err(Errno::CONNRESET);
        }
        if pipe.to_server.is_empty() {
            return if pipe.client_ended { Ok(0) } else { Err(Errno::AGAIN) };
        }
        let mut count = pipe.to_server.len().min(bytes.len());
        if self.random.chance(self.faults.partial) {
            count = 1 + self.random.below(count as u64) as usize;
        }
        for (place, byte) in bytes.iter_mut().zip(pipe.to_server.drain(..count)) {
            *place = byte;
        }
        Ok(count)
    }

    /// Completions of one socket.
    pub(super) fn complete(
        &mut self,
        ring: usize,
        socket: usize,
        events: &mut Vec<Event<SimBuffer>>,
    ) {
        let faults = self.faults;
        if self.random.chance(faults.delay) {
            return;
        }
        let Some(open) = &mut self.rings[ring].sockets[socket] else { return };
        if let Some(token) = open.close {
            let pipe = open.pipe;
            self.pipes[pipe].server_closed = true;
            self.rings[ring].sockets[socket] = None;
            return events.push(Event::Closed { token });
        }
        // A kernel thread shuts the socket at some later time.
        if !self.random.chance(faults.delay)
            && let Some(token) = open.shutdown.take()
        {
            self.pipes[open.pipe].server_ended = true;
            events.push(Event::ShutDown { token });
        }
        let pipe = &self.pipes[open.pipe];
        for (place, interest) in [(0, Interest::Readable), (1, Interest::Writable)] {
            let ready = match interest {
                Interest::Readable => pipe.is_readable(),
                Interest::Writable => pipe.room(self.socket_bytes_max) > 0,
            };
            if let Some(armed) = open.polls[place]
                && (ready || (armed.stopping && !self.random.chance(faults.late_cancel)))
            {
                open.polls[place] = None;
                events.push(Event::Polled { token: armed.token, interest });
            }
        }
        self.complete_receive(ring, socket, events);
    }

    fn complete_receive(&mut self, ring: usize, socket: usize, events: &mut Vec<Event<SimBuffer>>) {
        let faults = self.faults;
        let this = &mut self.rings[ring];
        let Some(open) = &mut this.sockets[socket] else { return };
        let Some(Armed { token, stopping }) = open.receive else { return };
        let pipe = &mut self.pipes[open.pipe];
        let late = self.random.chance(faults.late_cancel);
        let end = if stopping && !late {
            Some(ReceiveEnd::Stopped)
        } else if pipe.broken {
            Some(ReceiveEnd::Broken(Errno::CONNRESET))
        } else if !pipe.to_server.is_empty() {
            let free = this.lent.len() < usize::from(this.setup.receive_buffers);
            if !free || self.random.chance(faults.no_buffers) {
                Some(ReceiveEnd::NoBuffers)
            } else {
                let mut count = pipe.to_server.len().min(this.setup.receive_buffer_bytes);
                if self.random.chance(faults.partial) {
                    count = 1 + self.random.below(count as u64) as usize;
                }
                let bytes = pipe.to_server.drain(..count).collect();
                let number = this.next_buffer;
                this.next_buffer += 1;
                this.lent.insert(number);
                events.push(Event::Received { token, buffer: SimBuffer { bytes, number } });
                self.random.chance(faults.expired).then_some(ReceiveEnd::Expired)
            }
        } else {
            pipe.client_ended.then_some(ReceiveEnd::EndOfStream)
        };
        if let Some(end) = end {
            open.receive = None;
            events.push(Event::ReceiveEnded { token, end });
        }
    }

    pub(super) fn complete_accepts(&mut self, ring: usize, events: &mut Vec<Event<SimBuffer>>) {
        let this = &mut self.rings[ring];
        while let Some(&listener) = this.accepts.front() {
            if this.stops_listening {
                events.push(Event::AcceptFailed { listener, error: Errno::CANCELED });
            } else if this.backlog.is_empty() {
                return;
            } else if self.random.chance(self.faults.accept) {
                events.push(Event::AcceptFailed { listener, error: Errno::NFILE });
            } else {
                let pipe = this.backlog.pop_front().expect("just looked");
                let open =
                    Open { pipe, receive: None, polls: [None; 2], shutdown: None, close: None };
                let free = this.sockets.iter().position(Option::is_none);
                let index = free.unwrap_or_else(|| {
                    this.sockets.push(None);
                    this.sockets.len() - 1
                });
                assert!(index < this.setup.sockets_max as usize, "the table of sockets is full");
                this.sockets[index] = Some(open);
                let peer = SocketAddr::from((Ipv4Addr::LOCALHOST, 1024 + (pipe % 60_000) as u16));
                let peer = Some(peer);
                events.push(Event::Accepted { listener, socket: Socket(index as u32), peer });
            }
            this.accepts.pop_front();
        }
    }
}
