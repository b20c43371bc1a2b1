//! The known word that a mistyped one resembles.

use strsim::damerau_levenshtein;

/// The word of `known` that is nearest to `word`, if one is near: with at most one typing
/// mistake for every three letters, rounded up.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // A key is often given without its table, or with the wrong one.
    let last = |name: &str| name.rsplit('.').next().unwrap_or_default().to_owned();
    let distance = |name: &str| {
        let whole = damerau_levenshtein(word, name);
        whole.min(damerau_levenshtein(&last(word), &last(name)) + 1)
    };
    let (distance, name) = known.into_iter().map(|name| (distance(name), name)).min()?;
    (distance <= word.len().div_ceil(3)).then_some(name)
}

/// `: did you mean X?` if a known word is near; else nothing.
pub fn did_you_mean<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    nearest(word, known).map_or(String::new(), |name| format!(": did you mean {name}?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names_are_proposed_and_far_ones_are_not() {
        let known = ["listen", "log", "throughput", "limits.connections_max"];
        let check = |word, expected| assert_eq!(nearest(word, known), expected, "{word}");
        check("lisen", Some("listen"));
        check("thruput", Some("throughput"));
        check("limits.conections_max", Some("limits.connections_max"));
        check("connections_max", Some("limits.connections_max"));
        check("limit.connections_max", Some("limits.connections_max"));
        check("certificate", None);
        check("foo", None);
        check("", None);
        assert_eq!(did_you_mean("lgo", known), ": did you mean log?");
        assert_eq!(did_you_mean("foo", known), "");
    }
}
