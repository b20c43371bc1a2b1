//! One connection's TLS: records in, plaintext out, and back.

use super::certificates::CertificateError;
use super::error::TlsError;
use super::record::{RECORD_BYTES_MAX, RECORD_OVERHEAD_BYTES};
use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::ServerName;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncodeTlsData, EncryptError, UnbufferedStatus, WriteTraffic,
};
use rustls::{ClientConfig, HandshakeKind, ProtocolVersion, ServerConfig};
use std::fmt;
use std::ops::ControlFlow;
use std::sync::Arc;

/// The result of taking a piece of the stream.
///
/// ```
/// use tapecast::tls::Received;
///
/// let nothing = Received { taken: 0, is_closed: false };
/// assert!(!nothing.is_closed);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    /// Bytes that were consumed. The others begin something incomplete: pass them
    /// again, followed by more.
    pub taken: usize,
    /// Whether the peer has announced its end.
    pub is_closed: bool,
}

/// The TLS of one connection, of a server or a client.
///
/// ```
/// # use tapecast::tls::{Connector, Trust};
/// let mut session = Connector::new(&Trust::Anybody, false)?.connect("localhost")?;
/// let (mut plain, mut hello) = (Vec::new(), Vec::new());
/// // A client speaks first.
/// session.receive(&mut [], &mut plain, &mut hello).expect("nothing can be wrong yet");
/// assert_eq!(hello[..2], [22, 3]);
/// assert!(session.is_handshaking());
/// # Ok::<(), tapecast::tls::CertificateError>(())
/// ```
pub struct Session {
    side: Side,
    /// Records encrypted so far.
    sealed: u64,
}

/// Records after which a TLS 1.2 connection has to close. It can't renew its keys, and AES-GCM
/// limits them to 2^24 records: the rest is for the closing handshake.
const KEY_LIMIT_RECORDS: u64 = if cfg!(test) { 4_000 } else { (1 << 24) - (1 << 14) };

enum Side {
    Server(UnbufferedServerConnection),
    Client(UnbufferedClientConnection),
}

impl fmt::Debug for Session {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Session").field("is_handshaking", &self.is_handshaking()).finish()
    }
}

/// Runs `$code` for whichever side a session is.
macro_rules! either {
    ($session:expr, $connection:ident => $code:expr) => {
        match &mut $session.side {
            Side::Server($connection) => $code,
            Side::Client($connection) => $code,
        }
    };
}

impl Session {
    pub(super) fn server(config: Arc<ServerConfig>) -> Session {
        let connection = UnbufferedServerConnection::new(config);
        let connection = connection.expect("an acceptor's configuration is complete");
        Session { side: Side::Server(connection), sealed: 0 }
    }

    pub(super) fn client(
        config: Arc<ClientConfig>,
        host: ServerName<'static>,
    ) -> Result<Session, CertificateError> {
        let connection = UnbufferedClientConnection::new(config, host);
        let connection = connection.map_err(CertificateError::new)?;
        Ok(Session { side: Side::Client(connection), sealed: 0 })
    }

    /// Whether nothing can be encrypted yet.
    pub fn is_handshaking(&self) -> bool {
        match &self.side {
            Side::Server(connection) => connection.is_handshaking(),
            Side::Client(connection) => connection.is_handshaking(),
        }
    }

    /// Whether the handshake resumed an earlier session.
    pub fn is_resumed(&self) -> bool {
        let kind = match &self.side {
            Side::Server(connection) => connection.handshake_kind(),
            Side::Client(connection) => connection.handshake_kind(),
        };
        kind == Some(HandshakeKind::Resumed)
    }

    /// Whether its keys are close to their limit and can't be renewed: the peer needs another
    /// connection.
    pub fn nears_key_limit(&self) -> bool {
        self.sealed >= KEY_LIMIT_RECORDS && {
            let version = match &self.side {
                Side::Server(connection) => connection.protocol_version(),
                Side::Client(connection) => connection.protocol_version(),
            };
            version == Some(ProtocolVersion::TLSv1_2)
        }
    }

