//! Setting a ring up, and testing that the kernel behaves as every send assumes.

use super::buffers::Buffers;
use super::queues::Queues;
use super::ring::{BUFFER_GROUP, SUBMISSIONS, Uring};
use super::waker::EventWaker;
use crate::base::Time;
use crate::driver::batch::Batch;
use crate::driver::contract::Driver;
use crate::driver::error::SetupError;
use crate::driver::event::Event;
use crate::driver::setup::Setup;
use crate::driver::token::Token;
use io_uring::IoUring;
use rustix::io::Errno;
use std::collections::VecDeque;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

fn origin() -> Instant {
    static ORIGIN: OnceLock<Instant> = OnceLock::new();
    *ORIGIN.get_or_init(Instant::now)
}

impl Uring {
    /// Sets a ring up on this thread, the only one that may use it.
    ///
    /// # Errors
    /// Why the ring can't be set up, with the setting to change.
    pub fn new(setup: &Setup) -> Result<Uring, SetupError> {
        let failed = |place| move |error| SetupError::Failed(place, error);
        let completions = (setup.events_per_turn as u32).max(2 * SUBMISSIONS);
        let ring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_submit_all()
            .setup_cqsize(completions)
            .build(SUBMISSIONS)
            .map_err(SetupError::from_setup)?;
        let ring = Queues::new(ring).map_err(failed("registering the ring"))?;
        for (present, feature) in [
            (ring.params().is_feature_nodrop(), "completions that are never dropped"),
            (ring.params().is_feature_ext_arg(), "waits with a timeout"),
            (ring.params().is_feature_skip_cqe_on_success(), "sends without completions"),
        ] {
            if !present {
                return Err(SetupError::Feature(feature));
            }
        }
        ring.submitter()
            .register_files_sparse(setup.sockets_max)
            .map_err(failed("registering the descriptor table"))?;
        // Only shutdown uses worker threads; two suffice.
        ring.submitter()
            .register_iowq_max_workers(&mut [1, 1])
            .map_err(failed("limiting worker threads"))?;
        let buffers = Buffers::new(
            ring.submitter(),
            BUFFER_GROUP,
            setup.receive_buffers,
            setup.receive_buffer_bytes,
        )
        .map_err(failed("registering receive buffers"))?;
        let event = rustix::event::eventfd(
            0,
            rustix::event::EventfdFlags::CLOEXEC | rustix::event::EventfdFlags::NONBLOCK,
        )
        .map_err(|error| SetupError::Failed("eventfd", error.into()))?;
        let mut uring = Uring {
            ring,
            buffers,
            accepts: Box::new([]),
            listeners: Vec::new(),
            stops_listening: false,
            is_broken: false,
            in_flight: 0,
            event: EventWaker(Arc::new(event)),
            event_polled: false,
            backlog: VecDeque::new(),
            headers: Vec::new(),
            origin: origin(),
        };
        uring.verify_sends()?;
        Ok(uring)
    }

    /// Checks on a socket pair the assumption of every send: it ends inside the
    /// submitting call, without a completion when whole, with a count when cut short, with
    /// EAGAIN when nothing fits.
    fn verify_sends(&mut self) -> Result<(), SetupError> {
        let failed = |place| move |error: Errno| SetupError::Failed(place, error.into());
        let (near, far) = rustix::net::socketpair(
            rustix::net::AddressFamily::UNIX,
            rustix::net::SocketType::STREAM,
            rustix::net::SocketFlags::CLOEXEC,
            None,
        )
        .map_err(failed("socketpair"))?;
        let socket = self.adopt(near).map_err(failed("adopting a socket"))?;
        let bytes = vec![0; 4 << 20];
        let whole = self.send_now(socket, &[&bytes[..4], &bytes[..6]]);
        let short = self.send_now(socket, &[&bytes[..10], &bytes]);
        let none = self.send_now(socket, &[&bytes]);
        let as_expected = whole == Ok(10)
            && matches!(short, Ok(count) if count > 0 && count < bytes.len())
            && none == Err(Errno::AGAIN);
        drop(far);
        let token = Token { index: 0, generation: 0 };
        self.close(socket, token);
        let mut events = Vec::new();
        while !events.iter().any(|event| matches!(event, Event::Closed { .. })) {
            self.turn(&mut Batch::new(), Time::NEVER, &mut events)
                .map_err(|error| SetupError::Failed("io_uring_enter", error))?;
        }
        if !as_expected {
            return Err(SetupError::Feature("sends that end inside the submitting call"));
        }
        Ok(())
    }
}
