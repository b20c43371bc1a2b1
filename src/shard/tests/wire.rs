//! A client's end of a simulated socket, with TLS between or without.

use crate::base::BufferPool;
use crate::connection::{Channel, SERVER_HANDSHAKE_BYTES_MAX};
use crate::driver::sim::SimClient;
use crate::tls::Session;

pub struct Wire {
    socket: SimClient,
    channel: Option<Channel>,
    pool: BufferPool,
    /// Bytes to send once they can be encrypted.
    early: Vec<u8>,
    ends: bool,
}

impl Wire {
    pub fn new(socket: SimClient, session: Option<Session>) -> Wire {
        let channel = session.map(|session| Channel::new(session, SERVER_HANDSHAKE_BYTES_MAX));
        let pool = BufferPool::new(1 << 20);
        let mut wire = Wire { socket, channel, pool, early: Vec::new(), ends: false };
        // A client's hello.
        wire.take(&mut []);
        wire
    }

    pub fn write(&mut self, bytes: &[u8]) {
        match self.channel {
            None => self.socket.write(bytes),
            Some(_) => {
                self.early.extend_from_slice(bytes);
                self.flush();
            }
        }
    }

    /// Reads at most `bytes` bytes of the socket. Returns the plain bytes, and whether the
    /// socket had any.
    pub fn read(&mut self, bytes: usize) -> (Vec<u8>, bool) {
        let mut bytes = self.socket.read(bytes);
        let found = !bytes.is_empty();
        match self.channel {
            None => (bytes, found),
            Some(_) => (self.take(&mut bytes), found),
        }
    }

    fn take(&mut self, bytes: &mut [u8]) -> Vec<u8> {
        let mut plain = Vec::new();
        if let Some(channel) = &mut self.channel {
            let received = channel.receive(&mut self.pool, bytes, &mut plain);
            received.expect("the server speaks TLS");
        }
        self.flush();
        plain
    }

    fn flush(&mut self) {
        let Some(channel) = &mut self.channel else { return };
        if !channel.is_handshaking() {
            channel.seal(&mut self.pool, &self.early);
            self.early.clear();
            if self.ends {
                channel.close(&mut self.pool);
            }
        }
        self.socket.write(channel.queued());
        channel.advance(&mut self.pool, channel.queued_bytes());
    }

    pub fn end(&mut self) {
        self.ends = true;
        self.flush();
        self.socket.end();
    }

    pub fn reset(&mut self) {
        self.socket.reset();
    }

    pub fn is_ended(&self) -> bool {
        self.socket.is_ended()
    }

    pub fn is_broken(&self) -> bool {
        self.socket.is_broken()
    }
}
