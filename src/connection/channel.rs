//! A connection's TLS with its buffers, which are the pool's: the beginning of a record
//! that has not come whole, and what is encrypted and not yet sent. An idle connection
//! has neither.

use crate::base::BufferPool;
use crate::protocol::head;
use crate::tls::{RECORD_BYTES_MAX, Session, TlsError};
use std::fmt;

/// What may be encrypted before it is sent. What is encrypted has left its queue and its
/// tapes: neither a newer message nor a close can overtake it.
pub const SEALED_BYTES_MAX: usize = 64 << 10;
/// Header, type, tag and nonce of a record.
const OVERHEAD_BYTES: usize = 32;
const HEADER_BYTES: usize = 5;
/// RFC 8446, 5.2: a protected record is at most this much longer than its plaintext.
const EXPANSION_BYTES_MAX: usize = 2 << 10;
/// A message of the handshake may come in several records; the longest has certificates.
const KEPT_BYTES_MAX: usize = 96 << 10;

/// Why a connection's TLS has ended.
///
/// ```
/// use tapecast::connection::ChannelError;
///
/// assert_eq!(ChannelError::Plain.to_string(), "the peer does not speak TLS");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChannelError {
    /// The first byte is HTTP's.
    Plain,
    /// See there. What the peer is told of it is queued.
    Tls(TlsError),
    /// A handshake has too many bytes.
    TooLong,
}

impl fmt::Display for ChannelError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ChannelError::Plain => formatter.write_str("the peer does not speak TLS"),
            ChannelError::Tls(error) => error.fmt(formatter),
            ChannelError::TooLong => formatter.write_str("tls: the handshake is too long"),
        }
    }
}

impl std::error::Error for ChannelError {}

/// A connection's TLS.
///
/// ```
/// use tapecast::base::BufferPool;
/// use tapecast::connection::Channel;
/// use tapecast::tls::{Connector, Trust};
///
/// let mut pool = BufferPool::new(1 << 20);
/// let session = Connector::new(&Trust::Anybody, false)?.connect("localhost")?;
/// let mut channel = Channel::new(session);
/// // A client speaks first.
/// channel.receive(&mut pool, &mut [], &mut Vec::new()).expect("nothing can be wrong yet");
/// let hello = channel.queued_bytes();
/// assert!(hello > 100 && channel.is_handshaking());
/// // Once that has left, it holds no buffer.
/// channel.advance(&mut pool, hello);
/// assert_eq!(pool.lent(), 0);
/// # Ok::<(), tapecast::tls::CertificateError>(())
/// ```
#[derive(Debug)]
pub struct Channel {
    session: Session,
    /// What has come of a record, or of a message of the handshake, that is not whole.
    /// Without capacity while there is nothing.
    kept: Vec<u8>,
    /// What is encrypted. Without capacity while there is nothing.
    sealed: Vec<u8>,
    /// Bytes at the front of `sealed` that the kernel has: `sent <= sealed.len()`.
    sent: usize,
    /// Its handshake waits its turn, for whoever drives it to remember.
    pub waits: bool,
    /// Nothing was received yet.
    is_new: bool,
    /// Nothing is sealed any more: it was said that nothing follows, or that it is over.
    is_closed: bool,
    has_failed: bool,
}

/// What is missing at the end of some records.
#[derive(Debug, PartialEq, Eq)]
enum Missing {
    Header(usize),
    Body(usize),
}

fn missing(records: &[u8]) -> Missing {
    let mut rest = records;
    loop {
        let Some((header, behind)) = rest.split_first_chunk::<HEADER_BYTES>() else {
            return Missing::Header(HEADER_BYTES - rest.len());
        };
        let length = usize::from(u16::from_be_bytes([header[3], header[4]]));
        if length > RECORD_BYTES_MAX + EXPANSION_BYTES_MAX {
            // A fault, whatever follows.
            return Missing::Body(0);
        }
        match behind.split_at_checked(length) {
            Some((_, behind)) => rest = behind,
            None => return Missing::Body(length - behind.len()),
        }
    }
}

