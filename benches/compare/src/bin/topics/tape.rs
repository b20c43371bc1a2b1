//! `/tape?topic=a&mode=latest&publish=a&keys=100`: the query has the subscriptions, and the
//! server sends only messages, as they were published.
//!
//! `topic`, repeated, subscribes. `publish`, repeated, names the topics that received messages
//! are published to, in turn. `topics=100&each=10` combines both: of `t.0` to `t.99` each
//! connection subscribes to the next ten, and publishes to all in turn. With `keys=100`,
//! publications have the keys 0 to 99 in turn.

use super::options::{number, set};
use tapecast::hub::Delivery;
use tapecast::{Conn, Handler, Message, Publish, Request, Upgrade};

/// Bytes of a reason in a close frame (RFC 6455, 5.5: 125 with the code).
const REASON_BYTES_MAX: usize = 123;

/// The handler of one shard.
#[derive(Debug, Default)]
pub struct Tape {
    /// Messages received on all connections.
    received: u64,
    /// The numbered topic that the next connection starts with.
    next_topic: usize,
}

/// The subscriptions and publications that the query of a connection asks for.
#[derive(Debug, Default)]
pub struct Asked {
    topics: Vec<String>,
    publish: Vec<String>,
    delivery: Delivery,
    keys: Option<u64>,
    /// The index of the topic of its next message.
    next: usize,
}

impl Tape {
    fn asked(&mut self, query: &str) -> Result<Asked, String> {
        let mut asked = Asked::default();
        let (mut topics, mut each) = (0, None);
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            match key {
                "topic" => asked.topics.push(value.to_owned()),
                "publish" => asked.publish.push(value.to_owned()),
                "topics" => topics = number::<usize>(key, value)?,
                "each" => each = Some(number::<usize>(key, value)?),
                "keys" => asked.keys = Some(number::<u64>(key, value)?.max(1)),
                _ => set(&mut asked.delivery, key, value)?,
            }
        }
        let each = each.unwrap_or(topics).min(topics);
        let name = |number: usize| format!("t.{}", number % topics);
        asked.topics.extend((self.next_topic..self.next_topic + each).map(name));
        asked.publish.extend((0..topics).map(name));
        self.next_topic += each;
        Ok(asked)
    }
}

impl Handler for Tape {
    type Session = Asked;

    fn upgrade(&mut self, request: &Request<'_>) -> Upgrade<Asked> {
        match self.asked(request.query().unwrap_or_default()) {
            Ok(asked) => Upgrade::accept(asked),
            Err(_) => Upgrade::reject(400),
        }
    }

    fn open(&mut self, conn: &mut Conn<'_, Asked>) {
        let Asked { topics, delivery, .. } = conn.session();
        let (topics, delivery) = (std::mem::take(topics), *delivery);
        for topic in topics {
            if let Err(error) = conn.subscribe_with(&topic, &delivery) {
                return close(conn, 1008, &error.to_string());
            }
        }
    }

    fn message(&mut self, conn: &mut Conn<'_, Asked>, message: Message<'_>) {
        let number = self.received;
        self.received += 1;
        let asked = conn.session();
        if asked.publish.is_empty() {
            return close(conn, 1008, "no topic to publish to was given");
        }
        let place = asked.next;
        asked.next = (place + 1) % asked.publish.len();
        // Taken out for the call, which borrows the whole connection.
        let topic = std::mem::take(&mut asked.publish[place]);
        let key = asked.keys.map(|keys| (number % keys).to_string());
        let publish = Publish { key: key.as_deref(), ..Publish::default() };
        let published = conn.publish_with(&topic, message, &publish);
        conn.session().publish[place] = topic;
        if let Err(error) = published {
            // 1013: try again later. No publication is dropped unreported.
            close(conn, 1013, &error.to_string());
        }
    }
}

fn close(conn: &mut Conn<'_, Asked>, code: u16, why: &str) {
    conn.close(code, &why[..why.floor_char_boundary(REASON_BYTES_MAX)]);
}
