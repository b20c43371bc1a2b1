//! Topics of `tapecast.v1.json`: as a broadcast, in the words of that protocol.
//!
//! Every connection subscribes to its room's channel, in one of several deliveries;
//! order is checked against the numbers that the server gives, age is taken from the
//! publisher's stamp in the body. A reader that wants the newest only can't miss
//! anything but the last; one that is told of a gap has missed it all the same.

use super::broadcast::Broadcast;
use super::{Received, Send, send_all};
use crate::measure::{Counted, Order, Track};
use crate::payload::fill_in;
use crate::profile::values::Delivery;
use tapecast::base::Time;
use tapecast::client::{Mode, Subscribe, Word};
use tapecast::protocol::json::Object;

/// What the connections of one thread do.
#[derive(Debug)]
pub struct Topics {
    broadcast: Broadcast,
    readers: Vec<Reader>,
    /// Publications carry one of so many keys; 0: none.
    keys: u64,
}

#[derive(Debug)]
struct Reader {
    channel: String,
    delivery: Delivery,
    /// By the server's numbers.
    track: Track,
}

impl Topics {
    /// For the connections of `broadcast`, each with its room and number. The `n`th
    /// reader has the `n`th delivery, in turn; who publishes wants all, to have its own
    /// back.
    pub fn new(
        mut broadcast: Broadcast,
        channel: &str,
        keys: u32,
        deliveries: &[Delivery],
        connections: impl Iterator<Item = (u32, u32)>,
    ) -> Topics {
        let readers: Vec<Reader> = connections
            .enumerate()
            .map(|(index, (room, connection))| {
                let channel = fill_in(channel, room, connection);
                let delivery = match broadcast.publishes(index) {
                    true => Delivery::ALL,
                    false => Delivery::of(deliveries, connection),
                };
                Reader { channel, delivery, track: Track::ANYWHERE }
            })
            .collect();
        for (index, reader) in readers.iter().enumerate() {
            if reader.delivery.mode == Mode::Latest {
                broadcast.wants_newest(index);
            }
        }
        Topics { broadcast, readers, keys: keys.into() }
    }

    /// The broadcast that this is in other words.
    pub fn broadcast(&mut self) -> &mut Broadcast {
        &mut self.broadcast
    }

    /// What is to be said first on a connection.
    pub fn greeting(&self, connection: usize) -> String {
        let Reader { channel, delivery, .. } = &self.readers[connection];
        let &Delivery { mode, max_rate } = delivery;
        let subscribe = Subscribe { mode, max_rate, ..Subscribe::default() };
        subscribe.words(channel, None, false).end()
    }

    pub fn due(&mut self, connection: usize, now: Time, send: &mut Send<'_>) -> u64 {
        send_all(|| {
            self.broadcast.is_due(connection).then(|| self.send(connection, now, now, send))
        })
    }

    /// Says whether there is room for more.
    pub fn send(
        &mut self,
        connection: usize,
        planned: Time,
        now: Time,
        send: &mut Send<'_>,
    ) -> bool {
        let published = self.broadcast.publish(connection, planned, now);
        let Some((number, body)) = published else { return false };
        let words = Object::new("publish").text("channel", &self.readers[connection].channel);
        let words = match self.keys {
            0 => words,
            keys => words.text("key", &format!("k{}", number % keys)),
        };
        let mut request = words.open();
        // Letters and digits: as they are, they are a string.
        request.extend_from_slice(br#","message":""#);
        request.extend_from_slice(body);
        request.extend_from_slice(br#""}"#);
        send(&request)
    }

    #[inline]
    pub fn received(
        &mut self,
        connection: usize,
        now: Time,
        bytes: &[u8],
        counted: &mut Counted,
    ) -> Received {
        let word = std::str::from_utf8(bytes).ok().and_then(|text| Word::read(text).ok());
        let Some(word) = word else { return Received::Wrong };
        let reader = &mut self.readers[connection];
        match word {
            Word::Message { channel, seq, body, .. } if *channel == *reader.channel => {
                let text = body.strip_prefix('"').and_then(|body| body.strip_suffix('"'));
                let stamp = text.and_then(|text| self.broadcast.stamp(text.as_bytes()));
                let Some(stamp) = stamp else { return Received::Wrong };
                let order = match (reader.track.take(seq), reader.delivery.mode) {
                    // What was superseded is left out: that is what it has asked for.
                    (Order::After(_), Mode::Latest) => Order::Next,
                    // It was not counted as missing, so it is not found again.
                    (Order::Late, Mode::Latest) => {
                        counted.gaps += 1;
                        Order::Late
                    }
                    (order, _) => order,
                };
                let is_own = self.broadcast.is_own(&stamp);
                if is_own && self.broadcast.take(connection, &stamp).is_none() {
                    return Received::Wrong;
                }
                match counted.order(order) {
                    true if is_own => {
                        self.broadcast.count(connection, &stamp, now, bytes.len(), counted);
                    }
                    // Of another run, by another clock: in the topic's order all the same.
                    true => counted.other += 1,
                    false => {}
                }
                Received::Fine
            }
            Word::Message { .. } => Received::Wrong,
            Word::Subscribed { seq, .. } => {
                reader.track = Track::from(seq + 1);
                counted.other += 1;
                Received::Fine
            }
            Word::Error { .. } => Received::Refused,
            // A gap shows in the numbers.
            _ => {
                counted.other += 1;
                Received::Fine
            }
        }
    }
}
