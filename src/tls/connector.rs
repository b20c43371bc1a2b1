//! The client's side: the servers that it trusts.

use super::certificates::{CertificateError, certificates};
use super::identity::Identity;
use super::provider::PROVIDER;
use super::session::Session;
use rustls::RootCertStore;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{
    ClientSessionMemoryCache, ClientSessionStore, Resumption, Tls12ClientSessionValue,
    Tls13ClientSessionValue, WebPkiServerVerifier,
};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, NamedGroup, SignatureScheme};
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

/// The servers that a client trusts.
///
/// ```
/// use tapecast::tls::Trust;
///
/// assert_eq!(Trust::default(), Trust::System);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Trust {
    /// Servers whose certificates the machine's authorities have signed.
    #[default]
    System,
    /// Servers whose certificates an authority of this PEM file has signed.
    Authorities(PathBuf),
    /// All servers: an attacker on the path can read and change everything. For tests.
    Anybody,
}

/// Connects to servers over TLS. Cheap to clone.
///
/// ```
/// use tapecast::tls::{Connector, Trust};
///
/// let connector = Connector::new(&Trust::Anybody, false)?;
/// assert!(connector.connect("localhost")?.is_handshaking());
/// assert!(connector.connect("not a host").is_err());
/// # Ok::<(), tapecast::tls::CertificateError>(())
/// ```
#[derive(Clone)]
pub struct Connector(Arc<rustls::ClientConfig>);

impl fmt::Debug for Connector {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Connector").finish_non_exhaustive()
    }
}

impl Connector {
    /// A connector with this trust. If it `resumes`, later sessions with a server resume an
    /// earlier one, which costs both sides less.
    ///
    /// # Errors
    /// The file of authorities can't be read, or there is no authority.
    pub fn new(trust: &Trust, resumes: bool) -> Result<Connector, CertificateError> {
        Connector::build(trust, resumes, None)
    }

    /// As [`Connector::new`], and presents a certificate to servers that request one.
    ///
    /// # Errors
    /// As there.
    pub fn with_identity(
        trust: &Trust,
        resumes: bool,
        identity: &Identity,
    ) -> Result<Connector, CertificateError> {
        Connector::build(trust, resumes, Some(identity))
    }

    fn build(
        trust: &Trust,
        resumes: bool,
        identity: Option<&Identity>,
    ) -> Result<Connector, CertificateError> {
        let verifier: Arc<dyn ServerCertVerifier> = match trust {
            Trust::Anybody => Arc::new(Unverified(Arc::clone(&PROVIDER))),
            Trust::System | Trust::Authorities(_) => {
                let roots = Arc::new(authorities(trust)?);
                let provider = Arc::clone(&PROVIDER);
                WebPkiServerVerifier::builder_with_provider(roots, provider)
                    .build()
                    .map_err(CertificateError::new)?
            }
        };
        let config = rustls::ClientConfig::builder_with_provider(Arc::clone(&PROVIDER))
            .with_safe_default_protocol_versions()
            .map_err(CertificateError::new)?
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        let mut config = match identity {
            None => config.with_no_client_auth(),
            Some(identity) => {
                let key = rustls::sign::SingleCertAndKey::from(Arc::clone(&identity.0));
                config.with_client_cert_resolver(Arc::new(key))
            }
        };
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        config.resumption = if resumes {
            Resumption::store(Arc::new(Tickets::default()))
        } else {
            Resumption::disabled()
        };
        Ok(Connector(Arc::new(config)))
    }

    /// The same connector, limited to TLS 1.2.
    #[cfg(test)]
    pub(crate) fn of_tls12(&self) -> Connector {
        let provider = rustls::ClientConfig::builder_with_provider(Arc::clone(&PROVIDER));
        let config = provider.with_protocol_versions(&[&rustls::version::TLS12]).unwrap();
        let verifier = Arc::new(Unverified(Arc::clone(&PROVIDER)));
        Connector(Arc::new(
            config.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth(),
        ))
    }

