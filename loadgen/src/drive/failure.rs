//! Why a run has no result. Faults of servers are counted instead.

use std::fmt;
use tapecast::driver::SetupError;
use tapecast::tls::CertificateError;

/// Why a run has no result.
#[derive(Debug)]
pub enum RunError {
    /// The kernel grants no ring.
    Ring(SetupError),
    /// The authorities for TLS can't be read.
    Tls(CertificateError),
    /// An operation on the ring itself failed.
    Turn(std::io::Error),
    /// This process, the server's or this one, can't be sampled.
    Process(u32, std::io::Error),
    /// A thread could not be started.
    Thread(std::io::Error),
    /// The user ended it before measuring started.
    Interrupted,
}

impl fmt::Display for RunError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RunError::Ring(error) => error.fmt(formatter),
            RunError::Tls(error) => error.fmt(formatter),
            RunError::Turn(error) => write!(formatter, "the ring failed: {error}"),
            RunError::Process(pid, error) => write!(formatter, "process {pid}: {error}"),
            RunError::Thread(error) => write!(formatter, "can't start a thread: {error}"),
            RunError::Interrupted => formatter.write_str("ended before measuring started"),
        }
    }
}
