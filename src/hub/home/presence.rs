//! The list of a topic's members at its home: each change is a message of the list's topic.

use super::topic::HomeTopic;
use crate::protocol::json::write_string;
use bytes::Bytes;

/// The outcome of a change of a list.
#[derive(Debug)]
pub enum Change {
    /// It is a message of the list, with this payload.
    Message(Bytes),
    /// The member is on the list already, or not on it.
    Known,
    /// The list is full.
    Full,
}

/// A member with this key joins or leaves a list of at most `members_max` members. A list
/// without a home part is empty.
pub fn change(
    list: Option<&HomeTopic>,
    key: &str,
    name: &str,
    is_present: bool,
    members_max: usize,
) -> Change {
    let members = list.map_or(0, |list| list.log.values.count());
    let is_known = list.is_some_and(|list| list.log.values.has(key));
    if is_known == is_present {
        return Change::Known;
    }
    if is_present && members >= members_max {
        return Change::Full;
    }
    let (word, members) = if is_present { ("join", members + 1) } else { ("leave", members - 1) };
    let mut payload = format!(r#"{{"{word}":"#).into_bytes();
    write_string(name, &mut payload);
    payload.extend_from_slice(format!(r#","members":{members}}}"#).as_bytes());
    Change::Message(Bytes::from(payload))
}