impl Channel {
    /// Nothing was received or sent.
    pub fn new(session: Session) -> Channel {
        Channel {
            session,
            kept: Vec::new(),
            sealed: Vec::new(),
            sent: 0,
            waits: false,
            is_new: true,
            is_closed: false,
            has_failed: false,
        }
    }

    /// The session.
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// Whether nothing can be sealed yet.
    #[inline]
    pub fn is_handshaking(&self) -> bool {
        self.session.is_handshaking()
    }

    /// Takes bytes as they came, and appends to `plain` what they say. Says whether the
    /// peer has said that it sends nothing more.
    ///
    /// # Errors
    /// It has ended; what was said before is in `plain`.
    pub fn receive(
        &mut self,
        pool: &mut BufferPool,
        mut bytes: &mut [u8],
        plain: &mut Vec<u8>,
    ) -> Result<bool, ChannelError> {
        if let Some(&first) = bytes.first()
            && std::mem::take(&mut self.is_new)
            && head::can_begin(first)
        {
            self.is_closed = true;
            return Err(ChannelError::Plain);
        }
        while !self.kept.is_empty() {
            let missing = missing(&self.kept);
            let (Missing::Header(wanted) | Missing::Body(wanted)) = missing;
            let (piece, rest) = bytes.split_at_mut(wanted.min(bytes.len()));
            self.keep(pool, piece)?;
            if piece.len() < wanted {
                return Ok(false);
            }
            bytes = rest;
            if matches!(missing, Missing::Header(_)) {
                continue;
            }
            let mut kept = std::mem::take(&mut self.kept);
            let received = self.open(pool, &mut kept, plain);
            if let Ok((taken, false)) = received {
                kept.drain(..taken);
                self.kept = kept;
                self.put_back_kept(pool);
                continue;
            }
            pool.put(kept);
            return received.map(|(_, is_closed)| is_closed);
        }
        let (taken, is_closed) = self.open(pool, bytes, plain)?;
        if !is_closed && taken < bytes.len() {
            self.keep(pool, &bytes[taken..])?;
        }
        Ok(is_closed)
    }

    /// Has the session take records; says how many bytes it is done with, and whether
    /// nothing follows.
    fn open(
        &mut self,
        pool: &mut BufferPool,
        records: &mut [u8],
        plain: &mut Vec<u8>,
    ) -> Result<(usize, bool), ChannelError> {
        if self.sealed.capacity() == 0 {
            self.sealed = pool.take();
        }
        let received = self.session.receive(records, plain, &mut self.sealed);
        self.put_back_sealed(pool);
        match received {
            Ok(received) => Ok((received.taken, received.is_closed)),
            Err(error) => {
                self.is_closed = true;
                Err(ChannelError::Tls(error))
            }
        }
    }

    /// Keeps bytes as they came, for [`Channel::receive_kept`].
    ///
    /// # Errors
    /// They are too many.
    pub fn keep(&mut self, pool: &mut BufferPool, bytes: &[u8]) -> Result<(), ChannelError> {
        if self.kept.len() + bytes.len() > KEPT_BYTES_MAX {
            self.is_closed = true;
            return Err(ChannelError::TooLong);
        }
        if self.kept.capacity() == 0 {
            self.kept = pool.take();
        }
        self.kept.extend_from_slice(bytes);
        Ok(())
    }

    /// Takes what was kept, as if it came now.
    ///
    /// # Errors
    /// As [`Channel::receive`].
    pub fn receive_kept(
        &mut self,
        pool: &mut BufferPool,
        plain: &mut Vec<u8>,
    ) -> Result<bool, ChannelError> {
        let mut kept = std::mem::take(&mut self.kept);
        if kept.capacity() == 0 {
            return Ok(false);
        }
        let received = self.receive(pool, &mut kept, plain);
        pool.put(kept);
        received
    }

