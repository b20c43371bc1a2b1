//! The TLS of a connection with its buffers, which belong to the pool: the start of an incomplete
//! record, and encrypted bytes that are not sent yet. An idle connection has neither.
//!
//! Only connections with TLS have a channel. The bytes of plain ones never pass through this
//! file.

use crate::base::{BufferPool, Time};
use crate::protocol::head;
use crate::tls::{RECORD_BYTES_MAX, RECORD_OVERHEAD_BYTES, Session, TlsError};
use std::fmt;

/// How many bytes may be encrypted before they are sent. Encrypted bytes have left their queue and
/// their tapes: neither a newer message nor a close can overtake them.
pub const SEALED_BYTES_MAX: usize = 4 * RECORD_BYTES_MAX;
/// How many bytes of a handshake a client keeps; a server's certificates are the longest part.
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
    /// The first byte belongs to HTTP.
    Plain,
    /// The session failed. The alert for the peer is queued.
    Tls(TlsError),
    /// The handshake has too many bytes.
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

/// The TLS of a connection.
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
/// // Once that is sent, the channel holds no buffer.
/// channel.advance(&mut pool, hello);
/// assert_eq!(pool.lent(), 0);
/// # Ok::<(), tapecast::tls::CertificateError>(())
/// ```
#[derive(Debug)]
pub struct Channel {
    session: Session,
    /// Records that the session still needs, and the start of an incomplete one. Without capacity
    /// while empty.
    kept: Vec<u8>,
    /// Bytes of `kept` that the session has seen: whole records. It joins messages in pieces
    /// there, so a record's header may no longer be one.
    seen: usize,
    /// Encrypted bytes. Without capacity while empty.
    sealed: Vec<u8>,
    /// Bytes at the front of `sealed` that are sent: `sent <= sealed.len()`.
    sent: usize,
    /// The bound of `kept`.
    kept_bytes_max: u32,
    /// Since when the handshake waits for its turn, as the shard sets it.
    pub waits_since: Option<Time>,
    /// Whether nothing was received yet.
    is_new: bool,
    /// Whether nothing can be sealed any more: the end was announced, or the session failed.
    is_closed: bool,
    has_failed: bool,
}

/// The end of the whole records, and how many bytes at least the next one lacks. A record that
/// is too long counts as whole: the session reports the fault.
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
    /// A channel that has received and sent nothing. A message of the handshake may arrive in
    /// several records; at most `kept_bytes_max` incomplete bytes are kept, and always one
    /// record.
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

    /// Takes received bytes, and appends their plaintext to `plain`. Returns whether the
    /// peer has announced its end.
    ///
    /// # Errors
    /// The session has ended; the plaintext before that is in `plain`.
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

    /// Whether the kept bytes and `bytes` together give the session something to do: a record is
    /// whole, or the bytes are no record.
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

    /// Passes `more` kept bytes to the session, all of them whole records. Returns
    /// whether the peer has announced its end.
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

    /// Passes records to the session; returns how many bytes it has consumed, and whether
    /// the peer has announced its end.
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

    /// Keeps received bytes for [`Channel::receive_kept`].
    ///
    /// # Errors
    /// There are too many bytes.
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

    /// Takes the kept bytes, as if they arrived now.
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

    /// How many bytes may be sealed now. Room is given for whole records only, so that a reader
    /// that takes few bytes at a time does not get records of that size.
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
            // The keys are at their limit, and only TLS 1.3 renews them.
            self.has_failed = true;
            self.is_closed = true;
        }
    }

    /// Announces the end to the peer, unless the handshake is incomplete.
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

    /// Whether encrypting has failed: the connection is unusable.
    pub fn has_failed(&self) -> bool {
        self.has_failed
    }

    /// Whether its keys are close to their limit: it has to close while it can still encrypt a
    /// close frame.
    #[inline]
    pub fn nears_key_limit(&self) -> bool {
        self.session.nears_key_limit()
    }

    /// The bytes to send.
    #[inline]
    pub fn queued(&self) -> &[u8] {
        &self.sealed[self.sent..]
    }

    /// How many bytes are to be sent.
    #[inline]
    pub fn queued_bytes(&self) -> usize {
        self.sealed.len() - self.sent
    }

    /// Counts `bytes` bytes as sent. The buffer is returned once all are.
    #[inline]
    pub fn advance(&mut self, pool: &mut BufferPool, bytes: usize) {
        self.sent += bytes;
        debug_assert!(self.sent <= self.sealed.len());
        self.put_back_sealed(pool);
        if self.sent > self.sealed.len() / 2 {
            // Keeps the buffer within twice the queued bytes.
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

    /// Bytes of memory that the channel holds, without the session itself.
    pub fn held_bytes(&self) -> usize {
        self.kept.capacity() + self.sealed.capacity()
    }

    /// How many buffers of the pool it holds.
    #[cfg(test)]
    pub fn buffers(&self) -> usize {
        usize::from(!self.kept.is_empty()) + usize::from(self.queued_bytes() > 0)
    }

    /// Drops queued and kept bytes, and returns the buffers.
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
