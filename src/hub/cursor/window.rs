//! The window of a subscription: messages that were delivered and not yet
//! acknowledged, as runs of numbers, so that holes do not count.

use std::collections::VecDeque;

/// The messages in flight: delivered and not acknowledged, at most `messages_max`.
#[derive(Debug)]
pub struct Window {
    messages_max: u64,
    /// First number and count of each run, by first number; few overlap.
    runs: VecDeque<(u64, u64)>,
    outstanding: u64,
}

impl Window {
    /// Nothing delivered yet.
    pub fn new(messages_max: u32) -> Window {
        Window { messages_max: messages_max.into(), runs: VecDeque::new(), outstanding: 0 }
    }

    /// How many more may be delivered now.
    #[inline]
    pub fn credit(&self) -> u64 {
        self.messages_max.saturating_sub(self.outstanding)
    }

    /// `count` messages from number `first` on were delivered. In a snapshot they are older
    /// than what came before, or the same again.
    pub fn delivered(&mut self, first: u64, count: u64) {
        self.outstanding += count;
        let place = match self.runs.back() {
            Some(last) if last.0 > first => self.runs.partition_point(|run| run.0 <= first),
            _ => self.runs.len(),
        };
        match place.checked_sub(1).map(|before| &mut self.runs[before]) {
            Some(before) if before.0 + before.1 == first => before.1 += count,
            _ => self.runs.insert(place, (first, count)),
        }
    }

    /// Everything up to number `seq` is acknowledged. Returns whether that made room.
    pub fn acknowledge(&mut self, seq: u64) -> bool {
        let before = self.outstanding;
        let mut place = 0;
        while let Some((first, count)) = self.runs.get_mut(place)
            && *first <= seq
        {
            let acknowledged = (seq.saturating_add(1) - *first).min(*count);
            self.outstanding -= acknowledged;
            *first += acknowledged;
            *count -= acknowledged;
            if *count == 0 {
                self.runs.remove(place);
            } else {
                // Behind it there may be some of its numbers again.
                place += 1;
            }
        }
        self.outstanding < before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_agrees_with_a_list_of_numbers() {
        for seed in 0..200 {
            let mut random = fastrand::Rng::with_seed(seed);
            let messages_max = random.u32(1..50);
            let mut window = Window::new(messages_max);
            let mut twin: Vec<u64> = Vec::new();
            let mut next = 1;
            for _ in 0..300 {
                if random.bool() {
                    next += random.u64(..3) * random.u64(..3);
                    let count = random.u64(..=window.credit());
                    if count > 0 {
                        window.delivered(next, count);
                        twin.extend(next..next + count);
                        next += count;
                    }
                } else {
                    let seq = random.u64(..next + 5);
                    let before = twin.len();
                    twin.retain(|&number| number > seq);
                    assert_eq!(window.acknowledge(seq), twin.len() < before);
                }
                assert_eq!(window.credit(), u64::from(messages_max) - twin.len() as u64);
                assert!(window.runs.len() <= twin.len());
            }
        }
    }
}