    /// Bytes that may be sealed now.
    pub fn room(&self) -> usize {
        if self.is_closed || self.is_handshaking() {
            return 0;
        }
        let records = SEALED_BYTES_MAX / RECORD_BYTES_MAX;
        (SEALED_BYTES_MAX - records * OVERHEAD_BYTES).saturating_sub(self.queued_bytes())
    }

    /// Queues `plain`, encrypted.
    pub fn seal(&mut self, pool: &mut BufferPool, plain: &[u8]) {
        if plain.is_empty() || self.is_closed {
            return;
        }
        if self.sealed.capacity() == 0 {
            let bytes = plain.len() + (plain.len() / RECORD_BYTES_MAX + 1) * OVERHEAD_BYTES;
            self.sealed = pool.take_for(bytes, bytes);
        }
        if self.session.encrypt(&mut self.kept, plain, &mut self.sealed).is_err() {
            // Its keys are used up, and what would renew them is of TLS 1.3.
            self.has_failed = true;
            self.is_closed = true;
        }
    }

    /// Says that nothing follows, if there is anybody to say it to.
    pub fn close(&mut self, pool: &mut BufferPool) {
        if std::mem::replace(&mut self.is_closed, true) || self.is_handshaking() {
            return;
        }
        if self.sealed.capacity() == 0 {
            self.sealed = pool.take();
        }
        self.has_failed |= self.session.close(&mut self.kept, &mut self.sealed).is_err();
        self.put_back_sealed(pool);
    }

    /// Whether nothing can be sealed any more.
    pub fn is_closed(&self) -> bool {
        self.is_closed
    }

    /// Whether something could not be encrypted: the connection is of no more use.
    pub fn has_failed(&self) -> bool {
        self.has_failed
    }

    /// What is to be sent.
    #[inline]
    pub fn queued(&self) -> &[u8] {
        &self.sealed[self.sent..]
    }

    /// How much is to be sent.
    #[inline]
    pub fn queued_bytes(&self) -> usize {
        self.sealed.len() - self.sent
    }

    /// The kernel took `bytes` bytes. The buffer goes back when it has all.
    #[inline]
    pub fn advance(&mut self, pool: &mut BufferPool, bytes: usize) {
        self.sent += bytes;
        debug_assert!(self.sent <= self.sealed.len());
        self.put_back_sealed(pool);
    }

    fn put_back_sealed(&mut self, pool: &mut BufferPool) {
        if self.sent == self.sealed.len() && self.sealed.capacity() > 0 {
            self.sent = 0;
            pool.put(std::mem::take(&mut self.sealed));
        }
    }

    fn put_back_kept(&mut self, pool: &mut BufferPool) {
        if self.kept.is_empty() && self.kept.capacity() > 0 {
            pool.put(std::mem::take(&mut self.kept));
        }
    }

    /// How many buffers of the pool it has.
    #[cfg(test)]
    pub fn buffers(&self) -> usize {
        usize::from(self.kept.capacity() > 0) + usize::from(self.sealed.capacity() > 0)
    }

    /// Drops what is queued and kept and gives the buffers back.
    pub fn release(&mut self, pool: &mut BufferPool) {
        self.kept.clear();
        self.put_back_kept(pool);
        self.sent = self.sealed.len();
        self.put_back_sealed(pool);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_of_records() {
        assert_eq!(missing(&[]), Missing::Header(5));
        assert_eq!(missing(&[22, 3, 3]), Missing::Header(2));
        assert_eq!(missing(&[22, 3, 3, 0, 2]), Missing::Body(2));
        assert_eq!(missing(&[22, 3, 3, 0, 2, 0]), Missing::Body(1));
        assert_eq!(missing(&[22, 3, 3, 0, 2, 0, 0]), Missing::Header(5));
        assert_eq!(missing(&[22, 3, 3, 0, 1, 0, 22]), Missing::Header(4));
        assert_eq!(missing(&[22, 3, 3, 255, 255]), Missing::Body(0));
    }
}
