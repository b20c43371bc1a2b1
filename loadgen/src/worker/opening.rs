//! Connections that begin: the socket, the connect, the handshake.

use super::*;
use crate::profile::values::Url;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use tapecast::base::entropy;
use tapecast::connection::client::Client;
use tapecast::connection::{Channel, SERVER_HANDSHAKE_BYTES_MAX};
use tapecast::protocol::deflate::Offered;
use tapecast::protocol::handshake::Offer;

impl Worker<'_> {
    /// Makes the connections whose time has come, gives up those that take too long,
    /// and has stalled readers read again.
    pub(super) fn tend(&mut self, now: Time) {
        while let Some(&Reverse((when, connection))) = self.openings.peek()
            && when <= now
            && (self.is_loaded || self.opening < OPENING_MAX)
        {
            self.openings.pop();
            let share = &mut self.shares[usize::from(self.peers[connection as usize].group)];
            match share.connects() {
                // Others may be planned: it waits for its turn.
                true => share.absent.push(connection),
                false => self.open(connection, when, now),
            }
        }
        while let Some(&Reverse((when, connection, generation))) = self.deadlines.peek()
            && when <= now
        {
            self.deadlines.pop();
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
        for group in 0..self.shares.len() {
            if self.shares[group].stall_ends.is_some_and(|end| end <= now) {
                self.resume(group);
            }
        }
    }

    /// Begins to connect. It was planned for `planned`.
    pub(super) fn open(&mut self, connection: u32, planned: Time, now: Time) {
        let number = self.number(&self.peers[connection as usize]);
        let peer = &mut self.peers[connection as usize];
        let share = &self.shares[usize::from(peer.group)];
        peer.generation += 1;
        peer.planned = planned;
        (peer.is_done, peer.is_stalled, peer.is_broken) = (false, false, false);
        peer.state = State::Connecting;
        self.opening += 1;
        let url = &share.group.urls[number as usize % share.group.urls.len()];
        let source = match share.sources.len() {
            0 => None,
            count => Some(share.sources[number as usize % count]),
        };
        let deadline = now + share.group.handshake_timeout;
        self.deadlines.push(Reverse((deadline, connection, peer.generation)));
        let adopted = socket(url, source).and_then(|socket| self.ring.adopt(socket));
        match adopted {
            Ok(socket) => {
                peer.socket = Some(socket);
                poll(&mut self.ring, connection, peer);
            }
            Err(error) => {
                let error = std::io::Error::from(error);
                self.fail(connection, &format!("connect: {}", error.kind()), error.to_string());
            }
        }
    }

    /// The kernel has connected, or has not: the first receive will tell. It is armed
    /// with the request, so that no turn waits between them.
    pub(super) fn connected(&mut self, connection: u32, now: Time) {
        let number = self.number(&self.peers[connection as usize]);
        let peer = &mut self.peers[connection as usize];
        let share = &self.shares[usize::from(peer.group)];
        let group = share.group;
        let url = &group.urls[number as usize % group.urls.len()];
        let path = fill_in(&group.path, share.rooms.of(number), number);
        let offer = Offer {
            protocols: &group.subprotocols,
            headers: &group.headers,
            deflate: match (group.compression, group.compression_contexts) {
                (_, true) => Offered::Contexts,
                (true, false) => Offered::Alone,
                (false, false) => Offered::Nothing,
            },
            ..Offer::new(url.host(), if path.is_empty() { url.target() } else { &path })
        };
        peer.out.clear();
        peer.sent = 0;
        let client = Client::start(&mut peer.out, &offer, entropy::bytes());
        peer.client = Some(client.message_bytes_max(group.message_bytes_max));
        peer.state = State::ShakingHands;
        peer.is_receiving = true;
        self.ring.receive(peer.socket.expect("it is connected"), token(connection));
        if url.is_secure()
            && let Some(connector) = &share.connector
        {
            let name = url.name();
            let session = connector.connect(name).expect("what was resolved is a name");
            peer.channel = Some(Box::new(Channel::new(session, SERVER_HANDSHAKE_BYTES_MAX)));
            // A client speaks first.
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
            // Messages are shorter than the request, or there are none.
            (peer.out, peer.sent) = (Vec::new(), 0);
        }
        self.opening -= 1;
        self.open += 1;
        self.shared.opened(1);
        if !self.is_loaded && peer.generation == 1 {
            self.unsettled -= 1;
        }
        let counted = &mut share.counted;
        counted.opened += 1;
        counted.handshake.saturating_record((now - peer.planned).as_nanos() as u64);
        share.traffic.opened(peer.index as usize, peer.planned, now, counted);
        if let Some(client) = &mut peer.client {
            if let Some(greeting) = share.traffic.greeting(peer.index as usize) {
                client.frame(&mut peer.out, Opcode::Text, true, greeting.as_bytes());
            }
            for message in &share.group.on_open {
                let text = fill_in(message, share.rooms.of(number), number);
                client.frame(&mut peer.out, Opcode::Text, true, text.as_bytes());
            }
        }
        if share.connects() {
            share.under_way -= u32::from(share.group.messages == 0);
        }
        self.queue(connection);
        if self.is_loaded {
            self.due.push(connection);
        }
    }
}

/// A socket that is connecting.
fn socket(url: &Url, source: Option<IpAddr>) -> Result<OwnedFd, Errno> {
    let address = url.address();
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
