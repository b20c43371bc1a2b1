//! How connections of a group are opened: where to, where from, and with which request.

use super::target::Target;
use crate::profile::Group;
use std::net::IpAddr;
use std::time::Duration;
use tapecast::protocol::deflate::Offered;
use tapecast::tls::{CertificateError, Connector, Trust};

/// How connections of a group are opened. Connections take targets and sources in turn.
#[derive(Clone, Debug)]
pub struct Opening {
    pub targets: Vec<Target>,
    /// Local addresses; the kernel picks one where there are none.
    pub sources: Vec<IpAddr>,
    /// The path of the request, with placeholders; none for that of the URL.
    pub path: Option<String>,
    pub subprotocols: Vec<String>,
    pub headers: Vec<(String, String)>,
    pub deflate: Offered,
    /// Texts that a connection sends first, with placeholders.
    pub on_open: Vec<String>,
    pub handshake_timeout: Duration,
    pub message_bytes_max: usize,
    /// The pause before a connection is opened again; none if it is not.
    pub reconnect: Option<Duration>,
    trust: Trust,
    resumes_sessions: bool,
}

impl Opening {
    /// # Errors
    /// There is no target, a target has no address, or the authorities can't be read.
    pub(super) fn new(group: &Group) -> Result<Opening, Vec<String>> {
        let (mut targets, mut problems) = (Vec::new(), Vec::new());
        if group.opening.urls.is_empty() {
            problems.push("no target: pass --url ws://HOST:PORT/PATH".to_owned());
        }
        for url in &group.opening.urls {
            match Target::resolve(url) {
                Ok(target) => targets.push(target),
                Err(problem) => problems.push(problem),
            }
        }
        let opening = Opening {
            targets,
            sources: group.opening.sources.iter().flat_map(|it| it.addresses.clone()).collect(),
            path: Some(&group.opening.path).filter(|path| !path.is_empty()).cloned(),
            subprotocols: group.opening.subprotocols.clone(),
            headers: group.opening.headers.clone(),
            deflate: match (group.opening.compression, group.opening.compression_contexts) {
                (_, true) => Offered::Contexts,
                (true, false) => Offered::Alone,
                (false, false) => Offered::Nothing,
            },
            on_open: group.opening.on_open.clone(),
            handshake_timeout: group.opening.handshake_timeout,
            message_bytes_max: group.opening.message_bytes_max,
            reconnect: group.opening.reconnect,
            trust: match (group.opening.tls.insecure, group.opening.tls.ca.as_str()) {
                (true, _) => Trust::Anybody,
                (false, "") => Trust::System,
                (false, file) => Trust::Authorities(file.into()),
            },
            resumes_sessions: group.opening.tls.resume,
        };
        problems.extend(opening.connector().err().map(|error| error.to_string()));
        if problems.is_empty() { Ok(opening) } else { Err(problems) }
    }

    /// A connector for TLS, if one of the targets uses TLS. Each thread has its own, so that
    /// threads share no session cache.
    ///
    /// # Errors
    /// The authorities can't be read.
    pub fn connector(&self) -> Result<Option<Connector>, CertificateError> {
        if !self.targets.iter().any(|target| target.url.is_secure()) {
            return Ok(None);
        }
        Connector::new(&self.trust, self.resumes_sessions).map(Some)
    }
}
