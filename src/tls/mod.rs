//! Layer 2: TLS as bytes in, bytes out.
//!
//! An [`Acceptor`] is what a server is: its certificates and whom it lets in. A
//! [`Connector`] is whom a client trusts. Of either a [`Session`] is made, one
//! connection's TLS: it is handed records and gives plaintext, is handed plaintext and
//! gives records. It owns no buffer: what is incomplete stays with the caller. All
//! cryptography is rustls'; this module hides which of its interfaces that is.

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
