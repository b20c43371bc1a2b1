//! Servers and clients of this module against each other, over bytes in memory.

use super::*;
use rcgen::{CertificateParams, Issuer, KeyPair};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// Files of a test, removed at its end.
struct Files(PathBuf);

impl Drop for Files {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

impl Files {
    fn new(name: &str) -> Files {
        // Tests of one process run in parallel.
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let (process, number) = (std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(format!("tapecast-tls-{process}-{number}-{name}"));
        std::fs::create_dir_all(&path).unwrap();
        Files(path)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, text).unwrap();
        path
    }
}

/// An authority that signs for tests.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    fn new() -> Authority {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Authority { issuer: Issuer::new(params, key), pem }
    }

    /// A certificate for `host` and its key, in PEM.
    fn sign(&self, host: &str) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![host.to_owned()]).unwrap();
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }

    fn identity(&self, files: &Files, host: &str) -> Identity {
        let (chain, key) = self.sign(host);
        let chain = files.write(&format!("{host}.pem"), &chain);
        Identity::from_files(chain, files.write(&format!("{host}.key"), &key)).unwrap()
    }
}

/// Both ends of a connection, and the bytes in flight between them.
struct Pair {
    server: Session,
    client: Session,
    to_server: Vec<u8>,
    to_client: Vec<u8>,
}

impl Pair {
    fn new(acceptor: &Acceptor, connector: &Connector, host: &str) -> Pair {
        let client = connector.connect(host).unwrap();
        let server = acceptor.accept();
        Pair { server, client, to_server: Vec::new(), to_client: Vec::new() }
    }

    /// Carries bytes in both directions, `step` at a time, until none are left; returns the
    /// plaintext that the server and the client have read.
    fn settle(&mut self, step: usize) -> Result<(Vec<u8>, Vec<u8>), TlsError> {
        let (mut at_server, mut at_client) = (Vec::new(), Vec::new());
        let (mut server_kept, mut client_kept) = (Vec::new(), Vec::new());
        loop {
            let piece: Vec<u8> = self.to_client.drain(..step.min(self.to_client.len())).collect();
            client_kept.extend(&piece);
            let taken =
                self.client.receive(&mut client_kept, &mut at_client, &mut self.to_server)?.taken;
            client_kept.drain(..taken);
            let piece: Vec<u8> = self.to_server.drain(..step.min(self.to_server.len())).collect();
            server_kept.extend(&piece);
            let taken =
                self.server.receive(&mut server_kept, &mut at_server, &mut self.to_client)?.taken;
            server_kept.drain(..taken);
            if self.to_client.is_empty() && self.to_server.is_empty() {
                assert!(server_kept.is_empty() && client_kept.is_empty());
                return Ok((at_server, at_client));
            }
        }
    }
}

fn one_host(files: &Files) -> (Authority, Acceptor, Connector) {
    let authority = Authority::new();
    let identity = authority.identity(files, "localhost");
    let acceptor = Acceptor::new(vec![identity], &ClientCertificates::Ignored).unwrap();
    let trust = Trust::Authorities(files.write("ca.pem", &authority.pem));
    (authority, acceptor, Connector::new(&trust, true).unwrap())
}

/// Both sides, for tests of other modules.
pub(crate) fn pair() -> (Acceptor, Connector) {
    let files = Files::new("pair");
    let (_, acceptor, connector) = one_host(&files);
    (acceptor, connector)
}

/// A server that requests certificates of clients without requiring them: one client that
/// presents one, with that certificate, and one that has none.
pub(crate) fn asking() -> (Acceptor, Connector, Vec<u8>, Connector) {
    let files = Files::new("asking");
    let (authority, ..) = one_host(&files);
    let ca = files.0.join("ca.pem");
    let trust = Trust::Authorities(ca.clone());
    let identity = vec![authority.identity(&files, "localhost")];
    let acceptor = Acceptor::new(identity, &ClientCertificates::Optional(ca)).unwrap();
    let own = authority.identity(&files, "client.example");
    let certificate = own.0.cert[0].to_vec();
    let known = Connector::with_identity(&trust, true, &own).unwrap();
    (acceptor, known, certificate, Connector::new(&trust, true).unwrap())
}

#[test]
fn a_conversation_succeeds_in_pieces_of_any_size() {
    let files = Files::new("pieces");
    let (_, acceptor, connector) = one_host(&files);
    for step in [1, 2, 5, 100, 16_000, 100_000] {
        let mut pair = Pair::new(&acceptor, &connector, "localhost");
        assert_eq!(pair.settle(step), Ok((vec![], vec![])));
        assert!(!pair.server.is_handshaking() && !pair.client.is_handshaking());
        let long: Vec<u8> = (0..50_000).map(|at| at as u8).collect();
        pair.client.encrypt(&mut [], b"to the server", &mut pair.to_server).unwrap();
        pair.server.encrypt(&mut [], &long, &mut pair.to_client).unwrap();
        // Three full records, and the rest.
        assert!(pair.to_client.len() < long.len() + 4 * 32);
        assert_eq!(pair.settle(step), Ok((b"to the server".to_vec(), long)));
        pair.client.close(&mut [], &mut pair.to_server).unwrap();
        let (mut plain, mut out) = (Vec::new(), Vec::new());
        let received = pair.server.receive(&mut pair.to_server, &mut plain, &mut out).unwrap();
        assert!(received.is_closed && plain.is_empty());
    }
}

