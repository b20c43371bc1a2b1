//! Layer 2: TLS as bytes in, bytes out.
//!
//! An [`Acceptor`] has the certificates of a server and the clients that it admits. A
//! [`Connector`] has the servers that a client trusts. Each makes [`Session`]s, the TLS of one
//! connection: a session takes records and returns plaintext, and takes plaintext and
//! returns records. It owns no buffer: incomplete records stay with the caller. All
//! cryptography is that of rustls; this module hides which of its interfaces it uses.

mod acceptor;
mod certificates;
mod connector;
mod error;
mod identity;
mod provider;
mod record;
mod session;

#[cfg(test)]
pub(crate) mod tests;

pub use acceptor::{Acceptor, ClientCertificates};
pub use certificates::CertificateError;
pub use connector::{Connector, Trust};
pub use error::{TlsError, TlsErrorKind};
pub use identity::Identity;
pub use record::{RECORD_BYTES_MAX, RECORD_OVERHEAD_BYTES};
pub use session::{Received, Session};
