//! Requests of the caller: they are sent at once, or once there is a connection.

use super::state::{Connection, Request, RequestKind, Session};
use crate::client::event::{Error, Options, RequestId, Subscribe};
use crate::client::subscription::Subscription;
use crate::protocol::Message;
use crate::protocol::json::{Object, Scanner};

impl Session {
    /// Subscribes, now or once connected, and again whenever it is.
    ///
    /// # Errors
    /// There is a subscription to this channel already.
    pub fn subscribe(&mut self, channel: &str, how: &Subscribe) -> Result<(), Error> {
        if self.place_of(channel).is_some() {
            return Err(Error::Subscribed(channel.to_owned()));
        }
        let mut subscription = Subscription::new(channel, how.clone());
        if self.is_open() {
            let kind = RequestKind::Subscribe(subscription.name().clone());
            self.ask(kind, subscription.request(self.next_id), None);
        }
        self.subscriptions.push(subscription);
        Ok(())
    }

    /// Ends a subscription.
    ///
    /// # Errors
    /// There is none.
    pub fn unsubscribe(&mut self, channel: &str) -> Result<(), Error> {
        let place = self.place_of(channel);
        let place = place.ok_or_else(|| Error::NotSubscribed(channel.to_owned()))?;
        let name = self.subscriptions.remove(place).name().clone();
        // Whatever the server says of it now concerns nobody, nor another of this name.
        for request in self.requests.values_mut() {
            if matches!(&request.kind, RequestKind::Subscribe(channel) if *channel == name) {
                request.kind = RequestKind::Unsubscribe;
            }
        }
        if self.is_open() {
            let request = Object::new("unsubscribe").text("channel", channel);
            self.ask(RequestKind::Unsubscribe, request, None);
        }
        Ok(())
    }

    /// Publishes JSON. The answer is an [`Event::Published`](crate::client::Event::Published) or [`Event::Refused`](crate::client::Event::Refused); or
    /// [`Event::Unanswered`](crate::client::Event::Unanswered), when the connection is lost before it comes. What is
    /// published while there is no connection is sent once there is.
    ///
    /// # Errors
    /// It is not JSON; or too much is under way.
    pub fn publish(
        &mut self,
        channel: &str,
        key: Option<&str>,
        json: &str,
    ) -> Result<RequestId, Error> {
        Scanner::new(json)
            .whole()
            .map_err(|malformed| Error::NotJson { message: malformed.message, at: malformed.at })?;
        let request = Object::new("publish").text("channel", channel);
        let request = match key {
            Some(key) => request.text("key", key),
            None => request,
        };
        self.bounded(request, Some(json))
    }

    /// Publishes that a key has no value any more. Else as [`Session::publish`].
    ///
    /// # Errors
    /// Too much is under way.
    pub fn remove(&mut self, channel: &str, key: &str) -> Result<RequestId, Error> {
        let request = Object::new("publish").text("channel", channel).text("key", key);
        self.bounded(request.json("remove", true), Some("null"))
    }

    /// Asks whether the server is there: [`Event::Pong`](crate::client::Event::Pong).
    ///
    /// # Errors
    /// Too much is under way.
    pub fn ping(&mut self) -> Result<RequestId, Error> {
        self.bounded(Object::new("ping"), None)
    }

    /// Everything of `channel` up to `seq`, or to the last message taken, is done with.
    ///
    /// # Errors
    /// There is no subscription that gets it.
    pub fn ack(&mut self, channel: &str, seq: Option<u64>) -> Result<(), Error> {
        let handed = || self.subscriptions[self.route(channel)?].handed(channel);
        let seq = seq.or_else(handed);
        let seq = seq.ok_or_else(|| Error::NotSubscribed(channel.to_owned()))?;
        self.send_ack(channel, seq);
        Ok(())
    }

    pub(super) fn send_ack(&mut self, channel: &str, seq: u64) {
        if self.is_open() {
            self.write(&Object::new("ack").text("channel", channel).json("seq", seq).end());
        }
    }

    /// A request of the caller's, who is refused where there is no room.
    pub(super) fn bounded(
        &mut self,
        request: Object,
        message: Option<&str>,
    ) -> Result<RequestId, Error> {
        let Options { requests_max, unsent_bytes_max, .. } = self.options;
        if self.requests.len() >= requests_max || self.out.len() >= unsent_bytes_max {
            return Err(Error::Full);
        }
        Ok(self.ask(RequestKind::Other, request, message))
    }

    /// The message comes last: of a request that is too long, the server reads no more than
    /// the first request.
    pub(super) fn ask(
        &mut self,
        kind: RequestKind,
        request: Object,
        message: Option<&str>,
    ) -> RequestId {
        let id = self.next_id;
        self.next_id += 1;
        let request = request.json("id", id);
        let text = match message {
            Some(json) => request.raw("message", json).end(),
            None => request.end(),
        };
        let unsent = if self.is_open() {
            self.write(&text);
            None
        } else {
            Some(text)
        };
        self.requests.insert(id, Request { kind, unsent });
        RequestId(id)
    }

    pub(super) fn write(&mut self, text: &str) {
        if let Some(Connection { codec, .. }) = &mut self.connection {
            codec.message(&mut self.out, Message::Text(text));
        }
    }
}