    /// The peer's own certificate, in DER, if it has presented one.
    pub fn peer_certificate(&self) -> Option<&[u8]> {
        let chain = match &self.side {
            Side::Server(connection) => connection.peer_certificates(),
            Side::Client(connection) => connection.peer_certificates(),
        };
        chain?.first().map(|certificate| &**certificate)
    }

    /// Decrypts `records` in place: appends their plaintext to `plain`, and the responses that
    /// have to be sent to `out`.
    ///
    /// # Errors
    /// The session has ended. The alert for the peer is in `out`, and the plaintext before the end
    /// in `plain`.
    pub fn receive(
        &mut self,
        records: &mut [u8],
        plain: &mut Vec<u8>,
        out: &mut Vec<u8>,
    ) -> Result<Received, TlsError> {
        let mut received = Received { taken: 0, is_closed: false };
        loop {
            let rest = &mut records[received.taken..];
            let progress = either!(self, connection => {
                step(connection.process_tls_records(rest), plain, out, &mut received)
            });
            match progress {
                ControlFlow::Continue(()) => {}
                ControlFlow::Break(Ok(())) => return Ok(received),
                ControlFlow::Break(Err(error)) => {
                    self.write_alert(&mut records[received.taken..], out);
                    return Err(error);
                }
            }
        }
    }

    /// After an error: appends the alert that names it.
    fn write_alert(&mut self, rest: &mut [u8], out: &mut Vec<u8>) {
        either!(self, connection => {
            while connection.wants_write()
                && let Ok(ConnectionState::EncodeTlsData(data)) =
                    connection.process_tls_records(rest).state
            {
                encode(data, out);
            }
        });
    }

    /// Appends `plain` to `out`, encrypted: full records, and a last one with the rest.
    /// `kept` is the bytes that [`Session::receive`] has not consumed: the session refers to
    /// places in them, and panics without them.
    ///
    /// # Errors
    /// The handshake is incomplete, the session has ended, or its keys are at their limit.
    pub fn encrypt(
        &mut self,
        kept: &mut [u8],
        plain: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), TlsError> {
        let records = plain.len() / RECORD_BYTES_MAX + 1;
        self.sealed += records as u64;
        let likely = plain.len() + records * RECORD_OVERHEAD_BYTES;
        either!(self, connection => loop {
            let state = connection.process_tls_records(kept).state;
            let written = write(state, likely, out, |traffic, room| traffic.encrypt(plain, room));
            if let ControlFlow::Break(result) = written {
                return result;
            }
        })
    }

    /// Appends the announcement of the end. `kept` is as in [`Session::encrypt`].
    ///
    /// # Errors
    /// As there.
    pub fn close(&mut self, kept: &mut [u8], out: &mut Vec<u8>) -> Result<(), TlsError> {
        either!(self, connection => loop {
            let state = connection.process_tls_records(kept).state;
            let likely = RECORD_OVERHEAD_BYTES;
            let written = write(state, likely, out, |traffic, room| traffic.queue_close_notify(room));
            if let ControlFlow::Break(result) = written {
                return result;
            }
        })
    }
}

#[cfg(test)]
impl Session {
    /// A client's sequence number, key and nonce for what it sends, of AES-256.
    pub fn extract_secrets(self) -> (u64, [u8; 32], [u8; 12]) {
        use rustls::ConnectionTrafficSecrets::Aes256Gcm;
        let Side::Client(connection) = self.side else { unreachable!("a client") };
        #[expect(deprecated, reason = "its successor can't be had without the kernel's TLS")]
        let secrets = connection.dangerous_extract_secrets().expect("it was allowed");
        let (sequence, Aes256Gcm { key, iv }) = secrets.tx else { unreachable!("that suite") };
        let iv = iv.as_ref().try_into().expect("twelve bytes");
        (sequence, key.as_ref().try_into().expect("32 bytes"), iv)
    }
}

