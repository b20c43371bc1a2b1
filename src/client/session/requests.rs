//! Requests of the caller: they are sent at once, or once there is a connection.

use super::state::{Connection, Request, RequestKind, Session};
use crate::client::event::{Error, Options, RequestId, Subscribe};
use crate::client::subscription::Subscription;
use crate::protocol::Message;
use crate::protocol::json::{Object, Scanner};

impl Session {
    /// Subscribes now, or once connected, and again after every reconnect.
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
    /// There is no such subscription.
    pub fn unsubscribe(&mut self, channel: &str) -> Result<(), Error> {
        let place = self.place_of(channel);
        let place = place.ok_or_else(|| Error::NotSubscribed(channel.to_owned()))?;
        let name = self.subscriptions.remove(place).name().clone();
        // Later answers to it are ignored, and do not count for another one of this name.
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

    /// Publishes JSON. The answer is an [`Event::Published`] or [`Event::Refused`]; or
    /// [`Event::Unanswered`], if the connection is lost before it arrives. Without a
    /// connection, the publication is sent once there is one.
    ///
    /// # Errors
    /// It is not JSON, or too many requests are in flight.
    ///
    /// [`Event::Published`]: crate::client::Event::Published
    /// [`Event::Refused`]: crate::client::Event::Refused
    /// [`Event::Unanswered`]: crate::client::Event::Unanswered
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

    /// Publishes the removal of a key. Otherwise as [`Session::publish`].
    ///
    /// # Errors
    /// Too many requests are in flight.
    pub fn remove(&mut self, channel: &str, key: &str) -> Result<RequestId, Error> {
        let request = Object::new("publish").text("channel", channel).text("key", key);
        self.bounded(request.json("remove", true), Some("null"))
    }

    /// Pings the server. The answer is an [`Event::Pong`](crate::client::Event::Pong).
    ///
    /// # Errors
    /// Too many requests are in flight.
    pub fn ping(&mut self) -> Result<RequestId, Error> {
        self.bounded(Object::new("ping"), None)
    }

    /// Acknowledges all messages of `channel` up to `seq`, or up to the last message taken.
    ///
    /// # Errors
    /// There is no subscription for it.
    pub fn ack(&mut self, channel: &str, seq: Option<u64>) -> Result<(), Error> {
        let taken = || self.subscriptions[self.route(channel)?].last_taken(channel);
        let seq = seq.or_else(taken);
        let seq = seq.ok_or_else(|| Error::NotSubscribed(channel.to_owned()))?;
        self.send_ack(channel, seq);
        Ok(())
    }

    pub(super) fn send_ack(&mut self, channel: &str, seq: u64) {
        if self.is_open() {
            self.write(&Object::new("ack").text("channel", channel).json("seq", seq).end());
        }
    }

    /// Sends a request of the caller, unless the limits are reached.
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

    /// Sends a request, or keeps it until there is a connection. The message comes last: of a
    /// request that is too long, the server reads only the start.
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
