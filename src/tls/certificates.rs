//! Certificates and keys in PEM files, and the error of one that can't be used.

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use std::fmt;
use std::path::Path;

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
    pub(super) fn new(what: impl fmt::Display) -> CertificateError {
        CertificateError(what.to_string())
    }

    pub(super) fn of(path: &Path, why: impl fmt::Display) -> CertificateError {
        CertificateError(format!("{}: {why}", path.display()))
    }
}

impl fmt::Display for CertificateError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for CertificateError {}

/// Reads all certificates of a PEM file, at least one.
pub(super) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    let pem = read(path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        _ => Err(CertificateError::of(path, "the file has no certificate in PEM")),
    }
}

pub(super) fn read(path: &Path) -> Result<Vec<u8>, CertificateError> {
    std::fs::read(path).map_err(|error| CertificateError::of(path, error))
}
