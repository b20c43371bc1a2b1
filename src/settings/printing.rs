//! Values as TOML.

/// A string.
pub fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            character if character.is_control() => {
                quoted += &format!("\\u{:04X}", u32::from(character));
            }
            character => quoted.push(character),
        }
    }
    quoted + "\""
}

/// An array of strings.
pub fn list(values: &[impl ToString]) -> String {
    let quoted: Vec<String> = values.iter().map(|value| quoted(&value.to_string())).collect();
    format!("[{}]", quoted.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_text_can_be_read_back() {
        for text in ["", "plain", "a \"quote\" and a \\", "two\nlines\tand \u{7f}\u{1}", "é'''"] {
            let line = format!("it = {}", list(&[text]));
            let found = super::super::contents("F", &line, super::super::Numbers::Whole).unwrap();
            assert_eq!(found.assignments[0].values, [text]);
        }
    }
}
