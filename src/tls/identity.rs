//! The identity of one side: a chain of certificates and the key of the first.

use super::certificates::{CertificateError, certificates, read};
use super::provider::PROVIDER;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use rustls::server::ParsedCertificate;
use rustls::sign::CertifiedKey;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

/// A chain of certificates and the private key of the first of them.
///
/// ```no_run
/// use tapecast::tls::Identity;
///
/// let identity = Identity::from_files("chain.pem", "key.pem")?;
/// # Ok::<(), tapecast::tls::CertificateError>(())
/// ```
#[derive(Clone)]
pub struct Identity(pub(super) Arc<CertifiedKey>);

impl fmt::Debug for Identity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Identity").field("certificates", &self.0.cert.len()).finish()
    }
}

impl Identity {
    /// Reads both from PEM files: the chain, its own certificate first, and the key
    /// (PKCS #8, PKCS #1 or SEC 1).
    ///
    /// # Errors
    /// A file can't be read or lacks a certificate or key, or the two don't match.
    pub fn from_files(
        chain: impl AsRef<Path>,
        key: impl AsRef<Path>,
    ) -> Result<Identity, CertificateError> {
        let (chain, key) = (chain.as_ref(), key.as_ref());
        let certificates = certificates(chain)?;
        let pem = read(key)?;
        let found = PrivateKeyDer::from_pem_slice(&pem);
        let private =
            found.map_err(|_| CertificateError::of(key, "the file has no private key in PEM"))?;
        if ParsedCertificate::try_from(&certificates[0]).is_err() {
            return Err(CertificateError::of(chain, "the PEM block is not a certificate"));
        }
        let pair = CertifiedKey::from_der(certificates, private, &PROVIDER);
        pair.map(|pair| Identity(Arc::new(pair))).map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => {
                let why = format!("the key does not match {}", chain.display());
                CertificateError::of(key, why)
            }
            error => CertificateError::of(key, error),
        })
    }
}
