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

/// Stops the whole server when a shard fails: its topics are
/// lost, and the other shards can't continue without it.
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

/// The thread of a shard whose ring is being set up.
pub(super) struct Starting {
    pub(super) id: ShardId,
    bell: mpsc::Receiver<Result<Bell, SetupError>>,
    parts: mpsc::Sender<(Parts, Guard)>,
    thread: JoinHandle<std::io::Result<()>>,
}

impl Starting {
    /// Starts the thread, which sets its ring up itself: only the creating thread may use a ring.
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
                    // The receiver waits for every shard.
                    let _ = bell_sender.send(Err(error));
                    return Ok(());
                }
            };
            ring.listen(listeners, setup.accepts_in_flight);
            let waker: Box<dyn Wake> = Box::new(ring.waker());
            let _ = bell_sender.send(Ok(Arc::new(Doorbell::new(waker))));
            // Fails if another shard could not start, which ends the server.
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
        // The thread waits for its parts.
        let _ = self.parts.send((parts, guard));
        self.thread
    }
}
