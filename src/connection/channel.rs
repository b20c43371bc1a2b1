//! A connection's TLS with its buffers, which are the pool's: the beginning of a record
//! that has not come whole, and what is encrypted and not yet sent. An idle connection
//! has neither.

use crate::base::{BufferPool, Time};
use crate::protocol::head;
use crate::tls::{RECORD_BYTES_MAX, RECORD_OVERHEAD_BYTES, Session, TlsError};
use std::fmt;

/// What may be encrypted before it is sent. What is encrypted has left its queue and its
/// tapes: neither a newer message nor a close can overtake it.
pub const SEALED_BYTES_MAX: usize = 4 * RECORD_BYTES_MAX;
/// What a client keeps of a handshake, of which a server's certificates are the longest.
pub const SERVER_HANDSHAKE_BYTES_MAX: usize = 96 << 10;
const HEADER_BYTES: usize = 5;
/// RFC 8446, 5.2: a protected record is at most this much longer than its plaintext.
const EXPANSION_BYTES_MAX: usize = 2 << 10;

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
/// let mut channel = Channel::new(session, 96 << 10);
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
    /// Records that the session is not done with, and the beginning of one that is not
    /// whole. Without capacity while there is nothing.
    kept: Vec<u8>,
    /// Bytes of `kept` that the session has seen: whole records. It joins messages that
    /// come in pieces in there, so that what was a header may be one no more.
    seen: usize,
    /// What is encrypted. Without capacity while there is nothing.
    sealed: Vec<u8>,
    /// Bytes at the front of `sealed` that the kernel has: `sent <= sealed.len()`.
    sent: usize,
    /// How many bytes may be kept.
    kept_bytes_max: u32,
    /// Since when its handshake waits its turn, for whoever drives it to remember.
    pub waits_since: Option<Time>,
    /// Nothing was received yet.
    is_new: bool,
    /// Nothing is sealed any more: it was said that nothing follows, or that it is over.
    is_closed: bool,
    has_failed: bool,
}

/// How far whole records go, and how many bytes at least are missing of the next. One that
/// is too long to be one counts as whole: the session says what is wrong with it.
fn whole(records: &[u8]) -> (usize, usize) {
    let mut rest = records;
    loop {
        let end = records.len() - rest.len();
        let Some((header, behind)) = rest.split_first_chunk::<HEADER_BYTES>() else {
            return (end, HEADER_BYTES - rest.len());
        };
        let length = usize::from(u16::from_be_bytes([header[3], header[4]]));
        if length > RECORD_BYTES_MAX + EXPANSION_BYTES_MAX {
            return (records.len(), HEADER_BYTES);
        }
        match behind.split_at_checked(length) {
            Some((_, behind)) => rest = behind,
            None => return (end, length - behind.len()),
        }
    }
}

