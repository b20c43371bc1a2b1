//! Certificates: which files, and what they make.

use super::{Origin, Problem, Settings};
use crate::tls::{Acceptor, ClientCertificates, Identity};
use std::path::PathBuf;

/// Whether clients have to show certificates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientAuth {
    /// They are not asked.
    None,
    /// They may.
    Optional,
    /// They must.
    Required,
}

/// As they are written.
pub const CLIENT_AUTHS: &[(&str, ClientAuth)] = &[
    ("none", ClientAuth::None),
    ("optional", ClientAuth::Optional),
    ("required", ClientAuth::Required),
];

/// The files of TLS.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tls {
    pub certificates: Vec<PathBuf>,
    /// Of each certificate, in the same order.
    pub keys: Vec<PathBuf>,
    /// Whose certificates clients are asked for, if they are.
    pub client_authorities: Option<PathBuf>,
    /// Required where there are authorities, unless it is said otherwise.
    pub client_auth: Option<ClientAuth>,
}

impl Tls {
    pub fn client_auth(&self) -> ClientAuth {
        self.client_auth.unwrap_or(match self.client_authorities {
            None => ClientAuth::None,
            Some(_) => ClientAuth::Required,
        })
    }
}

/// Paths as a TOML value.
pub fn printed(paths: &[PathBuf]) -> String {
    let paths: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
    super::text::list(&paths)
}

/// Paths that were given.
pub fn paths(values: &[String]) -> Vec<PathBuf> {
    values.iter().filter(|value| !value.is_empty()).map(PathBuf::from).collect()
}

impl Settings {
    /// What TLS begins with, from its files as they are now; sessions of `previous` can be
    /// resumed with it. None if no certificate is configured.
    ///
    /// # Errors
    /// Which file is of no use, or which setting is missing.
    pub fn acceptor(&self, previous: Option<&Acceptor>) -> Result<Option<Acceptor>, Problem> {
        let Tls { certificates, keys, client_authorities, .. } = &self.tls;
        let problem = |key: &str, message: String| {
            let origin = Origin::clone(self.origin(key));
            Problem { origin, message: format!("{key}: {message}") }
        };
        let clients = match (client_authorities.clone(), self.tls.client_auth()) {
            (None, ClientAuth::None) => ClientCertificates::Ignored,
            (Some(path), ClientAuth::Optional) => ClientCertificates::Optional(path),
            (Some(path), ClientAuth::Required) => ClientCertificates::Required(path),
            (None, _) => {
                let message = "certificates of which authority? Give tls_client_ca".to_owned();
                return Err(problem("tls_client_auth", message));
            }
            (Some(_), ClientAuth::None) => {
                let message = "nobody is asked for a certificate: tls_client_auth is none";
                return Err(problem("tls_client_ca", message.to_owned()));
            }
        };
        let is_secure = self.listen.iter().any(|address| address.is_secure());
        match (certificates.is_empty(), is_secure) {
            (true, true) => {
                let message = "a wss:// address needs tls_cert and tls_key".to_owned();
                return Err(problem("listen", message));
            }
            (false, false) => {
                let message = "there is no wss:// address in listen to use it on".to_owned();
                return Err(problem("tls_cert", message));
            }
            _ => {}
        }
        if certificates.len() != keys.len() {
            let (count, keys) = (certificates.len(), keys.len());
            let message = format!("{keys} for {count} in tls_cert: each certificate needs its own");
            return Err(problem("tls_key", message));
        }
        if certificates.is_empty() {
            return Ok(None);
        }
        let mut identities = Vec::new();
        for (certificate, key) in certificates.iter().zip(keys) {
            let identity = Identity::from_files(certificate, key);
            identities.push(identity.map_err(|error| problem("tls_cert", error.to_string()))?);
        }
        let acceptor = match previous {
            None => Acceptor::new(identities, &clients),
            Some(previous) => previous.renewed(identities, &clients),
        };
        let failed =
            |error: crate::tls::CertificateError| problem("tls_client_ca", error.to_string());
        acceptor.map(Some).map_err(failed)
    }
}
