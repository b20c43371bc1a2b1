//! Why a session has ended.

use rustls::{AlertDescription, CertificateError as Certificate, Error, InvalidMessage};
use std::fmt;

/// The kinds of errors for which there is a remedy.
///
/// ```
/// use tapecast::tls::TlsErrorKind;
///
/// assert_eq!(TlsErrorKind::default(), TlsErrorKind::Other);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum TlsErrorKind {
    /// The peer's certificate is not signed by a trusted authority.
    UnknownIssuer,
    /// The peer's certificate is for another name.
    WrongName,
    /// The peer's certificate is not valid at this time.
    NotValidNow,
    /// The peer's certificate belongs to an authority, or is for another purpose.
    WrongUse,
    /// The peer does not speak TLS.
    NotTls,
    /// The peer does not trust the certificate of this side.
    Distrusted,
    /// The peer requires a certificate of this side.
    CertificateRequired,
    /// Anything else.
    #[default]
    Other,
}

/// A session has ended: the peer broke a rule, one side refused the other, or the keys are at
/// their limit.
///
/// ```
/// use tapecast::tls::{Connector, TlsErrorKind, Trust};
///
/// let connector = Connector::new(&Trust::Anybody, false)?;
/// let mut session = connector.connect("localhost")?;
/// let (mut plain, mut out) = (Vec::new(), Vec::new());
/// let error = session.receive(&mut b"HTTP/1.1 400".to_vec(), &mut plain, &mut out).unwrap_err();
/// assert_eq!(error.to_string(), "tls: the peer does not speak TLS");
/// assert_eq!(error.kind(), TlsErrorKind::NotTls);
/// # Ok::<(), tapecast::tls::CertificateError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsError {
    kind: TlsErrorKind,
    text: String,
}

impl fmt::Display for TlsError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "tls: {}", self.text)
    }
}

impl std::error::Error for TlsError {}

impl TlsError {
    /// The kind of the error.
    pub fn kind(&self) -> TlsErrorKind {
        self.kind
    }

    pub(super) fn new(text: &str) -> TlsError {
        TlsError { kind: TlsErrorKind::Other, text: text.to_owned() }
    }

    pub(super) fn of(error: &Error) -> TlsError {
        let (kind, text) = match error {
            // Errors in a record's header: most often the bytes are not TLS.
            Error::InvalidMessage(
                InvalidMessage::InvalidContentType
                | InvalidMessage::UnknownProtocolVersion
                | InvalidMessage::MessageTooLarge
                | InvalidMessage::InvalidEmptyPayload,
            ) => (TlsErrorKind::NotTls, "the peer does not speak TLS".to_owned()),
            Error::InvalidMessage(what) => {
                (TlsErrorKind::Other, format!("a message can't be read: {}", words(what)))
            }
            Error::InvalidCertificate(error) => of_certificate(error),
            Error::AlertReceived(alert) => of_alert(*alert),
            Error::NoCertificatesPresented => {
                (TlsErrorKind::Other, "the peer presented no certificate".to_owned())
            }
            Error::DecryptError => (TlsErrorKind::Other, "a record can't be decrypted".to_owned()),
            Error::PeerIncompatible(what) => {
                (TlsErrorKind::Other, format!("nothing in common with the peer: {}", words(what)))
            }
            Error::PeerMisbehaved(what) => {
                (TlsErrorKind::Other, format!("the peer broke a rule: {}", words(what)))
            }
            Error::InappropriateMessage { .. } | Error::InappropriateHandshakeMessage { .. } => {
                (TlsErrorKind::Other, "the peer sent a message out of order".to_owned())
            }
            Error::PeerSentOversizedRecord => {
                (TlsErrorKind::Other, "the peer sent a record that is too long".to_owned())
            }
            other => (TlsErrorKind::Other, other.to_string()),
        };
        TlsError { kind, text }
    }
}

fn of_certificate(error: &Certificate) -> (TlsErrorKind, String) {
    let of = |text: &str| format!("the peer's certificate {text}");
    match error {
        Certificate::UnknownIssuer => {
            (TlsErrorKind::UnknownIssuer, of("is not signed by a trusted authority"))
        }
        Certificate::NotValidForName => (TlsErrorKind::WrongName, of("is for another name")),
        Certificate::NotValidForNameContext { expected, presented } => {
            let (expected, presented) = (expected.to_str(), presented.join(", "));
            (TlsErrorKind::WrongName, of(&format!("is not for {expected}: it has {presented}")))
        }
        Certificate::Expired | Certificate::ExpiredContext { .. } => {
            (TlsErrorKind::NotValidNow, of("has expired"))
        }
        Certificate::NotValidYet | Certificate::NotValidYetContext { .. } => {
            (TlsErrorKind::NotValidNow, of("is not valid yet"))
        }
        Certificate::Revoked => (TlsErrorKind::Other, of("is revoked")),
        Certificate::BadSignature => (TlsErrorKind::Other, of("has an invalid signature")),
        Certificate::BadEncoding => (TlsErrorKind::Other, of("can't be parsed")),
        Certificate::InvalidPurpose | Certificate::InvalidPurposeContext { .. } => {
            (TlsErrorKind::WrongUse, of("is for another purpose"))
        }
        // The library has no variant of its own for this error of its verifier.
        Certificate::Other(inner) if inner.to_string().contains("CaUsedAsEndEntity") => {
            (TlsErrorKind::WrongUse, of("belongs to an authority, not to a server"))
        }
        Certificate::Other(inner) => {
            (TlsErrorKind::Other, of(&format!("can't be used: {}", words(inner))))
        }
        other => {
            let why = words(other);
            let kind = if why.starts_with("unsupported signature algorithm") {
                // No trusted authority can have signed it.
                TlsErrorKind::UnknownIssuer
            } else {
                TlsErrorKind::Other
            };
            (kind, of(&format!("can't be used: {why}")))
        }
    }
}

