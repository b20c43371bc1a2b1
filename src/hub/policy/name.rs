//! Names of topics, and patterns over them.

/// Bytes of a topic's name, and of a pattern.
pub const TOPIC_NAME_BYTES_MAX: usize = 255;

/// Topics that the server itself publishes to begin so; no pattern whose first
/// segment is a wildcard matches them.
const RESERVED: char = '$';
/// With the name of a topic behind it: the list of its members.
pub const PRESENCE: &str = "$presence.";

/// Whether only the server itself publishes to the topic of this name.
pub fn is_reserved(name: &str) -> bool {
    name.starts_with(RESERVED)
}

/// Whether `name` can be a topic's: 1 to 255 bytes without control characters, in
/// segments split by `.` of which none is empty, `*` or `>`.
pub fn is_topic_name(name: &str) -> bool {
    is_segmented(name) && !name.split('.').any(is_wildcard)
}

/// Whether `pattern` is one: a topic's name in which at least one segment is `*`,
/// for any one segment, or the last is `>`, for one or more.
///
/// ```
/// use tapecast::hub::is_pattern;
///
/// assert!(is_pattern("trades.*") && is_pattern("trades.>") && is_pattern("*.BTC"));
/// assert!(!is_pattern("trades.BTC") && !is_pattern("trades.>.BTC") && !is_pattern("trades.B*"));
/// ```
pub fn is_pattern(pattern: &str) -> bool {
    let mut segments = pattern.split('.');
    let _last = segments.next_back();
    is_segmented(pattern)
        && pattern.split('.').any(is_wildcard)
        && segments.all(|segment| segment != ">")
}

/// Whether the topic `name` is one that `pattern` means.
///
/// ```
/// use tapecast::hub::matches;
///
/// assert!(matches("trades.*", "trades.BTC") && !matches("trades.*", "trades.BTC.spot"));
/// assert!(matches("trades.>", "trades.BTC.spot") && !matches("trades.>", "trades"));
/// // Wildcards do not match the reserved topics of the server.
/// assert!(!matches(">", "$presence.lobby") && matches("$presence.*", "$presence.lobby"));
/// ```
pub fn matches(pattern: &str, name: &str) -> bool {
    let mut wanted = pattern.split('.');
    let mut found = name.split('.');
    if is_reserved(name) && pattern.split('.').next().is_some_and(is_wildcard) {
        return false;
    }
    loop {
        match (wanted.next(), found.next()) {
            (None, None) => return true,
            (Some(">"), Some(_)) => return true,
            (Some("*"), Some(_)) => {}
            (Some(wanted), Some(found)) if wanted == found => {}
            _ => return false,
        }
    }
}

/// The prefix of the names of all topics that `pattern` matches.
pub fn literal_prefix(pattern: &str) -> &str {
    let wild = pattern.split('.').position(is_wildcard).unwrap_or_default();
    let bytes = pattern.split('.').take(wild).map(|segment| segment.len() + 1).sum();
    &pattern[..bytes]
}

fn is_segmented(name: &str) -> bool {
    name.len() <= TOPIC_NAME_BYTES_MAX
        && !name.chars().any(char::is_control)
        && name.split('.').all(|segment| !segment.is_empty())
}

fn is_wildcard(segment: &str) -> bool {
    segment == "*" || segment == ">"
}

/// Whether a member can be listed under this name: 1 to 255 bytes without control characters.
pub fn is_member_name(name: &str) -> bool {
    (1..=TOPIC_NAME_BYTES_MAX).contains(&name.len()) && !name.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_no_pattern_and_a_pattern_is_no_name() {
        for good in ["a", "trades.BTC-USD", "é", "a*", "$presence.a", &"x".repeat(255)] {
            assert!(is_topic_name(good) && !is_pattern(good), "{good}");
        }
        for bad in ["", ".", "a.", ".a", "a..b", "a\nb", &"x".repeat(256)] {
            assert!(!is_topic_name(bad) && !is_pattern(bad), "{bad}");
        }
        for pattern in ["*", ">", "a.*", "a.>", "*.b", "*.>", "a.*.b"] {
            assert!(!is_topic_name(pattern) && is_pattern(pattern), "{pattern}");
        }
        assert!(!is_pattern(">.a") && !is_pattern("a.>.>"));
    }

    #[test]
    fn a_pattern_matches_whole_segments() {
        #[track_caller]
        fn check(pattern: &str, yes: &[&str], no: &[&str]) {
            assert!(yes.iter().all(|name| matches(pattern, name)), "{pattern}");
            assert!(!no.iter().any(|name| matches(pattern, name)), "{pattern}");
        }
        check("a.b", &["a.b"], &["a", "a.b.c", "a.c"]);
        check("a.*", &["a.b", "a.é"], &["a", "a.b.c", "b.b"]);
        check("a.>", &["a.b", "a.b.c"], &["a", "b.a"]);
        check("*.b.*", &["a.b.c"], &["a.b", "a.c.c", "a.b.c.d"]);
        check(">", &["a", "a.b"], &["$presence.a"]);
    }
}
