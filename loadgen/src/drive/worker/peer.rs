//! One connection, without its traffic: its state, its client, and the bytes that wait to be
//! sent.

use tapecast::base::{BufferPool, Time};
use tapecast::connection::Channel;
use tapecast::connection::client::Client;
use tapecast::driver::Socket;

/// How far a connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// There is no connection in this place.
    Absent,
    /// The kernel connects.
    Connecting,
    /// The request or the response is in flight.
    ShakingHands,
    Open,
    /// Both sides have sent a close frame, or will: the end of the stream is next.
    Leaving,
    /// Given up: its operations end, then its socket is closed.
    Ending,
}

/// A connection, or the place of one: it may be opened again and again.
#[derive(Debug)]
pub struct Peer {
    pub state: State,
    pub group: u16,
    /// Its number within the group and thread.
    pub index: u32,
    /// How often it was opened.
    pub generation: u32,
    pub socket: Option<Socket>,
    pub client: Option<Client>,
    /// TLS, if the target uses it.
    pub channel: Option<Box<Channel>>,
    /// Bytes to send, and how many of them the kernel has taken.
    pub out: Vec<u8>,
    pub sent: usize,
    pub operations: Operations,
    /// It is a reader that stalls when measuring starts.
    pub stalls: bool,
    /// It is stalled now.
    pub is_stalled: bool,
    /// Its last reply has arrived.
    pub is_done: bool,
    /// The server has broken the protocol: nothing more of it is read.
    pub is_broken: bool,
    /// When it was planned to open.
    pub planned: Time,
}

/// The operations that the ring carries out for a connection.
#[derive(Clone, Copy, Debug, Default)]
pub struct Operations {
    /// It is in the list of connections with something to send.
    pub is_queued: bool,
    pub is_receiving: bool,
    pub is_polling: bool,
}

impl Peer {
    pub fn new(group: u16, index: u32, stalls: bool) -> Peer {
        Peer {
            state: State::Absent,
            group,
            index,
            generation: 0,
            socket: None,
            client: None,
            channel: None,
            out: Vec::new(),
            sent: 0,
            operations: Operations::default(),
            stalls,
            is_stalled: false,
            is_done: false,
            is_broken: false,
            planned: Time::ZERO,
        }
    }

    /// Bytes that the kernel has not taken.
    pub fn unsent_bytes(&self) -> usize {
        let sealed = self.channel.as_ref().map_or(0, |channel| channel.queued_bytes());
        self.out.len() - self.sent + sealed
    }

    /// Whether there is something to hand to the kernel now. TLS takes nothing before its own
    /// handshake is done.
    pub fn can_send(&self) -> bool {
        match &self.channel {
            None => self.sent < self.out.len(),
            Some(channel) => {
                channel.queued_bytes() > 0 || (self.sent < self.out.len() && channel.room() > 0)
            }
        }
    }

    /// Encrypts the bytes to send, if the connection uses TLS.
    pub fn seal(&mut self, pool: &mut BufferPool) {
        let Some(channel) = &mut self.channel else { return };
        let plain = &self.out[self.sent..];
        let bytes = plain.len().min(channel.room());
        channel.seal(pool, &plain[..bytes]);
        self.advance(bytes);
    }

    /// The bytes to hand to the kernel.
    pub fn wire(&self) -> &[u8] {
        match &self.channel {
            None => &self.out[self.sent..],
            Some(channel) => channel.queued(),
        }
    }

    /// The kernel took this many bytes of [`Peer::wire`].
    pub fn took(&mut self, pool: &mut BufferPool, bytes: usize) {
        match &mut self.channel {
            None => self.advance(bytes),
            Some(channel) => channel.advance(pool, bytes),
        }
    }

    fn advance(&mut self, bytes: usize) {
        /// A larger buffer is not kept for the next message.
        const KEPT_BYTES: usize = 64 << 10;
        self.sent += bytes;
        if self.sent == self.out.len() {
            self.out.clear();
            self.sent = 0;
            if self.out.capacity() > KEPT_BYTES {
                self.out = Vec::new();
            }
        }
    }
}
