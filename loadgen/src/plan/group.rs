//! A group of connections that do the same: how many there are, at which pace they send, and
//! which of them stall.

use super::messages::Messages;
use super::opening::Opening;
use super::rooms::Rooms;
use crate::profile::values::{Delivery, Step};
use crate::profile::{self, Arrivals, Scenario};
use std::time::Duration;
use tapecast::client::Mode;

/// A group of connections.
#[derive(Clone, Debug)]
pub struct Group {
    pub name: String,
    pub scenario: Scenario,
    /// How many connections there are, and which of them publish.
    pub rooms: Rooms,
    pub pace: Pace,
    pub messages: Messages,
    pub opening: Opening,
    pub subscribing: Subscribing,
    pub stalling: Stalling,
    /// Replies after which a connection of the connect scenario is done.
    pub replies: u64,
}

/// When the group sends.
#[derive(Clone, Debug)]
pub enum Pace {
    /// At these rates over all connections, however fast the server is.
    Open { steps: Vec<Step>, arrivals: Arrivals },
    /// As soon as fewer than this many messages are in flight on a connection.
    Closed { in_flight: u32 },
}

/// How readers of topics subscribe.
#[derive(Clone, Debug)]
pub struct Subscribing {
    /// The name of the channel, with placeholders.
    pub channel: String,
    /// Publications carry one of this many keys; 0 for no key.
    pub keys: u32,
    /// Readers take them in turn.
    pub deliveries: Vec<Delivery>,
}

/// Which readers stop reading when measuring starts.
#[derive(Clone, Copy, Debug)]
pub struct Stalling {
    /// All connections from this one on stall, except publishers.
    from: u32,
    share: f64,
    /// How long; none for the rest of the run.
    pub lasting: Option<Duration>,
}

impl Group {
    /// Plans a group of a profile, and resolves its targets.
    ///
    /// # Errors
    /// Every reason why it can't run, in words.
    pub(super) fn new(group: &profile::Group) -> Result<Group, Vec<String>> {
        let publishers = match (group.scenario, group.broadcast.publishers) {
            (Scenario::Broadcast | Scenario::Topics, 0) => group.connections,
            (Scenario::Broadcast | Scenario::Topics, publishers) => publishers,
            _ => 0,
        };
        let stalled = (f64::from(group.connections) * group.broadcast.stalled).round() as u32;
        let mut planned = Group {
            name: group.name.clone(),
            scenario: group.scenario,
            rooms: Rooms {
                connections: group.connections,
                rooms: group.broadcast.rooms,
                publishers,
            },
            pace: Pace::Closed { in_flight: group.load.in_flight },
            messages: Messages::new(group),
            opening: Opening::new(group)?,
            subscribing: Subscribing {
                channel: group.broadcast.channel.clone(),
                keys: group.broadcast.keys,
                deliveries: group.broadcast.deliveries.clone(),
            },
            stalling: Stalling {
                from: group.connections - stalled,
                share: group.broadcast.stalled,
                lasting: group.broadcast.stall,
            },
            replies: group.load.messages.into(),
        };
        planned.pace = planned.pace_of(group);
        Ok(planned)
    }

    /// The pace that a group of a profile asks for, for the senders of this one.
    pub(super) fn pace_of(&self, group: &profile::Group) -> Pace {
        match &group.load.rate {
            Some(rate) => {
                Pace::Open { steps: rate.total(self.senders()), arrivals: group.load.arrivals }
            }
            None => Pace::Closed { in_flight: group.load.in_flight },
        }
    }

    /// How many connections there are.
    pub fn connections(&self) -> u32 {
        self.rooms.connections
    }

    /// How many connections send.
    pub fn senders(&self) -> u32 {
        if self.publishes() { self.rooms.publishers } else { self.rooms.connections }
    }

    /// Whether some connections publish to the others.
    pub fn publishes(&self) -> bool {
        matches!(self.scenario, Scenario::Broadcast | Scenario::Topics)
    }

    /// Whether the group measures connecting.
    pub fn connects(&self) -> bool {
        self.scenario == Scenario::Connect
    }

    /// Whether this connection stops reading.
    pub fn stalls(&self, connection: u32) -> bool {
        connection >= self.stalling.from && self.rooms.publisher(connection).is_none()
    }

