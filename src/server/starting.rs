//! A shard's thread, from its start until it runs.

use super::error::ServerError;
use super::topology;
use crate::app::Handler;
use crate::base::{ShardId, Wake};
use crate::driver::{Driver, Setup, SetupError, Uring};
use crate::mailbox::Doorbell;
use crate::shard::links::Bell;
use crate::shard::{Command, Parts, Shard};
use std::os::fd::OwnedFd;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;

/// Stops the whole server when a shard ends other than by order: its topics are
/// gone, and the others can't go on without it.
pub(super) struct Guard(pub(super) Option<(Arc<Command>, Arc<[Bell]>)>);

impl Guard {
    fn disarm(mut self) {
        self.0 = None;
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let Some((command, bells)) = &self.0 else { return };
        command.give(Command::STOP);
        for bell in &**bells {
            bell.ring();
        }
    }
}

/// A shard's thread whose ring is being set up.
pub(super) struct Starting {
    pub(super) id: ShardId,
    bell: mpsc::Receiver<Result<Bell, SetupError>>,
    parts: mpsc::Sender<(Parts, Guard)>,
    thread: JoinHandle<std::io::Result<()>>,
}

impl Starting {
    /// A ring may be used by the thread alone that has made it.
    pub(super) fn spawn<H, F>(
        id: ShardId,
        core: topology::Core,
        setup: Setup,
        listeners: Vec<OwnedFd>,
        make: Arc<F>,
    ) -> Result<Starting, ServerError>
    where
        H: Handler,
        F: Fn(ShardId) -> H + Send + Sync + 'static,
    {
        let (bell_sender, bell) = mpsc::channel();
        let (parts, parts_receiver) = mpsc::channel::<(Parts, Guard)>();
        let thread = std::thread::Builder::new().name(format!("tapecast-{id}"));
        let thread = thread.spawn(move || {
            core.pin();
            let mut ring = match Uring::new(&setup) {
                Ok(ring) => ring,
                Err(error) => {
                    // The receiver is there until it has heard from every shard.
                    let _ = bell_sender.send(Err(error));
                    return Ok(());
                }
            };
            ring.listen(listeners, setup.accepts_in_flight);
            let waker: Box<dyn Wake> = Box::new(ring.waker());
            let _ = bell_sender.send(Ok(Arc::new(Doorbell::new(waker))));
            // Fails when another shard could not start: the server gives up.
            let Ok((parts, guard)) = parts_receiver.recv() else { return Ok(()) };
            let handler = make(id);
            Shard::new(ring, handler, parts).run()?;
            guard.disarm();
            Ok(())
        });
        let thread = thread.map_err(ServerError::Thread)?;
        Ok(Starting { id, bell, parts, thread })
    }

    pub(super) fn bell(&self) -> Result<Bell, ServerError> {
        match self.bell.recv() {
            Ok(result) => result.map_err(ServerError::Ring),
            Err(_) => Err(ServerError::Thread(std::io::Error::other("a shard's thread ended"))),
        }
    }

    pub(super) fn go(self, parts: Parts, guard: Guard) -> JoinHandle<std::io::Result<()>> {
        // It waits for them.
        let _ = self.parts.send((parts, guard));
        self.thread
    }
}
