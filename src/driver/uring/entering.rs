//! Entering the kernel: submitting, waiting, and handling errors of both.
//!
//! A ring that has failed in any way submits nothing any more: entries that the kernel has not
//! consumed may point at memory that was lent for one call.

use super::ring::Uring;
use crate::base::Time;
use crate::driver::contract::Driver;
use io_uring::types;
use rustix::io::Errno;

impl Uring {
    /// Submits everything that is queued. When it returns, the kernel has
    /// consumed every entry: sends and `*_now` operations among them are over.
    pub(super) fn submit_all(&mut self) -> std::io::Result<()> {
        self.check()?;
        while !self.ring.submission().is_empty() {
            match self.ring.submitter().submit() {
                Ok(_) => {}
                Err(error) => self.absorb(error)?,
            }
        }
        Ok(())
    }

    /// Handles an error of `io_uring_enter`: ignores it, makes room, or gives the ring up.
    pub(super) fn absorb(&mut self, error: std::io::Error) -> std::io::Result<()> {
        match error.raw_os_error().map(Errno::from_raw_os_error) {
            Some(Errno::INTR | Errno::TIME) => Ok(()),
            // The completion queue is full, or memory is short: reap and retry.
            Some(Errno::BUSY | Errno::AGAIN | Errno::NOMEM) => {
                let completions = self.ring.completion();
                self.backlog.extend(completions);
                self.flush_overflow()
            }
            _ => Err(self.fail(error)),
        }
    }

    /// Marks the ring as failed. Entries that were not consumed may point at memory that is lent
    /// for this call only: the kernel must never see them.
    pub(super) fn fail(&mut self, error: std::io::Error) -> std::io::Error {
        self.is_broken = true;
        error
    }

    /// Refuses to submit once the ring has failed.
    pub(super) fn check(&self) -> std::io::Result<()> {
        if self.is_broken {
            return Err(std::io::Error::other("the ring has failed before"));
        }
        Ok(())
    }

    /// Has the kernel write out completions for which there was no room.
    pub(super) fn flush_overflow(&mut self) -> std::io::Result<()> {
        while self.ring.submission().cq_overflow() {
            let result = self.ring.enter(0);
            let completions = self.ring.completion();
            self.backlog.extend(completions);
            if let Err(error) = result {
                match error.raw_os_error().map(Errno::from_raw_os_error) {
                    Some(Errno::INTR | Errno::BUSY | Errno::AGAIN) => {}
                    _ => return Err(self.fail(error)),
                }
            }
        }
        Ok(())
    }

    /// Submits and waits for a completion or `until`.
    pub(super) fn submit_and_wait(&mut self, until: Time) -> std::io::Result<()> {
        self.check()?;
        let result = if until == Time::NEVER {
            self.ring.submitter().submit_and_wait(1)
        } else {
            let timespec = types::Timespec::from(until.since(Driver::now(self)));
            let arguments = types::SubmitArgs::new().timespec(&timespec);
            self.ring.submitter().submit_with_args(1, &arguments)
        };
        match result {
            Ok(_) => Ok(()),
            Err(error) => self.absorb(error),
        }
    }

    /// Submits and lets the kernel run deferred work, without waiting.
    pub(super) fn run_task_work(&mut self) -> std::io::Result<()> {
        self.check()?;
        let queued = {
            let mut submissions = self.ring.submission();
            submissions.sync();
            submissions.len() as u32
        };
        match self.ring.enter(queued) {
            Ok(_) => Ok(()),
            Err(error) => self.absorb(error),
        }
    }

    /// Cancels every operation in flight and counts those that have ended.
    pub(super) fn cancel_all(&mut self) {
        // Finding nothing to cancel is an error too. Only the completions count.
        let _ = self.ring.submitter().register_sync_cancel(None, types::CancelBuilder::any().all());
        let _ = self.ring.enter(0);
        let completions = self.ring.completion();
        self.backlog.extend(completions);
        while let Some(completion) = self.backlog.pop_front() {
            self.count_end(&completion);
        }
    }
}
