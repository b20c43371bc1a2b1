//! The files of certificates, and the acceptor that they make.

use crate::tls::{Acceptor, ClientCertificates, Identity};
use std::path::PathBuf;

/// Whether clients present certificates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientAuth {
    /// They are not asked.
    None,
    /// They may.
    Optional,
    /// They must.
    Required,
}

/// The words for it.
pub const CLIENT_AUTHS: &[(&str, ClientAuth)] = &[
    ("required", ClientAuth::Required),
    ("optional", ClientAuth::Optional),
    ("none", ClientAuth::None),
];

/// The files of TLS.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tls {
    pub certificates: Vec<PathBuf>,
    /// The key of each certificate, in the same order.
    pub keys: Vec<PathBuf>,
    /// The authorities that sign client certificates, if clients are asked for any.
    pub client_authorities: Option<PathBuf>,
    /// As it was set; [`Tls::client_auth`] has the default.
    pub client_auth: Option<ClientAuth>,
}

/// A key, and what is wrong with its value.
type Mistake = (&'static str, String);

impl Tls {
    /// Required where there are authorities, unless it is set otherwise.
    pub fn client_auth(&self) -> ClientAuth {
        self.client_auth.unwrap_or(match self.client_authorities {
            None => ClientAuth::None,
            Some(_) => ClientAuth::Required,
        })
    }

    /// The acceptor that the files make, as they are now; it resumes sessions of `previous`.
    /// None if no certificate is configured. `is_secure` says whether an address uses it.
    ///
    /// # Errors
    /// The file that can't be used, or the setting that is missing.
    pub fn acceptor(
        &self,
        is_secure: bool,
        previous: Option<&Acceptor>,
    ) -> Result<Option<Acceptor>, Mistake> {
        let clients = self.client_certificates()?;
        let Tls { certificates, keys, .. } = self;
        if certificates.is_empty() && is_secure {
            return Err(("listen", "a wss:// address needs tls_cert and tls_key".into()));
        }
        if !certificates.is_empty() && !is_secure {
            return Err(("tls_cert", "listen has no wss:// address to use it on".into()));
        }
        if certificates.len() != keys.len() {
            let (count, keys) = (certificates.len(), keys.len());
            let message = format!("{keys} for {count} in tls_cert: each certificate needs its own");
            return Err(("tls_key", message));
        }
        if certificates.is_empty() {
            return Ok(None);
        }
        let mut identities = Vec::new();
        for (certificate, key) in certificates.iter().zip(keys) {
            let identity = Identity::from_files(certificate, key);
            identities.push(identity.map_err(|error| ("tls_cert", error.to_string()))?);
        }
        let acceptor = match previous {
            None => Acceptor::new(identities, &clients),
            Some(previous) => previous.renewed(identities, &clients),
        };
        acceptor.map(Some).map_err(|error| ("tls_client_ca", error.to_string()))
    }

    fn client_certificates(&self) -> Result<ClientCertificates, Mistake> {
        Ok(match (self.client_authorities.clone(), self.client_auth()) {
            (None, ClientAuth::None) => ClientCertificates::Ignored,
            (Some(path), ClientAuth::Optional) => ClientCertificates::Optional(path),
            (Some(path), ClientAuth::Required) => ClientCertificates::Required(path),
            (None, _) => {
                let message = "no authority signs client certificates: set tls_client_ca";
                return Err(("tls_client_auth", message.into()));
            }
            (Some(_), ClientAuth::None) => {
                let message = "tls_client_auth is none, so no client is asked for a certificate";
                return Err(("tls_client_ca", message.into()));
            }
        })
    }
}
