//! The server's side: its certificates, and the clients that it admits.

use super::certificates::{CertificateError, certificates};
use super::identity::Identity;
use super::provider::PROVIDER;
use super::session::Session;
use rustls::RootCertStore;
use rustls::client::verify_server_name;
use rustls::crypto::aws_lc_rs::Ticketer;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::{
    ClientHello, NoServerSessionStorage, ParsedCertificate, ProducesTickets, ResolvesServerCert,
    WebPkiClientVerifier,
};
use rustls::sign::CertifiedKey;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

/// Whether the server requests certificates of clients.
///
/// ```
/// use tapecast::tls::ClientCertificates;
///
/// let asked_for = ClientCertificates::Required("clients-ca.pem".into());
/// assert_ne!(asked_for, ClientCertificates::Ignored);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ClientCertificates {
    /// It requests none.
    #[default]
    Ignored,
    /// A client may present one, which an authority of this PEM file must have signed.
    Optional(PathBuf),
    /// A client must present one.
    Required(PathBuf),
}

/// Accepts TLS 1.2 and 1.3 with one or more identities. Cheap to clone.
///
/// ```no_run
/// use tapecast::tls::{Acceptor, ClientCertificates, Identity};
/// use tapecast::{Server, routes};
///
/// let identity = Identity::from_files("chain.pem", "key.pem")?;
/// let acceptor = Acceptor::new(vec![identity], &ClientCertificates::Ignored)?;
/// let server = Server::builder()
///     .listen("wss://0.0.0.0:443")?
///     .tls(acceptor)
///     .start(|_shard| routes::Echo)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Acceptor {
    config: Arc<rustls::ServerConfig>,
    ticketer: Arc<dyn ProducesTickets>,
    clients: Requirements,
}

/// The requirements on clients: whether they present certificates, and of which authorities.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Requirements {
    clients: ClientCertificates,
    authorities: Vec<CertificateDer<'static>>,
}

impl Requirements {
    fn new(clients: &ClientCertificates) -> Result<Requirements, CertificateError> {
        let authorities = match clients {
            ClientCertificates::Ignored => Vec::new(),
            ClientCertificates::Optional(path) | ClientCertificates::Required(path) => {
                certificates(path)?
            }
        };
        Ok(Requirements { clients: clients.clone(), authorities })
    }
}

impl fmt::Debug for Acceptor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Acceptor").finish_non_exhaustive()
    }
}

impl Acceptor {
    /// An acceptor with these identities. A client that names a host gets the first identity
    /// whose certificate is valid for it, else the first of all.
    ///
    /// # Errors
    /// There is no identity, or the file of authorities has none.
    pub fn new(
        identities: Vec<Identity>,
        clients: &ClientCertificates,
    ) -> Result<Acceptor, CertificateError> {
        let ticketer = Ticketer::new().map_err(CertificateError::new)?;
        Acceptor::with_ticketer(identities, Requirements::new(clients)?, ticketer)
    }

    /// As [`Acceptor::new`], and clients can resume sessions of `self`, unless the requirements
    /// on clients have changed: a client that resumes presents no certificate.
    ///
    /// # Errors
    /// As there.
    pub fn renewed(
        &self,
        identities: Vec<Identity>,
        clients: &ClientCertificates,
    ) -> Result<Acceptor, CertificateError> {
        let clients = Requirements::new(clients)?;
        let ticketer = if clients == self.clients {
            Arc::clone(&self.ticketer)
        } else {
            Ticketer::new().map_err(CertificateError::new)?
        };
        Acceptor::with_ticketer(identities, clients, ticketer)
    }

    fn with_ticketer(
        identities: Vec<Identity>,
        requirements: Requirements,
        ticketer: Arc<dyn ProducesTickets>,
    ) -> Result<Acceptor, CertificateError> {
        if identities.is_empty() {
            return Err(CertificateError::new("a server needs a certificate and its key"));
        }
        let config = rustls::ServerConfig::builder_with_provider(Arc::clone(&PROVIDER))
            .with_safe_default_protocol_versions()
            .map_err(CertificateError::new)?;
        let config = match &requirements.clients {
            ClientCertificates::Ignored => config.with_no_client_auth(),
            ClientCertificates::Optional(path) | ClientCertificates::Required(path) => {
                let mut roots = RootCertStore::empty();
                for certificate in &requirements.authorities {
                    roots
                        .add(certificate.clone())
                        .map_err(|error| CertificateError::of(path, error))?;
                }
                let provider = Arc::clone(&PROVIDER);
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
                let verifier = match requirements.clients {
                    ClientCertificates::Optional(_) => verifier.allow_unauthenticated(),
                    _ => verifier,
                };
                let verifier = verifier.build();
                config.with_client_cert_verifier(
                    verifier.map_err(|error| CertificateError::of(path, error))?,
                )
            }
        };
        let keys = identities.into_iter().map(|identity| identity.0).collect();
        let mut config = config.with_cert_resolver(Arc::new(ByName(keys)));
        // The application protocol is HTTP/1.1 (RFC 7301, RFC 6455).
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        // Tickets carry the state: a cache would be shared between cores, behind a lock.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.ticketer = Arc::clone(&ticketer);
        // A client that reconnects uses one.
        config.send_tls13_tickets = 1;
        Ok(Acceptor { config: Arc::new(config), ticketer, clients: requirements })
    }

    /// A session with a client that has just connected.
    pub fn accept(&self) -> Session {
        Session::server(Arc::clone(&self.config))
    }
}

/// Chooses a certificate by the name that a client requests.
#[derive(Debug)]
struct ByName(Vec<Arc<CertifiedKey>>);

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let [only] = &self.0[..] else {
            let name = hello.server_name().and_then(|name| ServerName::try_from(name).ok());
            let can_sign = |key: &&Arc<CertifiedKey>| {
                key.key.choose_scheme(hello.signature_schemes()).is_some()
            };
            let is_named = |key: &&Arc<CertifiedKey>| {
                let parsed = key.end_entity_cert().and_then(ParsedCertificate::try_from);
                let name = name.as_ref();
                parsed.is_ok_and(|parsed| {
                    name.is_some_and(|it| verify_server_name(&parsed, it).is_ok())
                })
            };
            let usable = || self.0.iter().filter(can_sign);
            return usable().find(is_named).or_else(|| usable().next()).cloned();
        };
        Some(Arc::clone(only))
    }
}
