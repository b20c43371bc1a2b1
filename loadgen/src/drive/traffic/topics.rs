//! Topics of `tapecast.v1.json`: a broadcast in the words of that protocol.
//!
//! Every connection subscribes to its room's channel, with one of several deliveries. Order
//! is checked by the numbers that the server gives; age follows from the publisher's stamp in
//! the body. A reader that wants only the newest message misses nothing but the last one. A
//! reader that the server notifies of a gap has missed messages all the same.

use super::broadcast::Broadcast;
use super::exchange::{Received, Send, send_all};
use crate::measure::{Counted, Order, Track};
use crate::plan::{Group, fill_in};
use crate::profile::values::Delivery;
use tapecast::base::Time;
use tapecast::client::{Mode, ServerMessage, Subscribe};
use tapecast::protocol::json::Object;

/// The connections of one thread.
#[derive(Debug)]
pub struct Topics {
    broadcast: Broadcast,
    readers: Vec<Reader>,
    /// Publications carry one of this many keys; 0 for no key.
    keys: u64,
}

#[derive(Debug)]
struct Reader {
    channel: String,
    delivery: Delivery,
    /// The numbers of the server.
    track: Track,
}

impl Topics {
    /// For the connections of `broadcast`, which have these numbers in the group. Readers take
    /// the deliveries in turn. A publisher wants all messages, to receive its own.
    pub fn new(mut broadcast: Broadcast, group: &Group, connections: &[u32]) -> Topics {
        let subscribing = &group.subscribing;
        let readers: Vec<Reader> = connections
            .iter()
            .enumerate()
            .map(|(index, &connection)| Reader {
                channel: fill_in(&subscribing.channel, group.rooms.of(connection), connection),
                delivery: if broadcast.publishes(index) {
                    Delivery::ALL
                } else {
                    Delivery::of(&subscribing.deliveries, connection)
                },
                track: Track::ANYWHERE,
            })
            .collect();
        for (index, reader) in readers.iter().enumerate() {
            if reader.delivery.mode == Mode::Latest {
                broadcast.wants_newest(index);
            }
        }
        Topics { broadcast, readers, keys: subscribing.keys.into() }
    }

    /// The broadcast that carries the messages.
    pub fn broadcast(&mut self) -> &mut Broadcast {
        &mut self.broadcast
    }

    /// The first message of a connection: its subscription.
    pub fn greeting(&self, connection: usize) -> String {
        let Reader { channel, delivery, .. } = &self.readers[connection];
        let &Delivery { mode, max_rate } = delivery;
        let subscribe = Subscribe { mode, max_rate, ..Subscribe::default() };
        subscribe.request(channel, None, false).end()
    }

    /// Publishes until the window is full. Returns how many messages it sent.
    pub fn due(&mut self, connection: usize, now: Time, send: &mut Send<'_>) -> u64 {
        send_all(|| {
            self.broadcast.is_due(connection).then(|| self.send(connection, now, now, send))
        })
    }

    /// Publishes one message. Returns whether there is room for more.
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
        // The body has letters and digits only, so that it needs no escapes.
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
        let word = std::str::from_utf8(bytes).ok().and_then(|text| ServerMessage::read(text).ok());
        let Some(word) = word else { return Received::Wrong };
        let reader = &mut self.readers[connection];
        match word {
            ServerMessage::Publication { channel, seq, body, .. }
                if *channel == *reader.channel =>
            {
                let text = body.strip_prefix('"').and_then(|body| body.strip_suffix('"'));
                let stamp = text.and_then(|text| self.broadcast.stamp(text.as_bytes()));
                let Some(stamp) = stamp else { return Received::Wrong };
                let order = match (reader.track.take(seq), reader.delivery.mode) {
                    // This delivery skips superseded messages on purpose.
                    (Order::After(_), Mode::Latest) => Order::Next,
                    // It was never counted as a gap, so a late arrival must not subtract one.
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
                let is_new = counted.order(order);
                if is_new && is_own {
                    self.broadcast.count(connection, &stamp, now, bytes.len(), counted);
                } else if is_new {
                    // A message of another run has its place in the topic's order, but its
                    // age is by another clock.
                    counted.other += 1;
                }
                Received::Fine
            }
            ServerMessage::Publication { .. } => Received::Wrong,
            ServerMessage::Subscribed { seq, .. } => {
                reader.track = Track::from(seq + 1);
                counted.other += 1;
                Received::Fine
            }
            ServerMessage::Error { .. } => Received::Refused,
            // A gap shows in the numbers.
            _ => {
                counted.other += 1;
                Received::Fine
            }
        }
    }
}