/// Handles one state of the connection; breaks when more records are needed.
fn step<Data>(
    status: UnbufferedStatus<'_, '_, Data>,
    plain: &mut Vec<u8>,
    out: &mut Vec<u8>,
    received: &mut Received,
) -> ControlFlow<Result<(), TlsError>> {
    let UnbufferedStatus { discard, state } = status;
    let progress = match state {
        Ok(ConnectionState::ReadTraffic(mut traffic)) => loop {
            match traffic.next_record() {
                Some(Ok(record)) => plain.extend_from_slice(record.payload),
                Some(Err(error)) => break ControlFlow::Break(Err(TlsError::of(&error))),
                None => break ControlFlow::Continue(()),
            }
        },
        Ok(ConnectionState::PeerClosed) => {
            received.is_closed = true;
            ControlFlow::Continue(())
        }
        Ok(ConnectionState::EncodeTlsData(data)) => {
            encode(data, out);
            ControlFlow::Continue(())
        }
        // The caller has the encoded bytes and sends them in order.
        Ok(ConnectionState::TransmitTlsData(data)) => {
            data.done();
            ControlFlow::Continue(())
        }
        Ok(_) => ControlFlow::Break(Ok(())),
        Err(error) => ControlFlow::Break(Err(TlsError::of(&error))),
    };
    received.taken += discard;
    progress
}

/// Lets `encrypt` append to `out`; continues while other data has to be written first.
fn write<Data>(
    state: Result<ConnectionState<'_, '_, Data>, rustls::Error>,
    likely_bytes: usize,
    out: &mut Vec<u8>,
    mut encrypt: impl FnMut(&mut WriteTraffic<'_, Data>, &mut [u8]) -> Result<usize, EncryptError>,
) -> ControlFlow<Result<(), TlsError>> {
    match state {
        Ok(ConnectionState::WriteTraffic(mut traffic)) => {
            let written = append(out, likely_bytes, |room| {
                encrypt(&mut traffic, room).map_err(|error| match error {
                    EncryptError::InsufficientSize(size) => Some(size.required_size),
                    EncryptError::EncryptExhausted => None,
                })
            });
            let exhausted = || TlsError::new("the keys are used up");
            ControlFlow::Break(written.ok_or_else(exhausted))
        }
        Ok(ConnectionState::EncodeTlsData(data)) => {
            encode(data, out);
            ControlFlow::Continue(())
        }
        Ok(ConnectionState::TransmitTlsData(data)) => {
            data.done();
            ControlFlow::Continue(())
        }
        Ok(_) => ControlFlow::Break(Err(TlsError::new("the session is not open"))),
        Err(error) => ControlFlow::Break(Err(TlsError::of(&error))),
    }
}

/// Appends a message of the handshake, an alert or a change of keys. Dropping it before it is
/// encoded loses it.
fn encode<Data>(mut data: EncodeTlsData<'_, Data>, out: &mut Vec<u8>) {
    let encoded = append(out, 0, |room| {
        data.encode(room).map_err(|error| match error {
            EncodeError::InsufficientSize(size) => Some(size.required_size),
            EncodeError::AlreadyEncoded => None,
        })
    });
    debug_assert!(encoded.is_some(), "it is encoded once");
}

/// Lets `write` append to `out`, with room for `likely_bytes`, or for the size that it requires;
/// `None` when it fails.
fn append(
    out: &mut Vec<u8>,
    likely_bytes: usize,
    mut write: impl FnMut(&mut [u8]) -> Result<usize, Option<usize>>,
) -> Option<()> {
    let start = out.len();
    let mut room = likely_bytes;
    loop {
        // Exactly, since a longer buffer no longer counts as small in the pool.
        out.reserve_exact(room);
        out.resize(start + room, 0);
        match write(&mut out[start..]) {
            Ok(written) => {
                out.truncate(start + written);
                return Some(());
            }
            Err(Some(needed)) if needed > room => room = needed,
            Err(_) => {
                out.truncate(start);
                return None;
            }
        }
    }
}
