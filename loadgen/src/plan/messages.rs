//! The form of a group's messages, and placeholders in texts.

use crate::profile::values::{Content, Sizes};
use crate::profile::{Check, Group};

/// The form of a group's messages.
#[derive(Clone, Debug)]
pub struct Messages {
    pub is_text: bool,
    pub sizes: Sizes,
    pub content: Content,
    pub check: Check,
    /// The text around a payload, with placeholders.
    pub template: Option<String>,
}

impl Messages {
    pub(super) fn new(group: &Group) -> Messages {
        Messages {
            is_text: group.message.text,
            sizes: group.message.size.clone(),
            content: group.message.payload.clone(),
            check: group.message.check,
            template: Some(&group.message.template)
                .filter(|template| !template.is_empty())
                .cloned(),
        }
    }

    /// Whether messages differ in their numbers alone, so that frames can be compared whole.
    pub(super) fn can_repeat(&self) -> bool {
        !self.is_text
            && self.check == Check::Content
            && self.template.is_none()
            && matches!(self.content, Content::Pattern)
            && matches!(self.sizes, Sizes::Fixed(1..))
    }
}

/// Replaces the placeholders of a text with the room and the number of a connection.
pub fn fill_in(text: &str, room: u32, connection: u32) -> String {
    text.replace("{room}", &room.to_string()).replace("{connection}", &connection.to_string())
}
