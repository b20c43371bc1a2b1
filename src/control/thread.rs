//! The control thread: its start, and the tasks that it runs.

use super::admin::Admin;
use super::lines::LinesDropped;
use super::signals::{self, Order};
use super::watch;
use crate::app::Shards;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

/// Everything that the control thread works with.
pub(crate) struct Control {
    /// The server's shards.
    pub shards: Shards,
    /// Carries out orders; called on the control thread.
    pub obey: Box<dyn Fn(Order) + Send>,
    /// The administration server, if there is one.
    pub admin: Option<Admin>,
    /// How often to call `alive` while no shard is stuck.
    pub alive_every: Option<Duration>,
    /// Reports to the supervisor that all shards are alive.
    pub alive: Box<dyn Fn() + Send>,
    /// Makes the allocator return free memory to the system.
    pub give_back: fn(),
    /// Returns how many log lines were dropped because standard error was not read.
    pub lines_dropped: LinesDropped,
}

/// Starts the control thread, which lives as long as the process. When this
/// returns, no signal is missed and the administration server listens.
///
/// # Errors
/// The thread could not be started, signals can't be watched, or the
/// administration server's socket can't be used.
pub(crate) fn start(control: Control) -> io::Result<()> {
    let (ready, is_ready) = mpsc::channel();
    std::thread::Builder::new().name("tapecast-control".into()).spawn(move || {
        tokio_uring::start(async move {
            // The caller waits for the result.
            match set_up(control) {
                Ok(running) => {
                    let _ = ready.send(Ok(()));
                    running.await;
                }
                Err(error) => drop(ready.send(Err(error))),
            }
        });
    })?;
    is_ready.recv().unwrap_or_else(|_| Err(io::Error::other("the control thread ended")))
}

fn set_up(control: Control) -> io::Result<impl Future<Output = ()>> {
    let signals = signals::Signals::watch()?;
    let obey: Rc<dyn Fn(Order)> = Rc::from(control.obey as Box<dyn Fn(Order)>);
    let (orders, mut ordered) = tokio::sync::mpsc::channel(4);
    if let Some(admin) = control.admin {
        tokio_uring::spawn(admin.serve(
            control.shards.clone(),
            orders,
            Arc::clone(&control.lines_dropped),
        )?);
    }
    let supervised = control.alive_every.map(|every| (every, control.alive));
    tokio_uring::spawn(watch::watch(
        control.shards,
        supervised,
        control.give_back,
        control.lines_dropped,
    ));
    let obey_admin = Rc::clone(&obey);
    tokio_uring::spawn(async move {
        while let Some(order) = ordered.recv().await {
            obey_admin(order);
        }
    });
    Ok(signals.obey(move |order| obey(order)))
}
