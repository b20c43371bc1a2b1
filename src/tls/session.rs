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

/// What came of a piece of the stream.
///
/// ```
/// use tapecast::tls::Received;
///
/// let nothing = Received { taken: 0, is_closed: false };
/// assert!(!nothing.is_closed);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    /// Bytes that are done with. The others are the beginning of something: they are to
    /// be handed in again, with more behind them.
    pub taken: usize,
    /// The peer has said that it sends nothing more.
    pub is_closed: bool,
}

/// One connection's TLS, of a server or a client.
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
    /// Records that it has encrypted.
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

    /// Whether the handshake took up an earlier session.
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

    /// The peer's own certificate, in DER, if it has shown one.
    pub fn peer_certificate(&self) -> Option<&[u8]> {
        let chain = match &self.side {
            Side::Server(connection) => connection.peer_certificates(),
            Side::Client(connection) => connection.peer_certificates(),
        };
        chain?.first().map(|certificate| &**certificate)
    }

    /// Takes `records`: appends their plaintext to `plain`, and what has to be sent
    /// because of them to `out`. They are decrypted in place.
    ///
    /// # Errors
    /// The session has ended. What the peer is to be told of it is in `out`, and what it
    /// had said before in `plain`.
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
                    self.tell(&mut records[received.taken..], out);
                    return Err(error);
                }
            }
        }
    }

    /// After an error: appends the alert that names it.
    fn tell(&mut self, rest: &mut [u8], out: &mut Vec<u8>) {
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
    /// `kept` is what [`Session::receive`] was not done with: the session holds places in
    /// it, and panics if it is not there.
    ///
    /// # Errors
    /// The handshake is not over, the session has ended, or its keys are used up.
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

    /// Appends the word that nothing follows. `kept` as with [`Session::encrypt`].
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

/// Does what one state of the connection asks for; breaks when more records are needed.
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
        // What was encoded is with the caller, who sends it in order.
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

/// Has `encrypt` append to `out`; continues as long as something else comes first.
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

/// Appends a message of the handshake, an alert or a change of keys. One that is dropped
/// before it is encoded is lost.
fn encode<Data>(mut data: EncodeTlsData<'_, Data>, out: &mut Vec<u8>) {
    let encoded = append(out, 0, |room| {
        data.encode(room).map_err(|error| match error {
            EncodeError::InsufficientSize(size) => Some(size.required_size),
            EncodeError::AlreadyEncoded => None,
        })
    });
    debug_assert!(encoded.is_some(), "it is encoded once");
}

/// Has `write` append to `out`, in a room of `likely_bytes` or what it says it needs;
/// `None` when it can't.
fn append(
    out: &mut Vec<u8>,
    likely_bytes: usize,
    mut write: impl FnMut(&mut [u8]) -> Result<usize, Option<usize>>,
) -> Option<()> {
    let start = out.len();
    let mut room = likely_bytes;
    loop {
        // No more than that: what grows beyond it is no longer a buffer of the usual size.
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
