//! The room that a publication needs for its stamp, which limits the size of messages.

/// Bytes of a stamp: 20, or, in text, a mark and two digits for each.
pub const fn stamp_bytes(is_text: bool) -> usize {
    if is_text { 41 } else { 20 }
}
