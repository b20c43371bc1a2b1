//! A reload gives a running server new settings: those that can change, and its certificates.

use super::logs::Filter;
use super::settings::Settings;
use crate::server::ServerHandle;
use crate::tls::Acceptor;
use std::cell::RefCell;
use tracing_subscriber::EnvFilter;

/// A running server: its settings, and the handle that reaches it.
pub struct Running {
    settings: RefCell<Settings>,
    acceptor: RefCell<Option<Acceptor>>,
    filter: Filter,
    handle: ServerHandle,
}

/// The outcome of a reload for the certificates.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Certificates {
    /// There are none: the server began without TLS.
    None,
    Reloaded,
    /// They can't be used, which was logged.
    Refused,
}

impl Running {
    /// A server that was started with these settings.
    pub fn new(
        settings: Settings,
        acceptor: Option<Acceptor>,
        filter: Filter,
        handle: ServerHandle,
    ) -> Running {
        Running {
            settings: RefCell::new(settings),
            acceptor: RefCell::new(acceptor),
            filter,
            handle,
        }
    }

    /// Takes over the settings that can change while the server runs. One line reports what
    /// was taken over, another what needs a restart.
    pub fn reload(&self, settings: Settings) {
        let differences = self.settings.borrow().differences(&settings);
        // Certificates expire, so they are renewed even if the rest is refused.
        let certificates = self.reload_certificates(&settings);
        let has_certificates = certificates == Certificates::Reloaded;
        let (mut taken, left) = sorted(&differences, certificates);
        if has_certificates {
            taken.push("certificates".into());
        }
        if !left.is_empty() {
            tracing::warn!("needs a restart: {}", left.join(", "));
        }
        // The limits that stay and those that change have to fit together.
        let mut limits = self.settings.borrow().limits.clone();
        limits.reload(&settings.limits);
        if let Err(error) = self.handle.reload(&limits) {
            if has_certificates {
                tracing::info!("reloaded: certificates");
            }
            tracing::error!("not reloaded: {error}");
            return;
        }
        let mut running = self.settings.borrow_mut();
        // Before the new level, which may leave this line out.
        let what = if taken.is_empty() { "nothing has changed".into() } else { taken.join(", ") };
        tracing::info!("reloaded: {what}");
        running.limits = limits;
        running.log = settings.log;
        if let Err(error) = self.filter.reload(EnvFilter::new(&running.log)) {
            tracing::error!(%error, "not reloaded: the log filter");
        }
    }

    /// Reads the certificates again, which may have changed under the same names. Sessions
    /// that began with the old ones continue and can be resumed.
    fn reload_certificates(&self, settings: &Settings) -> Certificates {
        let mut acceptor = self.acceptor.borrow_mut();
        if acceptor.is_none() {
            return Certificates::None;
        }
        // Listeners stay as they are.
        let mut with_files = self.settings.borrow().clone();
        with_files.tls = settings.tls.clone();
        match with_files.acceptor(acceptor.as_ref()) {
            Ok(Some(renewed)) => {
                self.handle.reload_tls(&renewed);
                *acceptor = Some(renewed);
                self.settings.borrow_mut().tls = with_files.tls;
                Certificates::Reloaded
            }
            Ok(None) => Certificates::Reloaded,
            Err(problem) => {
                tracing::error!("not reloaded: {problem}");
                Certificates::Refused
            }
        }
    }
}

/// The differences that are taken over, and those that need a restart. Settings of refused
/// certificates are in neither: the reason was logged.
fn sorted(
    differences: &[(String, String, String)],
    certificates: Certificates,
) -> (Vec<String>, Vec<String>) {
    let (mut taken, mut left) = (Vec::new(), Vec::new());
    for (key, old, new) in differences {
        let is_of_tls = key.starts_with("tls_");
        if is_of_tls && certificates == Certificates::Refused {
            continue;
        }
        let is_possible = !is_of_tls || certificates == Certificates::Reloaded;
        if Settings::is_reloadable(key) && is_possible {
            taken.push(format!("{key} = {new} (was {old})"));
        } else {
            left.push(format!("{key} = {new} (stays {old})"));
        }
    }
    (taken, left)
}
