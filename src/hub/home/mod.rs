//! The home of topics: it alone numbers their messages, keeps them, and forwards them to the
//! shards that read them. Nothing here knows a tape, a subscriber or a connection's cursor.

mod forwarding;
mod homes;
mod log;
mod presence;
mod topic;
mod values;
mod watchers;

pub use forwarding::Forward;
pub use homes::Homes;
pub use presence::{Change, change as change_of_list};
pub use topic::{Forwarding, HomeTopic, Welcome};