    /// Connections that are to be open at the end: all, without those that are opened over
    /// and over, and those that stall, which the server may close.
    pub fn staying(&self) -> u32 {
        let stay = |connection: &u32| !self.connects() && !self.stalls(*connection);
        (0..self.connections()).filter(stay).count() as u32
    }

    /// Replies or deliveries that `sent` messages promise. Readers that stall, or want only
    /// the newest message, are promised none.
    pub fn promised(&self, sent: u64) -> u64 {
        let deliveries = &self.subscribing.deliveries;
        let readers = match self.scenario {
            Scenario::Echo => return sent,
            Scenario::Connect | Scenario::Idle => return 0,
            Scenario::Topics if !deliveries.is_empty() => {
                let all = deliveries.iter().filter(|delivery| delivery.mode == Mode::All).count();
                all as f64 / deliveries.len() as f64
            }
            Scenario::Broadcast | Scenario::Topics => 1.0,
        };
        let reading = f64::from(self.connections()) * (1.0 - self.stalling.share);
        (sent as f64 * (readers * (reading / f64::from(self.rooms.rooms))).floor()) as u64
    }
}

impl Pace {
    /// Messages in flight on a connection of a closed loop; 0 in the open model, in which an
    /// answer makes nothing leave.
    pub fn window(&self) -> u32 {
        match self {
            Pace::Open { .. } => 0,
            Pace::Closed { in_flight } => *in_flight,
        }
    }

    /// Whether messages leave when they are planned.
    pub fn is_open(&self) -> bool {
        matches!(self, Pace::Open { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planned(change: impl Fn(&mut profile::Group)) -> Group {
        let url = "ws://127.0.0.1:9001/".parse().unwrap();
        let mut group = profile::Group { connections: 20, ..profile::Group::default() };
        group.opening.urls = vec![url];
        change(&mut group);
        Group::new(&group).unwrap()
    }

    #[test]
    fn a_group_without_publishers_publishes_on_every_connection() {
        for (scenario, publishers, senders) in [
            (Scenario::Broadcast, 0, 20),
            (Scenario::Topics, 3, 3),
            (Scenario::Echo, 3, 20),
            (Scenario::Connect, 0, 20),
        ] {
            let group = planned(|group| {
                (group.scenario, group.broadcast.publishers) = (scenario, publishers);
            });
            assert_eq!(group.senders(), senders, "{scenario:?}");
            let Pace::Open { steps, .. } = &group.pace else { panic!("a rate is the default") };
            assert_eq!((steps[0].per_second, group.pace.window()), (1_000.0, 0));
        }
        let per_connection = planned(|group| {
            (group.scenario, group.broadcast.publishers) = (Scenario::Broadcast, 4);
            group.load.rate = Some("5/connection".parse().unwrap());
        });
        let Pace::Open { steps, .. } = &per_connection.pace else { panic!("it has a rate") };
        assert_eq!(steps[0].per_second, 20.0);
    }

    #[test]
    fn publishers_never_stall_and_others_stay_and_are_promised_messages() {
        let group = planned(|group| {
            group.scenario = Scenario::Broadcast;
            let broadcast = &mut group.broadcast;
            (broadcast.rooms, broadcast.publishers, broadcast.stalled) = (2, 2, 0.6);
        });
        // The last twelve stall, without the publisher of the second room.
        let stalled: Vec<u32> = (0..20).filter(|number| group.stalls(*number)).collect();
        assert_eq!(stalled, [8, 9, 11, 12, 13, 14, 15, 16, 17, 18, 19]);
        assert_eq!((group.staying(), group.promised(10)), (9, 40));
        let newest = planned(|group| {
            group.scenario = Scenario::Topics;
            group.broadcast.deliveries = vec!["all".parse().unwrap(), "latest".parse().unwrap()];
        });
        assert_eq!((newest.staying(), newest.promised(10)), (20, 100));
        let connect = planned(|group| group.scenario = Scenario::Connect);
        assert_eq!((connect.staying(), connect.promised(10)), (0, 0));
    }

    #[test]
    fn a_group_without_a_target_names_the_remedy() {
        let problems = Group::new(&profile::Group::default()).unwrap_err();
        assert_eq!(problems, ["no target: pass --url ws://HOST:PORT/PATH"]);
    }
}
