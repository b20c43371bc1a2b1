//! Which connection of a group is in which room, and which ones publish. Connections are
//! numbered over all threads.

use std::ops::Range;

/// Connections spread evenly over rooms. The first connections of each room publish.
#[derive(Clone, Copy, Debug)]
pub struct Rooms {
    pub connections: u32,
    pub rooms: u32,
    /// 0 where nothing is published.
    pub publishers: u32,
}

impl Rooms {
    /// The room of a connection.
    pub fn of(&self, connection: u32) -> u32 {
        (u64::from(connection) * u64::from(self.rooms) / u64::from(self.connections)) as u32
    }

    /// The first connection of a room.
    fn first(&self, room: u32) -> u32 {
        let first = u64::from(room) * u64::from(self.connections);
        first.div_ceil(self.rooms.into()) as u32
    }

    /// The publishers of a room, numbered over all rooms.
    pub fn publishers(&self, room: u32) -> Range<u32> {
        if self.publishers == self.connections {
            return self.first(room)..self.first(room + 1);
        }
        let first = |room: u32| {
            (u64::from(room) * u64::from(self.publishers)).div_ceil(self.rooms.into()) as u32
        };
        first(room)..first(room + 1)
    }

    /// The number of a connection among the publishers, if it is one.
    pub fn publisher(&self, connection: u32) -> Option<u32> {
        let room = self.of(connection);
        let publishers = self.publishers(room);
        let number = publishers.start + (connection - self.first(room));
        publishers.contains(&number).then_some(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_publisher_has_one_connection_in_its_room() {
        for (connections, rooms, publishers) in [(10, 1, 1), (10, 3, 3), (12, 3, 7), (9, 4, 9)] {
            let rooms = Rooms { connections, rooms, publishers };
            let found: Vec<u32> =
                (0..connections).filter_map(|connection| rooms.publisher(connection)).collect();
            assert_eq!(found, (0..publishers).collect::<Vec<u32>>(), "{rooms:?}");
            for connection in 0..connections {
                if let Some(publisher) = rooms.publisher(connection) {
                    assert!(rooms.publishers(rooms.of(connection)).contains(&publisher));
                }
            }
        }
    }
}
