//! Publishing from any thread.

use super::command::{Answer, CommandSender, Publication, ShardCommand};
use super::message::Publish;
use crate::base::ShardId;
use crate::hub::{self, Hub, HubError};
use crate::protocol::Message;
use bytes::Bytes;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Publishes to topics from any thread. Cheap to clone.
///
/// Messages that one thread publishes to one topic keep their order.
///
/// ```
/// use tapecast::routes::{BROADCAST_TOPIC, Broadcast};
/// use tapecast::testing::{Received, TestShard};
///
/// let mut shard = TestShard::new(Broadcast);
/// let mut client = shard.connect("/");
/// shard.run();
/// let publisher = shard.publisher();
/// let thread = std::thread::spawn(move || publisher.publish(BROADCAST_TOPIC, "opening bell"));
/// assert_eq!(thread.join().unwrap(), Ok(()));
/// shard.run();
/// assert_eq!(client.receive(), Some(Received::Text("opening bell".into())));
/// ```
#[derive(Clone)]
pub struct Publisher {
    senders: Arc<[CommandSender]>,
    home_seed: u64,
    message_bytes_max: usize,
    stopped: Arc<AtomicBool>,
}

impl Publisher {
    pub(crate) fn new(
        senders: Arc<[CommandSender]>,
        home_seed: u64,
        message_bytes_max: usize,
        stopped: Arc<AtomicBool>,
    ) -> Publisher {
        Publisher { senders, home_seed, message_bytes_max, stopped }
    }

    #[cfg(feature = "cli")]
    pub(crate) fn message_bytes_max(&self) -> usize {
        self.message_bytes_max
    }

    /// Publishes a message to every subscriber of `topic`. Returns once the message is in the inbox
    /// of the topic's home shard, without waiting for its delivery.
    ///
    /// # Errors
    /// - [`HubError::BadName`]: the name is invalid.
    /// - [`HubError::NotAllowed`]: the name is reserved for the server.
    /// - [`HubError::TooBig`]: the message has more than `message_bytes_max` bytes.
    /// - [`HubError::Full`]: the inbox is full; the caller may retry later.
    /// - [`HubError::Stopped`]: the server has stopped.
    ///
    /// ```no_run
    /// # use tapecast::{Server, Router};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let server = Server::builder().listen("127.0.0.1:0")?.start(|_shard| Router::new())?;
    /// server.publisher().publish("lobby", "opening bell")?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn publish<'m>(
        &self,
        topic: &str,
        message: impl Into<Message<'m>>,
    ) -> Result<(), HubError> {
        self.publish_with(topic, message, &Publish::default())
    }

    /// Publishes a message with options, such as a key. A token has no effect here.
    ///
    /// # Errors
    /// As [`Publisher::publish`], and:
    /// - [`HubError::BadKey`]: the key has more than 255 bytes. If the topic's rule has no keys,
    ///   its home publishes the message without one.
    /// - [`HubError::BadJson`]: the message claims to be JSON and is not.
    pub fn publish_with<'m>(
        &self,
        topic: &str,
        message: impl Into<Message<'m>>,
        publish: &Publish<'_>,
    ) -> Result<(), HubError> {
        self.post(topic, message.into(), publish, None)
    }

    /// Publishes as [`Publisher::publish_with`] does. With an `answer`, the topic's home reports
    /// the outcome of the publication, and refuses a key if the rule has none.
    pub(crate) fn post(
        &self,
        topic: &str,
        message: Message<'_>,
        publish: &Publish<'_>,
        answer: Option<Answer<Result<u64, HubError>>>,
    ) -> Result<(), HubError> {
        let &Publish { key, removes_key, json, token: _ } = publish;
        if !hub::is_topic_name(topic) {
            return Err(HubError::BadName);
        }
        if hub::is_reserved(topic) {
            return Err(HubError::NotAllowed);
        }
        if json && !message.is_json() {
            return Err(HubError::BadJson);
        }
        if key.is_some_and(|key| key.len() > hub::KEY_BYTES_MAX) {
            return Err(HubError::BadKey);
        }
        if message.payload().len() > self.message_bytes_max {
            return Err(HubError::TooBig);
        }
        if self.stopped.load(Ordering::Relaxed) {
            return Err(HubError::Stopped);
        }
        let ShardId(home) = Hub::home_of(topic, self.home_seed, self.senders.len() as u16);
        let sender = &self.senders[usize::from(home)];
        let payload = Bytes::copy_from_slice(message.payload());
        let publication = Publication {
            topic: topic.into(),
            key: key.map(Arc::from),
            removes_key,
            is_json: json,
            kind: message.kind(),
            payload,
        };
        sender.post(ShardCommand::Publish { publication, answer }).map_err(|_| HubError::Full)
    }
}

impl std::fmt::Debug for Publisher {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Publisher").field("shards", &self.senders.len()).finish()
    }
}