#[test]
fn a_session_is_resumed_after_a_reload_of_certificates() {
    let files = Files::new("resumed");
    let (authority, acceptor, connector) = one_host(&files);
    let mut first = Pair::new(&acceptor, &connector, "localhost");
    first.settle(1_000).unwrap();
    assert!(!first.server.is_resumed());
    let other = authority.identity(&files, "localhost");
    let renewed = acceptor.renewed(vec![other], &ClientCertificates::Ignored).unwrap();
    let mut second = Pair::new(&renewed, &connector, "localhost");
    second.settle(1_000).unwrap();
    assert!(second.server.is_resumed() && second.client.is_resumed());
}

#[test]
fn as_many_sessions_are_resumed_as_there_were() {
    let files = Files::new("many");
    let (_, acceptor, connector) = one_host(&files);
    let pairs = |count: usize| -> Vec<Pair> {
        (0..count).map(|_| Pair::new(&acceptor, &connector, "localhost")).collect()
    };
    for mut pair in pairs(30) {
        pair.settle(1_000).unwrap();
    }
    // They begin before any of them has received a ticket.
    let mut resumed = 0;
    for mut pair in pairs(40) {
        pair.settle(1_000).unwrap();
        resumed += usize::from(pair.server.is_resumed());
    }
    assert_eq!(resumed, 30);
}

/// A client that resumes presents no certificate, so new requirements end old sessions.
#[test]
fn a_session_is_not_resumed_after_the_requirements_on_clients_change() {
    let files = Files::new("asked");
    let (authority, acceptor, connector) = one_host(&files);
    let mut first = Pair::new(&acceptor, &connector, "localhost");
    first.settle(1_000).unwrap();
    let required = ClientCertificates::Required(files.0.join("ca.pem"));
    let identity = authority.identity(&files, "localhost");
    let renewed = acceptor.renewed(vec![identity], &required).unwrap();
    assert!(Pair::new(&renewed, &connector, "localhost").settle(1_000).is_err());
}

#[test]
fn the_name_chooses_the_certificate() {
    let files = Files::new("names");
    let authority = Authority::new();
    let identities = ["a.example", "b.example"].map(|host| authority.identity(&files, host));
    let shown = identities.clone().map(|identity| identity.0.cert[0].to_vec());
    let acceptor = Acceptor::new(identities.to_vec(), &ClientCertificates::Ignored).unwrap();
    let connector = Connector::new(&Trust::Anybody, false).unwrap();
    for (host, expected) in [("a.example", 0), ("b.example", 1), ("c.example", 0), ("::1", 0)] {
        let mut pair = Pair::new(&acceptor, &connector, host);
        pair.settle(1_000).unwrap();
        assert_eq!(pair.client.peer_certificate(), Some(&shown[expected][..]), "{host}");
    }
    // A client that verifies the name refuses another host.
    let trust = Trust::Authorities(files.write("ca.pem", &authority.pem));
    let connector = Connector::new(&trust, false).unwrap();
    assert!(Pair::new(&acceptor, &connector, "c.example").settle(1_000).is_err());
}

#[test]
fn clients_present_certificates_where_they_are_required() {
    let files = Files::new("clients");
    let (authority, ..) = one_host(&files);
    let ca = files.0.join("ca.pem");
    let trust = Trust::Authorities(ca.clone());
    let known = authority.identity(&files, "client.example");
    let stranger = Authority::new().identity(&files, "stranger.example");
    let nobody = Connector::new(&trust, false).unwrap();
    let known = Connector::with_identity(&trust, false, &known).unwrap();
    let stranger = Connector::with_identity(&trust, false, &stranger).unwrap();
    for (clients, welcome) in [
        (ClientCertificates::Optional(ca.clone()), [true, true, false]),
        (ClientCertificates::Required(ca), [false, true, false]),
    ] {
        let identity = authority.identity(&files, "localhost");
        let acceptor = Acceptor::new(vec![identity], &clients).unwrap();
        for (connector, welcome) in [&nobody, &known, &stranger].into_iter().zip(welcome) {
            let mut pair = Pair::new(&acceptor, connector, "localhost");
            assert_eq!(pair.settle(1_000).is_ok(), welcome, "{clients:?}");
            let has_shown = pair.server.peer_certificate().is_some();
            assert_eq!(has_shown && welcome, welcome && std::ptr::eq(connector, &known));
        }
    }
}