impl Channel {
    /// Nothing was received or sent. A message of the handshake may come in several records;
    /// `kept_bytes_max` bytes of what is not whole are kept at most, and one record always.
    pub fn new(session: Session, kept_bytes_max: usize) -> Channel {
        let record = HEADER_BYTES + RECORD_BYTES_MAX + EXPANSION_BYTES_MAX;
        let kept_bytes_max = kept_bytes_max.max(record).try_into().unwrap_or(u32::MAX);
        Channel {
            session,
            kept: Vec::new(),
            seen: 0,
            sealed: Vec::new(),
            sent: 0,
            kept_bytes_max,
            waits_since: None,
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
        self.look_at_first(self.kept.first().or(bytes.first()).copied())?;
        while !self.kept.is_empty() {
            let (end, wanted) = whole(&self.kept[self.seen..]);
            if end > 0 {
                if self.open_kept(pool, plain, end)? {
                    return Ok(true);
                }
                continue;
            }
            let (piece, rest) = bytes.split_at_mut(wanted.min(bytes.len()));
            self.keep(pool, piece)?;
            if piece.len() < wanted {
                return Ok(false);
            }
            bytes = rest;
        }
        let (end, _) = whole(bytes);
        let (taken, is_closed) = self.open(pool, &mut bytes[..end], plain)?;
        if !is_closed && taken < bytes.len() {
            self.keep(pool, &bytes[taken..])?;
            self.seen = end - taken;
        }
        Ok(is_closed)
    }

    /// Whether there is something to do once `bytes` have come to what is kept: a record is
    /// whole, or what comes is none.
    pub fn is_ready(&self, bytes: &[u8]) -> bool {
        let kept = &self.kept[self.seen..];
        let first = kept.first().or(bytes.first()).copied();
        if self.is_new && first.is_some_and(head::can_begin) {
            return true;
        }
        let mut header = [0; HEADER_BYTES];
        let from_kept = kept.len().min(HEADER_BYTES);
        let from_bytes = bytes.len().min(HEADER_BYTES - from_kept);
        header[..from_kept].copy_from_slice(&kept[..from_kept]);
        header[from_kept..from_kept + from_bytes].copy_from_slice(&bytes[..from_bytes]);
        let length = usize::from(u16::from_be_bytes([header[3], header[4]]));
        let is_whole = kept.len() + bytes.len() >= HEADER_BYTES + length;
        from_kept + from_bytes == HEADER_BYTES
            && (is_whole || length > RECORD_BYTES_MAX + EXPANSION_BYTES_MAX)
    }

    fn look_at_first(&mut self, first: Option<u8>) -> Result<(), ChannelError> {
        let Some(first) = first else { return Ok(()) };
        if std::mem::take(&mut self.is_new) && head::can_begin(first) {
            self.is_closed = true;
            return Err(ChannelError::Plain);
        }
        Ok(())
    }

    /// Has the session take `more` bytes of what is kept, whole records all of them. Says
    /// whether the peer has said that it sends nothing more.
    fn open_kept(
        &mut self,
        pool: &mut BufferPool,
        plain: &mut Vec<u8>,
        more: usize,
    ) -> Result<bool, ChannelError> {
        let mut kept = std::mem::take(&mut self.kept);
        let records = std::mem::take(&mut self.seen) + more;
        match self.open(pool, &mut kept[..records], plain) {
            Ok((taken, false)) => {
                kept.drain(..taken);
                (self.kept, self.seen) = (kept, records - taken);
                self.put_back_kept(pool);
                Ok(false)
            }
            ended => {
                pool.put(kept);
                ended.map(|(_, is_closed)| is_closed)
            }
        }
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
        if self.kept.len() + bytes.len() > self.kept_bytes_max as usize {
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
        self.look_at_first(self.kept.first().copied())?;
        match whole(&self.kept[self.seen..]) {
            (0, _) => Ok(false),
            (end, _) => self.open_kept(pool, plain, end),
        }
    }

    /// Bytes that may be sealed now: of whole records, or a reader that takes little at a
    /// time would get records that are as little.
    pub fn room(&self) -> usize {
        if self.is_closed || self.is_handshaking() {
            return 0;
        }
        let taken = self.queued_bytes().div_ceil(RECORD_BYTES_MAX + RECORD_OVERHEAD_BYTES);
        SEALED_BYTES_MAX.saturating_sub(taken * RECORD_BYTES_MAX)
    }

    /// Queues `plain`, encrypted.
    pub fn seal(&mut self, pool: &mut BufferPool, plain: &[u8]) {
        if plain.is_empty() || self.is_closed {
            return;
        }
        if self.sealed.capacity() == 0 {
            self.sealed = pool.take();
        }
        if self.session.encrypt(&mut self.kept[..self.seen], plain, &mut self.sealed).is_err() {
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
        self.has_failed |=
            self.session.close(&mut self.kept[..self.seen], &mut self.sealed).is_err();
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

    /// Whether its keys are close to their limit: it has to close while it can still encrypt a
    /// close frame.
    #[inline]
    pub fn nears_key_limit(&self) -> bool {
        self.session.nears_key_limit()
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
        if self.sent > self.sealed.len() / 2 {
            // Keeps the buffer within twice of what is queued.
            self.sealed.drain(..self.sent);
            self.sent = 0;
        }
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

    /// Bytes of memory that it holds, without what the session itself needs.
    pub fn held_bytes(&self) -> usize {
        self.kept.capacity() + self.sealed.capacity()
    }

    /// How many buffers of the pool it needs.
    #[cfg(test)]
    pub fn buffers(&self) -> usize {
        usize::from(!self.kept.is_empty()) + usize::from(self.queued_bytes() > 0)
    }

    /// Drops what is queued and kept and gives the buffers back.
    pub fn release(&mut self, pool: &mut BufferPool) {
        self.kept.clear();
        self.seen = 0;
        self.put_back_kept(pool);
        self.sent = self.sealed.len();
        self.put_back_sealed(pool);
    }
}

#[cfg(test)]
mod tests;
