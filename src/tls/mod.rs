//! Layer 2: TLS as bytes in, bytes out.
//!
//! An [`Acceptor`] is what a server is: its certificates and whom it lets in. A
//! [`Connector`] is whom a client trusts. Of either a [`Session`] is made, one
//! connection's TLS: it is handed records and gives plaintext, is handed plaintext and
//! gives records. It owns no buffer: what is incomplete stays with the caller. All
//! cryptography is rustls'; this module hides which of its interfaces that is.

mod acceptor;
mod connector;
mod error;
mod identity;
mod session;

#[cfg(test)]
pub(crate) mod tests;

pub use acceptor::{Acceptor, ClientCertificates};
pub use connector::{Connector, Trust};
pub use error::{TlsError, TlsErrorKind};
pub use identity::Identity;
pub use session::{Received, Session};

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use std::fmt;
use std::path::Path;
use std::sync::{Arc, LazyLock};

/// Bytes of plaintext that a record carries at most (RFC 8446, 5.1).
pub const RECORD_BYTES_MAX: usize = 16 << 10;
/// Header, nonce or type, and tag of a record; no less than those of any cipher in use.
pub const RECORD_OVERHEAD_BYTES: usize = 32;

/// Named wherever a configuration is made: a program may have another one as its default.
static PROVIDER: LazyLock<Arc<CryptoProvider>> =
    LazyLock::new(|| Arc::new(aws_lc_rs::default_provider()));

/// A certificate, key or authority can't be used.
///
/// ```
/// use tapecast::tls::Identity;
///
/// let error = Identity::from_files("/no/such/file.pem", "/no/such/key.pem").unwrap_err();
/// assert!(error.to_string().starts_with("/no/such/file.pem: "));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateError(String);

impl CertificateError {
    fn new(what: impl fmt::Display) -> CertificateError {
        CertificateError(what.to_string())
    }

    fn of(path: &Path, why: impl fmt::Display) -> CertificateError {
        CertificateError(format!("{}: {why}", path.display()))
    }
}

impl fmt::Display for CertificateError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for CertificateError {}
