//! One connection, without its traffic.

use tapecast::base::Time;
use tapecast::connection::client::Client;
use tapecast::ring::Socket;

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
            out: Vec::new(),
            sent: 0,
            is_queued: false,
            is_receiving: false,
            is_polling: false,
            stalls,
            is_stalled: false,
            is_done: false,
            planned: Time::ZERO,
        }
    }

    /// What waits to be taken by the kernel.
    pub fn unsent(&self) -> &[u8] {
        &self.out[self.sent..]
    }

    /// The kernel took so many bytes.
    pub fn took(&mut self, bytes: usize) {
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
