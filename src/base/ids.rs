//! Identifiers.

use std::fmt;
use std::str::FromStr;

/// A shard's number, from 0.
///
/// ```
/// use tapecast::ShardId;
///
/// let connections = [140, 152];
/// let shard = ShardId(1);
/// assert_eq!(connections[shard.index()], 152);
/// assert_eq!(format!("shard {shard}"), "shard 1");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShardId(pub u16);

impl ShardId {
    /// The number as an index into per-shard tables.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Display for ShardId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// One connection of one shard, unique for as long as the process runs: a slot may
/// be reused, and then its generation differs.
///
/// ```
/// use tapecast::{ConnectionId, ShardId};
///
/// let ended = ConnectionId { shard: ShardId(0), index: 7, generation: 0 };
/// let present = ConnectionId { generation: 1, ..ended };
/// // The same slot, another connection.
/// assert_ne!(ended, present);
/// assert_eq!(present.to_string(), "0.7.1");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId {
    /// The shard that owns the connection.
    pub shard: ShardId,
    /// The slot on that shard.
    pub index: u32,
    /// How often the slot was in use before.
    pub generation: u32,
}

impl FromStr for ConnectionId {
    type Err = String;

    /// Reads the form that `Display` writes.
    fn from_str(text: &str) -> Result<ConnectionId, String> {
        let mut numbers = text.split('.').map(str::parse::<u32>);
        let mut next = || numbers.next().and_then(Result::ok);
        let read = (next(), next(), next(), next());
        let (Some(shard), Some(index), Some(generation), None) = read else {
            return Err(format!("{text:?}: expected a connection id, like 0.17.3"));
        };
        let shard = u16::try_from(shard).map_err(|_| format!("{text:?}: no such shard"))?;
        Ok(ConnectionId { shard: ShardId(shard), index, generation })
    }
}

impl fmt::Display for ConnectionId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}.{}.{}", self.shard, self.index, self.generation)
    }
}
