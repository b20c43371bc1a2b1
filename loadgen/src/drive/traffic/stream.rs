//! One publisher, as all threads see it: how much it has published, and when the latest
//! publications were planned, for readers that never receive them.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tapecast::base::Time;

/// Planned times that are kept per publisher.
const PLANNED_MAX: usize = 4_096;

/// The publications of one publisher. Only the publisher's own thread adds to it.
#[derive(Debug, Default)]
pub struct Stream {
    published: AtomicU64,
    /// Planned times of the latest publications.
    planned: Mutex<VecDeque<Time>>,
}

impl Stream {
    /// How many publications there are: the number of the next one.
    #[inline]
    pub(super) fn published(&self) -> u64 {
        self.published.load(Ordering::Relaxed)
    }

    /// Adds the publication `number`, which is [`Stream::published`].
    pub(super) fn publish(&self, number: u64, planned: Time) {
        let mut kept = self.planned.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() == PLANNED_MAX {
            kept.pop_front();
        }
        kept.push_back(planned);
        self.published.store(number + 1, Ordering::Relaxed);
    }

    /// Hands `count` how long each publication from `next` on has waited, and how many waited
    /// that long. Publications whose planned time is forgotten count with the oldest that is
    /// known.
    pub(super) fn missing(&self, next: u64, now: Time, mut count: impl FnMut(Duration, u64)) {
        let planned = self.planned.lock().unwrap_or_else(PoisonError::into_inner);
        let published = self.published();
        let kept_from = published - planned.len() as u64;
        let Some(oldest) = planned.front() else { return };
        count(now - *oldest, kept_from.saturating_sub(next));
        for number in next.max(kept_from)..published {
            count(now - planned[(number - kept_from) as usize], 1);
        }
    }
}
