//! Numbers and texts as the page writes them.

use crate::report::format;

/// A time in microseconds, with the letter that terminals may lack.
pub(super) fn time(us: f64) -> String {
    format::time(us).replace("us", "µs")
}

/// A number without zeros at the end of its fraction: 10 ms instead of 10.0 ms.
pub(super) fn trimmed(text: &str) -> String {
    let (number, unit) = text.split_at(text.find(' ').unwrap_or(text.len()));
    if !number.contains('.') {
        return text.to_owned();
    }
    format!("{}{unit}", number.trim_end_matches('0').trim_end_matches('.'))
}

/// A text that can not become markup.
pub(super) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_at_the_end_of_a_fraction_are_left_out() {
        assert_eq!(
            ["1.00 s", "10.0 ms", "0.50 µs", "2,000", "100 %"].map(trimmed),
            ["1 s", "10 ms", "0.5 µs", "2,000", "100 %"]
        );
    }

    #[test]
    fn a_text_of_the_server_can_not_become_markup() {
        assert_eq!(escaped("<script>\"&"), "&lt;script&gt;&quot;&amp;");
    }
}
