//! The checks of a simulated client on `topic.c`, whose messages have keys and arrive in
//! the envelope lane, in a mode that the client chooses anew each time it subscribes.

use crate::base::Random;
use crate::hub::{Delivery, Mode, Since, SlowReader};
use crate::protocol::Message;
use crate::testing::ENVELOPE;

/// The subscription of a client, and its progress.
#[derive(Debug, Default)]
pub struct Third {
    asked: Asked,
    /// A subscription is requested and not answered yet.
    is_asking: bool,
    epoch: u64,
    /// The number of the last message accounted for; none before the client is subscribed.
    last: Option<u64>,
    /// The epoch and number from which it last asked to resume.
    since: Option<(u64, u64)>,
    in_snapshot: bool,
    conflated_to: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Asked {
    latest: bool,
    window: bool,
}

pub fn number(digits: &[u8]) -> u64 {
    std::str::from_utf8(digits).unwrap().parse().unwrap()
}

/// `k12 xxx` is of the key `12 % 3`.
pub fn key(message: Message<'_>) -> String {
    let digits = message.payload()[1..].split(|&byte| byte == b' ').next().unwrap();
    (number(digits) % 3).to_string()
}

/// `mLRWSP EPOCH SEQ`: latest, rate, window, snapshot and policy, each a digit.
pub fn delivery(message: Message<'_>) -> Delivery {
    let text = std::str::from_utf8(message.payload()).unwrap();
    let mut words = text.split(' ');
    let flags = &words.next().unwrap().as_bytes()[1..];
    let since = words.next().zip(words.next());
    Delivery {
        mode: if flags[0] == b'1' { Mode::Latest } else { Mode::All },
        max_rate: (flags[1] == b'1').then_some(200),
        window: (flags[2] == b'1').then_some(2),
        snapshot: flags[3] == b'1',
        slow_reader: Some(match flags[4] {
            b'0' => SlowReader::Gap,
            _ => SlowReader::Conflate,
        }),
        since: since
            .map(|(epoch, seq)| Since { epoch: epoch.parse().unwrap(), seq: seq.parse().unwrap() }),
        lane: Some(&ENVELOPE),
    }
}

impl Third {
    /// Whether every subscription that it requested is answered.
    pub fn is_answered(&self) -> bool {
        !self.is_asking
    }

    /// The words of a subscription.
    pub fn subscribe(&mut self, random: &mut Random) -> String {
        let mut flag = || random.chance(3);
        let (latest, rate, window, snapshot, policy) = (flag(), flag(), flag(), flag(), flag());
        let is_known = !self.in_snapshot && self.conflated_to == 0;
        self.since = self.last.filter(|_| is_known && !flag()).map(|last| (self.epoch, last));
        self.asked = Asked { latest, window };
        self.is_asking = true;
        let digits = [latest, rate, window, snapshot, policy].map(|on| if on { '1' } else { '0' });
        let since = self.since.map_or(String::new(), |(epoch, seq)| format!(" {epoch} {seq}"));
        format!("m{}{since}", digits.iter().collect::<String>())
    }

    /// The answer: `EPOCH SEQ RECOVERED`.
    pub fn subscribed(&mut self, words: &str) {
        let mut words = words.split(' ');
        let mut next = || words.next().unwrap().parse::<u64>().unwrap();
        let (epoch, seq) = (next(), next());
        let recovered = words.next() == Some("true");
        self.is_asking = false;
        // Nothing is missed before the first message, whichever incarnation that is of.
        let is_empty = seq == 0 && self.since.is_some_and(|since| since.1 == 0);
        let is_asked = self.since == Some((epoch, seq)) || is_empty;
        assert!(!recovered || is_asked, "resumed without a request to");
        (self.epoch, self.last) = (epoch, Some(seq));
        (self.in_snapshot, self.conflated_to) = (false, 0);
    }

    /// Checks a message or mark; returns the answer to send.
    pub fn check(&mut self, text: &str) -> Option<Vec<u8>> {
        // Messages in flight before the last subscription belong to the earlier one.
        if self.is_asking {
            return None;
        }
        let mut words = text.split(' ');
        let kind = words.next().unwrap();
        assert_eq!(words.next(), Some("topic.c"));
        let first: u64 = words.next().unwrap().parse().unwrap();
        let second = words.next().and_then(|word| word.parse().ok()).unwrap_or(0);
        let last = self.last.expect("subscribed before the first message");
        match kind {
            "M" if self.in_snapshot => {}
            "M" => {
                let may_skip = self.asked.latest || last < self.conflated_to;
                let is_next = first == last + 1;
                assert!(is_next || may_skip && first > last, "{first} after {last}: {self:?}");
                assert!(
                    is_next || self.asked.latest || first <= self.conflated_to + 1,
                    "{first} skips more than was conflated: {self:?}"
                );
                self.last = Some(first);
            }
            "G" => {
                let may_skip = self.asked.latest || last < self.conflated_to;
                assert!(first == last + 1 || may_skip, "a gap from {first} after {last}");
                self.last = Some(second);
            }
            "C" => {
                assert!(first > last, "conflated from {first} after {last}");
                self.conflated_to = second;
            }
            "S" => self.in_snapshot = true,
            _ => {
                assert!(first >= last && self.in_snapshot, "{self:?}");
                (self.last, self.in_snapshot) = (Some(first), false);
            }
        }
        (kind == "M" && self.asked.window).then(|| format!("a{first}").into_bytes())
    }

    /// Checks the end of a run in which `published` messages got numbers.
    pub fn check_end(&self, published: u64) {
        assert!(!self.is_asking, "never subscribed: {self:?}");
        let complete = self.last.is_none_or(|last| last == published);
        assert!(complete, "the end of {published} is missing: {self:?}");
    }
}
