//! The log: lines on standard error, written by a thread of their own.
//!
//! A stalled reader of standard error must not block the server: lines go into a bounded
//! queue, and a line that finds it full is dropped and counted.

use super::settings::{LogFormat, Settings};
use std::io::{IsTerminal, Write};
use std::sync::mpsc;
use std::time::Duration;
use tracing_appender::non_blocking::{NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Registry, reload};

/// Lines in the queue. Above it, lines are dropped and counted.
const LINES_MAX: usize = 4_096;
/// How long the process waits at its end for the queue to be written.
const END_WAIT: Duration = Duration::from_millis(1_500);

/// Changes what is logged.
pub type Filter = reload::Handle<EnvFilter, Registry>;

/// The log of the process, started once.
pub struct Logs {
    /// Changes what is logged.
    pub filter: Filter,
    lines: NonBlocking,
    guard: WorkerGuard,
}

impl Logs {
    /// Starts logging, panics included.
    pub fn start(settings: &Settings) -> Logs {
        let (lines, guard) = NonBlockingBuilder::default()
            .buffered_lines_limit(LINES_MAX)
            .thread_name("tapecast-log")
            .finish(std::io::stderr());
        let (filter, handle) = reload::Layer::new(EnvFilter::new(&settings.log));
        let layer = tracing_subscriber::fmt::layer().with_writer(lines.clone());
        let logs = tracing_subscriber::registry().with(filter);
        match settings.log_format {
            LogFormat::Text => logs.with(layer.with_ansi(std::io::stderr().is_terminal())).init(),
            LogFormat::Json => logs.with(layer.json()).init(),
        }
        // A panic of a handler is a log line like any other, with its place. Its message is left
        // out, since it may hold a payload.
        std::panic::set_hook(Box::new(|panic| {
            let place = panic.location().map(ToString::to_string).unwrap_or_default();
            let thread = std::thread::current();
            let thread = thread.name().unwrap_or_default();
            tracing::error!(place, thread, "a thread panicked");
        }));
        Logs { filter: handle, lines, guard }
    }

    /// Reads the count of dropped lines.
    pub fn dropped(&self) -> impl Fn() -> u64 + Send + Sync + 'static {
        let counter = self.lines.error_counter();
        move || counter.dropped_lines() as u64
    }

    /// Writes a line past the filter, for a command that fails.
    pub fn say(&mut self, line: &str) {
        // It can't fail: a line that finds the queue full is counted.
        let _ = writeln!(self.lines, "{line}");
    }

    /// Waits until all lines are written, but not for a stalled reader.
    pub fn end(self) {
        let (sender, ended) = mpsc::channel();
        let guard = self.guard;
        let ending = std::thread::Builder::new().spawn(move || {
            drop(guard);
            let _ = sender.send(());
        });
        if ending.is_ok() {
            let _ = ended.recv_timeout(END_WAIT);
        }
    }
}