#[test]
fn keys_are_renewed_on_a_long_connection() {
    use rustls::{SupportedCipherSuite, crypto::aws_lc_rs::cipher_suite};
    let files = Files::new("renewed");
    let (authority, ..) = one_host(&files);
    // A suite with a limit of a hundred records per key.
    let SupportedCipherSuite::Tls13(suite) = cipher_suite::TLS13_AES_128_GCM_SHA256 else {
        unreachable!("it is of TLS 1.3");
    };
    let common = rustls::crypto::CipherSuiteCommon { confidentiality_limit: 100, ..suite.common };
    let short_lived = Box::leak(Box::new(rustls::Tls13CipherSuite { common, ..*suite }));
    let provider = Arc::new(CryptoProvider {
        cipher_suites: vec![SupportedCipherSuite::Tls13(short_lived)],
        ..aws_lc_rs::default_provider()
    });
    let identity = authority.identity(&files, "localhost");
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(identity.0)));
    let connector = Connector::new(&Trust::Anybody, false).unwrap();
    let mut pair = Pair {
        server: Session::server(Arc::new(config)),
        client: connector.connect("localhost").unwrap(),
        to_server: Vec::new(),
        to_client: Vec::new(),
    };
    pair.settle(1_000).unwrap();
    let payload = [7; 40_000];
    for _ in 0..1_000 {
        pair.server.encrypt(&mut [], &payload, &mut pair.to_client).unwrap();
        pair.client.encrypt(&mut [], b"continue", &mut pair.to_server).unwrap();
        assert_eq!(pair.settle(64 << 10), Ok((b"continue".to_vec(), payload.to_vec())));
    }
}

/// Half a handshake message long after the handshake: the session refers to places in the kept
/// bytes.
#[test]
fn half_a_handshake_message_does_not_hinder_sending() {
    use ::aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
    let files = Files::new("half");
    let (_, acceptor, connector) = one_host(&files);
    let mut pair = Pair::new(&acceptor, &connector.with_extraction(), "localhost");
    pair.settle(1_000).unwrap();
    let (sequence, key, iv) = pair.client.extract_secrets();
    // Three of the five bytes of a KeyUpdate, and the type of the inner record.
    let mut record = vec![24, 0, 0, 22];
    let header = [23, 3, 3, 0, record.len() as u8 + 16];
    let mut nonce: [u8; 12] = iv;
    nonce.iter_mut().rev().zip(sequence.to_le_bytes()).for_each(|(byte, with)| *byte ^= with);
    let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &key).unwrap());
    let nonce = Nonce::assume_unique_for_key(nonce);
    key.seal_in_place_append_tag(nonce, Aad::from(header), &mut record).unwrap();
    let mut kept = [&header[..], &record].concat();
    let (mut plain, mut out) = (Vec::new(), Vec::new());
    let received = pair.server.receive(&mut kept, &mut plain, &mut out).unwrap();
    assert!(received.taken < kept.len() && plain.is_empty());
    kept.drain(..received.taken);
    pair.server.encrypt(&mut kept, b"on it goes", &mut out).unwrap();
    pair.server.close(&mut kept, &mut out).unwrap();
    assert!(out.len() > 40);
}

#[test]
fn bytes_that_are_not_tls_are_answered_with_an_alert() {
    let files = Files::new("alert");
    let (_, acceptor, _) = one_host(&files);
    for garbage in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[22, 3, 1, 255, 255, 1, 0, 0], &[0; 64]] {
        let (mut plain, mut out) = (Vec::new(), Vec::new());
        let received = acceptor.accept().receive(&mut garbage.to_vec(), &mut plain, &mut out);
        assert!(received.is_err() && plain.is_empty(), "{garbage:?}");
        // A fatal alert.
        assert_eq!((out.first(), out.get(5)), (Some(&21), Some(&2)), "{garbage:?}");
    }
}

#[test]
fn errors_name_the_file_that_can_not_be_used() {
    let files = Files::new("files");
    let authority = Authority::new();
    let (chain, key) = authority.sign("localhost");
    let (_, other) = authority.sign("localhost");
    let chain = files.write("chain.pem", &chain);
    let key = files.write("key.pem", &key);
    let other = files.write("other.pem", &other);
    let error = |chain: &PathBuf, key: &PathBuf| {
        Identity::from_files(chain, key).map(|_| ()).unwrap_err().to_string()
    };
    assert!(Identity::from_files(&chain, &key).is_ok());
    assert!(error(&chain, &other).contains("other.pem: the key does not match "));
    assert!(error(&chain, &chain).ends_with("chain.pem: the file has no private key in PEM"));
    assert!(error(&key, &key).ends_with("key.pem: the file has no certificate in PEM"));
    let broken = files
        .write("broken.pem", &std::fs::read_to_string(&chain).unwrap().replacen("MII", "MIA", 1));
    assert!(error(&broken, &key).ends_with("broken.pem: the PEM block is not a certificate"));
    assert!(error(&files.0.join("none"), &key).contains("none: No such file"));
}
