//! JSON strings, read and written.

use std::borrow::Cow;

/// The content of a scanned value that is a string; `None` if it is not a string, or has half of
/// a surrogate pair.
pub fn string(value: &str) -> Option<Cow<'_, str>> {
    let inner = value.strip_prefix('"')?.strip_suffix('"')?;
    if !inner.contains('\\') {
        return Some(Cow::Borrowed(inner));
    }
    let mut out = String::with_capacity(inner.len());
    let mut characters = inner.chars();
    while let Some(character) = characters.next() {
        if character != '\\' {
            out.push(character);
            continue;
        }
        out.push(match characters.next()? {
            'b' => '\u{8}',
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'u' => {
                let mut unit = || {
                    let digits: String = characters.by_ref().take(4).collect();
                    u16::from_str_radix(&digits, 16).ok()
                };
                let first = unit()?;
                match char::from_u32(first.into()) {
                    Some(character) => character,
                    None => {
                        // RFC 8259, 7: beyond the basic plane, two escapes make one.
                        let mut escape = characters.by_ref().take(2);
                        (escape.next() == Some('\\') && escape.next() == Some('u')).then_some(())?;
                        let digits: String = characters.by_ref().take(4).collect();
                        let second = u16::from_str_radix(&digits, 16).ok()?;
                        char::decode_utf16([first, second]).next()?.ok()?
                    }
                }
            }
            other => other,
        });
    }
    Some(Cow::Owned(out))
}

/// Appends `text` as a JSON string.
pub fn write_string(text: &str, out: &mut Vec<u8>) {
    quoted(text, |piece| out.extend_from_slice(piece.as_bytes()));
}

/// Passes `text`, quoted, to `put` piece by piece.
#[inline]
pub(super) fn quoted(text: &str, mut put: impl FnMut(&str)) {
    put("\"");
    let mut rest = text;
    while let Some(at) = rest.bytes().position(|byte| byte < 0x20 || byte == b'"' || byte == b'\\')
    {
        put(&rest[..at]);
        match rest.as_bytes()[at] {
            b'"' => put("\\\""),
            b'\\' => put("\\\\"),
            b'\n' => put("\\n"),
            byte => put(&format!("\\u{byte:04x}")),
        }
        rest = &rest[at + 1..];
    }
    put(rest);
    put("\"");
}
