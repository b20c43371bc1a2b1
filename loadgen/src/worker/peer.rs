//! One connection, without its traffic.

use tapecast::base::{BufferPool, Time};
use tapecast::connection::Channel;
use tapecast::connection::client::Client;
use tapecast::driver::Socket;

/// How far a connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// There is none.
    Absent,
    /// The kernel connects.
    Connecting,
    /// The request is on its way, or the response.
    ShakingHands,
    Open,
    /// A close frame was sent, by either side first: the end of the stream is next.
    Leaving,
    /// Given up: its operations end, then its socket is closed.
    Ending,
}

/// A connection, or the place of one: it may be made again and again.
#[derive(Debug)]
pub struct Peer {
    pub state: State,
    pub group: u16,
    /// Its number within the group and thread.
    pub index: u32,
    /// Counts how often it was made.
    pub generation: u32,
    pub socket: Option<Socket>,
    pub client: Option<Client>,
    /// TLS, if the server speaks it.
    pub channel: Option<Box<Channel>>,
    /// Bytes to send, and how many of them the kernel has.
    pub out: Vec<u8>,
    pub sent: usize,
    pub is_queued: bool,
    pub is_receiving: bool,
    pub is_polling: bool,
    /// It is one that stops reading.
    pub stalls: bool,
    /// It does so now.
    pub is_stalled: bool,
    /// It has done what it came for, and if it comes again it does so at once.
    pub is_done: bool,
    /// The server has broken the protocol: nothing more of it is read.
    pub is_broken: bool,
    /// When it was to be made.
    pub planned: Time,
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
            is_queued: false,
            is_receiving: false,
            is_polling: false,
            stalls,
            is_stalled: false,
            is_done: false,
            is_broken: false,
            planned: Time::ZERO,
        }
    }

    /// Bytes that wait to be taken by the kernel.
    pub fn unsent_bytes(&self) -> usize {
        let sealed = self.channel.as_ref().map_or(0, |channel| channel.queued_bytes());
        self.out.len() - self.sent + sealed
    }

    /// Whether the kernel can be handed something now: before TLS has begun, nothing that
    /// is to go through it.
    pub fn can_send(&self) -> bool {
        match &self.channel {
            None => self.sent < self.out.len(),
            Some(channel) => {
                channel.queued_bytes() > 0 || (self.sent < self.out.len() && channel.room() > 0)
            }
        }
    }

    /// Encrypts what is to be sent, if it has to be.
    pub fn seal(&mut self, pool: &mut BufferPool) {
        let Some(channel) = &mut self.channel else { return };
        let plain = &self.out[self.sent..];
        let bytes = plain.len().min(channel.room());
        channel.seal(pool, &plain[..bytes]);
        self.advance(bytes);
    }

    /// What the kernel is handed.
    pub fn wire(&self) -> &[u8] {
        match &self.channel {
            None => &self.out[self.sent..],
            Some(channel) => channel.queued(),
        }
    }

    /// The kernel took so many bytes of that.
    pub fn took(&mut self, pool: &mut BufferPool, bytes: usize) {
        match &mut self.channel {
            None => self.advance(bytes),
            Some(channel) => channel.advance(pool, bytes),
        }
    }

    fn advance(&mut self, bytes: usize) {
        /// Larger buffers are not kept for the next message.
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
