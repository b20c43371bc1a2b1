//! Connections that open: the socket, the connect, the handshake.

use super::peer::State;
use super::state::{OPENING_MAX, Worker};
use crate::plan::{Target, fill_in};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};
use std::cmp::Reverse;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use tapecast::base::{Time, entropy};
use tapecast::connection::client::Client;
use tapecast::connection::{Channel, SERVER_HANDSHAKE_BYTES_MAX};
use tapecast::protocol::Opcode;
use tapecast::protocol::handshake::Offer;

impl Worker<'_> {
    /// Opens the connections whose time has come, gives up those that take too long, and lets
    /// stalled readers resume.
    pub(super) fn tend(&mut self, now: Time) {
        while let Some(&Reverse((when, connection))) = self.agenda.openings.peek()
            && when <= now
            && (self.is_loaded || self.census.opening < OPENING_MAX)
        {
            self.agenda.openings.pop();
            let share = &mut self.shares[usize::from(self.peers[connection as usize].group)];
            if share.connects() {
                // Others may be planned before it: it waits for its turn.
                share.absent.push(connection);
            } else {
                self.open(connection, when, now);
            }
        }
        self.expire(now);
        self.resume_due(now);
    }

    /// Gives up connections that take too long to open or to close.
    fn expire(&mut self, now: Time) {
        while let Some(&Reverse((when, connection, generation))) = self.agenda.deadlines.peek()
            && when <= now
        {
            self.agenda.deadlines.pop();
            let peer = &self.peers[connection as usize];
            if peer.generation != generation {
                continue;
            }
            match peer.state {
                State::Connecting => self.fail(connection, "connect: timeout", String::new()),
                State::ShakingHands => self.fail(connection, "handshake: timeout", String::new()),
                State::Leaving => self.give_up(connection),
                _ => {}
            }
        }
    }

    /// Begins to connect. The opening was planned for `planned`.
    pub(super) fn open(&mut self, connection: u32, planned: Time, now: Time) {
        let number = self.number(&self.peers[connection as usize]);
        let peer = &mut self.peers[connection as usize];
        let share = &self.shares[usize::from(peer.group)];
        peer.generation += 1;
        peer.planned = planned;
        (peer.is_done, peer.is_stalled, peer.is_broken) = (false, false, false);
        peer.state = State::Connecting;
        self.census.opening += 1;
        let opening = &share.group.opening;
        let target = &opening.targets[number as usize % opening.targets.len()];
        let source = match opening.sources.len() {
            0 => None,
            count => Some(opening.sources[number as usize % count]),
        };
        let deadline = now + opening.handshake_timeout;
        self.agenda.deadlines.push(Reverse((deadline, connection, peer.generation)));
        let adopted = socket(target, source).and_then(|socket| self.wire.ring.adopt(socket));
        match adopted {
            Ok(socket) => {
                peer.socket = Some(socket);
                self.wire.poll(connection, peer);
            }
            Err(error) => {
                let error = std::io::Error::from(error);
                self.fail(connection, &format!("connect: {}", error.kind()), error.to_string());
            }
        }
    }

    /// The kernel has connected, or has failed to: the first receive shows which. It is armed
    /// together with the request, so that no turn passes between them.
    pub(super) fn connected(&mut self, connection: u32, now: Time) {
        let number = self.number(&self.peers[connection as usize]);
        let peer = &mut self.peers[connection as usize];
        let share = &self.shares[usize::from(peer.group)];
        let opening = &share.group.opening;
        let url = &opening.targets[number as usize % opening.targets.len()].url;
        let room = share.group.rooms.of(number);
        let path = opening.path.as_ref().map(|path| fill_in(path, room, number));
        let offer = Offer {
            protocols: &opening.subprotocols,
            headers: &opening.headers,
            deflate: opening.deflate,
            ..Offer::new(url.host(), path.as_deref().unwrap_or_else(|| url.target()))
        };
        peer.out.clear();
        peer.sent = 0;
        let client = Client::start(&mut peer.out, &offer, entropy::bytes());
        peer.client = Some(client.message_bytes_max(opening.message_bytes_max));
        peer.state = State::ShakingHands;
        self.wire.receive(connection, peer);
        if url.is_secure()
            && let Some(connector) = &share.connector
        {
            let session = connector.connect(url.name()).expect("a resolved host is a valid name");
            peer.channel = Some(Box::new(Channel::new(session, SERVER_HANDSHAKE_BYTES_MAX)));
            // In TLS the client speaks first.
            return self.decrypt(connection, &mut [], now);
        }
        self.queue(connection);
    }

    /// The server has accepted the handshake.
    pub(super) fn opened(&mut self, connection: u32, now: Time) {
        let number = self.number(&self.peers[connection as usize]);
        let peer = &mut self.peers[connection as usize];
        let share = &mut self.shares[usize::from(peer.group)];
        peer.state = State::Open;
        if peer.unsent_bytes() == 0 {
            // Messages are shorter than the request: its buffer is not kept.
            (peer.out, peer.sent) = (Vec::new(), 0);
        }
        self.census.opening -= 1;
        self.census.open += 1;
        self.shared.opened(1);
        if !self.is_loaded && peer.generation == 1 {
            self.census.unsettled -= 1;
        }
        let counted = &mut share.counted;
        counted.opened += 1;
        counted.handshake.saturating_record((now - peer.planned).as_nanos() as u64);
        share.traffic.opened(peer.index as usize, peer.planned, now, counted);
        if let Some(client) = &mut peer.client {
            if let Some(greeting) = share.traffic.greeting(peer.index as usize) {
                client.frame(&mut peer.out, Opcode::Text, true, greeting.as_bytes());
            }
            for message in &share.group.opening.on_open {
                let text = fill_in(message, share.group.rooms.of(number), number);
                client.frame(&mut peer.out, Opcode::Text, true, text.as_bytes());
            }
        }
        if share.connects() {
            share.in_flight -= u32::from(share.group.replies == 0);
        }
        self.queue(connection);
        if self.is_loaded {
            self.agenda.due.push(connection);
        }
    }
}

/// A socket that is connecting.
fn socket(target: &Target, source: Option<IpAddr>) -> Result<OwnedFd, Errno> {
    let address = target.address;
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
    sockopt::set_tcp_nodelay(&socket, true)?;
    if let Some(source) = source {
        rustix::net::bind(&socket, &SocketAddr::new(source, 0))?;
    }
    match rustix::net::connect(&socket, &address) {
        Ok(()) | Err(Errno::INPROGRESS) => Ok(socket),
        Err(error) => Err(error),
    }
}