    /// A session with `host`, a name or an IP address.
    ///
    /// # Errors
    /// `host` is neither.
    pub fn connect(&self, host: &str) -> Result<Session, CertificateError> {
        // RFC 3986 puts brackets around an IPv6 address, TLS does not.
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let name = ServerName::try_from(bare.to_owned())
            .map_err(|_| CertificateError::new(format!("{host:?} is not a host name")))?;
        Session::client(Arc::clone(&self.0), name)
    }
}

#[cfg(test)]
impl Connector {
    /// The same connector, with sessions that reveal their keys.
    pub fn with_extraction(&self) -> Connector {
        let mut config = (*self.0).clone();
        config.enable_secret_extraction = true;
        Connector(Arc::new(config))
    }
}

/// Sessions that can be resumed. A ticket of TLS 1.3 is used once, so many connections that begin
/// at the same time need many tickets; the store of rustls has eight.
#[derive(Debug)]
struct Tickets {
    others: ClientSessionMemoryCache,
    tickets: Mutex<HashMap<ServerName<'static>, VecDeque<Tls13ClientSessionValue>>>,
}

/// How many tickets of one server are kept.
const TICKETS_MAX: usize = 4_096;
/// How many servers have their sessions kept.
const SERVERS_MAX: usize = 32;

impl Default for Tickets {
    fn default() -> Tickets {
        let others = ClientSessionMemoryCache::new(SERVERS_MAX);
        Tickets { others, tickets: Mutex::default() }
    }
}

impl ClientSessionStore for Tickets {
    fn set_kx_hint(&self, server_name: ServerName<'static>, group: NamedGroup) {
        self.others.set_kx_hint(server_name, group);
    }

    fn kx_hint(&self, server_name: &ServerName<'_>) -> Option<NamedGroup> {
        self.others.kx_hint(server_name)
    }

    fn set_tls12_session(&self, server_name: ServerName<'static>, value: Tls12ClientSessionValue) {
        self.others.set_tls12_session(server_name, value);
    }

    fn tls12_session(&self, server_name: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        self.others.tls12_session(server_name)
    }

    fn remove_tls12_session(&self, server_name: &ServerName<'static>) {
        self.others.remove_tls12_session(server_name);
    }

    fn insert_tls13_ticket(
        &self,
        server_name: ServerName<'static>,
        value: Tls13ClientSessionValue,
    ) {
        let Ok(mut tickets) = self.tickets.lock() else { return };
        if tickets.len() >= SERVERS_MAX && !tickets.contains_key(&server_name) {
            tickets.clear();
        }
        let own = tickets.entry(server_name).or_default();
        if own.len() >= TICKETS_MAX {
            own.pop_front();
        }
        own.push_back(value);
    }

    fn take_tls13_ticket(
        &self,
        server_name: &ServerName<'static>,
    ) -> Option<Tls13ClientSessionValue> {
        self.tickets.lock().ok()?.get_mut(server_name)?.pop_back()
    }
}

fn authorities(trust: &Trust) -> Result<RootCertStore, CertificateError> {
    let mut roots = RootCertStore::empty();
    if let Trust::Authorities(path) = trust {
        for certificate in certificates(path)? {
            roots.add(certificate).map_err(|error| CertificateError::of(path, error))?;
        }
        return Ok(roots);
    }
    let found = rustls_native_certs::load_native_certs();
    // Some are too old to be parsed; one valid authority is enough.
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let why = found.errors.first().map_or_else(String::new, |error| format!(": {error}"));
        let what = "this machine has no certificate authorities (Debian: install ca-certificates)";
        return Err(CertificateError::new(format!("{what}{why}")));
    }
    Ok(roots)
}

/// Accepts every certificate, and still verifies signatures.
#[derive(Debug)]
struct Unverified(Arc<CryptoProvider>);

impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