/// RFC 8446, 6.2.
fn of_alert(alert: AlertDescription) -> (TlsErrorKind, String) {
    use AlertDescription as Alert;
    let (kind, text) = match alert {
        Alert::UnknownCA | Alert::BadCertificate | Alert::CertificateUnknown => {
            (TlsErrorKind::Distrusted, "it does not trust the certificate of this side")
        }
        Alert::CertificateExpired => {
            (TlsErrorKind::Distrusted, "the certificate of this side has expired")
        }
        Alert::CertificateRevoked => {
            (TlsErrorKind::Distrusted, "the certificate of this side is revoked")
        }
        Alert::CertificateRequired | Alert::NoCertificate => {
            (TlsErrorKind::CertificateRequired, "it requires a certificate of this side")
        }
        // With TLS 1.2, some servers send this if a client presents no certificate.
        Alert::HandshakeFailure => (
            TlsErrorKind::Other,
            "there is no cipher in common, or it requires a certificate of this side",
        ),
        Alert::InsufficientSecurity => (TlsErrorKind::Other, "there is no cipher in common"),
        Alert::ProtocolVersion => (TlsErrorKind::Other, "there is no version in common"),
        Alert::UnrecognisedName => (TlsErrorKind::Other, "it has no certificate for the name"),
        Alert::InternalError => (TlsErrorKind::Other, "it has an internal error"),
        other => {
            return (TlsErrorKind::Other, format!("the peer sent an alert: {}", words(&other)));
        }
    };
    (kind, format!("the peer sent an alert: {text}"))
}

/// The name of the innermost variant as words, without its fields.
fn words(variant: &dyn fmt::Debug) -> String {
    let mut text = String::new();
    let name = format!("{variant:?}");
    let name = name.split([' ', '{']).next().unwrap_or_default().trim_end_matches(')');
    let name = name.rsplit('(').next().unwrap_or_default();
    let name = name.strip_suffix("Context").unwrap_or(name);
    let mut before = ' ';
    for character in name.chars() {
        if character.is_uppercase() && before.is_lowercase() {
            text.push(' ');
        }
        before = character;
        text.extend(character.to_lowercase());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::{PeerIncompatible, PeerMisbehaved};
    use std::io;

    #[test]
    fn errors_have_readable_texts() {
        let check = |error: Error, kind: TlsErrorKind, text: &str| {
            let found = TlsError::of(&error);
            assert_eq!((found.kind(), found.to_string()), (kind, format!("tls: {text}")));
        };
        use TlsErrorKind::{CertificateRequired, Distrusted, NotTls, Other, UnknownIssuer};
        let message = Error::InvalidMessage(InvalidMessage::InvalidContentType);
        check(message, NotTls, "the peer does not speak TLS");
        let message = Error::InvalidMessage(InvalidMessage::CertificatePayloadTooLarge);
        check(message, Other, "a message can't be read: certificate payload too large");
        check(
            Certificate::UnknownIssuer.into(),
            UnknownIssuer,
            "the peer's certificate is not signed by a trusted authority",
        );
        check(
            Error::AlertReceived(AlertDescription::UnknownCA),
            Distrusted,
            "the peer sent an alert: it does not trust the certificate of this side",
        );
        check(
            Error::AlertReceived(AlertDescription::CertificateRequired),
            CertificateRequired,
            "the peer sent an alert: it requires a certificate of this side",
        );
        let alert = Error::AlertReceived(AlertDescription::NoRenegotiation);
        check(alert, Other, "the peer sent an alert: no renegotiation");
        check(
            Error::PeerIncompatible(PeerIncompatible::NoCipherSuitesInCommon),
            Other,
            "nothing in common with the peer: no cipher suites in common",
        );
        let authority =
            rustls::OtherError(std::sync::Arc::new(io::Error::other("CaUsedAsEndEntity")));
        check(
            Certificate::Other(authority).into(),
            TlsErrorKind::WrongUse,
            "the peer's certificate belongs to an authority, not to a server",
        );
        check(
            Certificate::UnsupportedSignatureAlgorithmForPublicKeyContext {
                signature_algorithm_id: vec![6, 8],
                public_key_algorithm_id: vec![6],
            }
            .into(),
            UnknownIssuer,
            "the peer's certificate can't be used: unsupported signature algorithm for public key",
        );
        let misbehaved = Error::PeerMisbehaved(PeerMisbehaved::TooManyEmptyFragments);
        check(misbehaved, Other, "the peer broke a rule: too many empty fragments");
    }
}
