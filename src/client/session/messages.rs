//! Messages of the server become events; taking an event acknowledges its message.

use super::state::{RequestKind, Session};
use crate::client::event::{Event, Position, Received, RequestId};
use crate::client::server_message::ServerMessage;

impl Session {
    pub(super) fn take_message(&mut self, message: ServerMessage<'_>) {
        let answered = match &message {
            ServerMessage::Publication { channel, .. }
            | ServerMessage::Snapshot { channel, .. }
            | ServerMessage::SnapshotEnd { channel, .. }
            | ServerMessage::Gap { channel, .. }
            | ServerMessage::Conflated { channel, .. } => {
                if let Some(index) = self.route(channel) {
                    self.subscriptions[index].receive(message, &mut self.events);
                }
                return;
            }
            ServerMessage::Subscribed { channel, id, .. } => {
                let (index, id) = (self.route(channel), *id);
                if let Some(index) = index {
                    self.subscriptions[index].receive(message, &mut self.events);
                }
                id
            }
            ServerMessage::Heartbeat(positions) => {
                for (channel, seq) in positions {
                    if let Some(index) = self.route(channel) {
                        self.subscriptions[index].heartbeat(channel, *seq, &mut self.events);
                    }
                }
                return;
            }
            ServerMessage::Published { seq, id: Some(id), .. } => {
                let (request, seq) = (RequestId(*id), *seq);
                self.events.push_back(Event::Published { request, seq });
                Some(*id)
            }
            ServerMessage::Pong { id: Some(id) } => {
                self.events.push_back(Event::Pong { request: RequestId(*id) });
                Some(*id)
            }
            ServerMessage::Error { code, message, id } => {
                self.refused(*code, message, *id);
                return;
            }
            ServerMessage::Shutdown { within_ms } => {
                self.events.push_back(Event::Shutdown { within_ms: *within_ms });
                return;
            }
            ServerMessage::Unsubscribed { id, .. } => *id,
            _ => return,
        };
        if let Some(id) = answered {
            self.requests.remove(&id);
        }
    }

    pub(super) fn refused(&mut self, code: u16, message: &str, id: Option<u64>) {
        let request = id.and_then(|id| self.requests.remove(&id));
        let channel = match request.map(|request| request.kind) {
            // The subscription has ended already.
            Some(RequestKind::Unsubscribe) => return,
            Some(RequestKind::Subscribe(channel)) => {
                self.subscriptions.retain(|subscription| *subscription.name() != channel);
                Some(channel)
            }
            _ => None,
        };
        let (request, message) = (id.map(RequestId), message.to_owned());
        self.events.push_back(Event::Refused { request, channel, code, message });
    }

    /// The subscription that receives publications to `channel`: the one of its name, or
    /// else that of the first matching pattern.
    pub(super) fn route(&self, channel: &str) -> Option<usize> {
        let by_name = self.place_of(channel);
        by_name.or_else(|| self.subscriptions.iter().position(|it| it.matches(channel)))
    }

    pub(super) fn place_of(&self, name: &str) -> Option<usize> {
        self.subscriptions.iter().position(|it| **it.name() == *name)
    }

    /// Takes the next event. Taking a message acknowledges it, unless the subscription has
    /// `manual_ack`.
    pub fn next_event(&mut self) -> Option<Event> {
        let event = self.events.pop_front()?;
        if let Event::Message(Received { channel, .. })
        | Event::Subscribed { channel, .. }
        | Event::SnapshotEnd { channel, .. }
        | Event::Gap { channel, .. } = &event
            && let Some(index) = self.route(channel)
            && let Some(seq) = self.subscriptions[index].take_event(&event)
        {
            self.send_ack(channel, seq);
        }
        Some(event)
    }

    /// The number of events that were not taken yet.
    pub fn events(&self) -> usize {
        self.events.len()
    }

    /// The position behind the last message taken of `channel`.
    pub fn position(&self, channel: &str) -> Option<Position> {
        self.subscriptions[self.route(channel)?].position(channel)
    }
}
