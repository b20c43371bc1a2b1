//! The corner cases of JSON, and strings there and back.

use super::*;

/// Scanning eight bytes at a time finds the same end as one at a time, at every offset.
#[test]
fn the_end_of_a_string_is_found_at_every_offset() {
    let neighbours = ["a", "!", "#", "[", "]", "\u{7f}", "é", "\u{ff}", "世", "🦀"];
    for before in 0..20 {
        for neighbour in neighbours {
            let filling = neighbour.repeat(before);
            let text = |special: &str| format!("\"{filling}{special}{neighbour}\"");
            assert_eq!(Scanner::new(&text("")).whole(), Ok(()), "{filling}");
            assert_eq!(Scanner::new(&text("\\n")).whole(), Ok(()), "{filling}");
            let at = 1 + filling.len();
            for special in ["\0", "\n", "\u{1f}"] {
                let message = "a control character has to be escaped";
                let malformed = Err(Malformed { message, at });
                assert_eq!(Scanner::new(&text(special)).whole(), malformed, "{filling}");
            }
            let quoted = Scanner::new(&text("\"")).whole().unwrap_err();
            assert_eq!((quoted.message, quoted.at), ("expected nothing more", at + 1));
        }
    }
}

/// The corner cases of the JSON test suite (Nicolas Seriot's "Parsing JSON is a
/// minefield"), with the verdict that a parser must give.
#[test]
fn corner_cases_have_the_verdict_of_the_test_suite() {
    let deep = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
    let objects = |depth: usize| "{\"a\":".repeat(depth) + "1" + &"}".repeat(depth);
    for good in [
        "[]",
        "{}",
        " [ ] ",
        "[1]",
        "[null,true,false]",
        "0",
        "-0",
        "[-0]",
        "1e1",
        "1E+2",
        "1.5e-3",
        "123.456",
        "\"\"",
        "\"\\u0000\"",
        "\"\\uD834\\uDD1E\"",
        "\"\u{7f}\"",
        "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"",
        "{\"a\":1,\"a\":2}",
        "{\"\":0}",
        "[[]   ]",
        "{\"a\":[{\"b\":[]}]}",
        "\"€𝄞\"",
        "[1\n]",
        "\ttrue\r\n",
        "[\"\u{2028}\"]",
        "1e308",
        "1e-9999",
        "-123123123123123123123123123",
        &"9".repeat(308),
        &deep(64),
        &objects(64),
    ] {
        assert_eq!(Scanner::new(good).whole(), Ok(()), "{good}");
        // A published body can be delivered, and read.
        let delivered = format!("{{\"message\":{good}}}");
        let mut body = None;
        let read = Scanner::new(&delivered).members(|_, value| body = Some(value.trim()));
        assert_eq!((read, body), (Ok(()), Some(good.trim())), "{good}");
    }
    for bad in [
        "",
        " ",
        "[",
        "]",
        "{",
        "[1,]",
        "[,1]",
        "[1 true]",
        "[1,,2]",
        "{\"a\"}",
        "{\"a\":}",
        "{a:1}",
        "{'a':1}",
        "{\"a\":1,}",
        "{\"a\":1 \"b\":2}",
        "{1:1}",
        "01",
        "-",
        "-01",
        "+1",
        "1.",
        ".5",
        "1e",
        "1e+",
        "1.e1",
        "0x1",
        "NaN",
        "Infinity",
        "-Infinity",
        "nul",
        "True",
        "tru",
        "truee",
        "\"",
        "\"\\\"",
        "\"\\a\"",
        "\"\\u12\"",
        "\"\\u12G4\"",
        "\"\\uDFAA\"",
        "\"\\uD834\"",
        "\"\\uD834\\n\"",
        "\"\\uD834\\u0041\"",
        "\"\\uD834\\uD834\"",
        "\"\\uDD1E\\uD834\"",
        "1e309",
        "-1e9999",
        &"9".repeat(400),
        &format!("[{}.5]", "9".repeat(400)),
        "\"\t\"",
        "\"\n\"",
        "\"\0\"",
        "[1]x",
        "{}{}",
        "1 2",
        "\u{feff}{}",
        "[\u{b}1]",
        "/**/1",
        "[1]//",
        "\u{a0}1",
        "{\"a\":1]",
        "[1}",
        "\"a\\",
        "[\"a\",\n4\n,1,",
        &deep(65),
        &objects(65),
        &"[".repeat(100_000),
    ] {
        assert!(Scanner::new(bad).whole().is_err(), "{bad:.40}");
    }
}

#[test]
fn members_and_elements_are_returned_as_they_are_written() {
    let mut found = Vec::new();
    let text = " {\"\\u0061\" : [1, {\"b\":\"}\"}] ,\"c\":\"\\\"\" , \"d\":-1.0e5} ";
    let read = Scanner::new(text).members(|name, value| found.push((name.to_owned(), value)));
    assert_eq!(read, Ok(()));
    let expected = [("a", "[1, {\"b\":\"}\"}]"), ("c", "\"\\\"\""), ("d", "-1.0e5")];
    let expected = expected.map(|(name, value)| (name.to_owned(), value));
    assert_eq!(found, expected);
    let mut found = Vec::new();
    Scanner::new("[ 1,[2 , 3],\"x\" ]").elements(|value| found.push(value)).unwrap();
    assert_eq!(found, ["1", "[2 , 3]", "\"x\""]);
    assert_eq!(Scanner::new("{}").members(|_, _| panic!("there is none")), Ok(()));
    for bad in ["[]", "{\"a\":1}x", "{\"a\":1", "", "1"] {
        assert!(Scanner::new(bad).members(|_, _| ()).is_err(), "{bad}");
    }
}

#[test]
fn a_text_that_is_cut_fails_at_its_end() {
    let text = r#"{"a":[1,-2.5e+7,{}],"b":{"c":"\n\u00e9"}}"#;
    for end in 0..text.len() {
        let cut = &text[..end];
        for failed in [Scanner::new(cut).whole(), Scanner::new(cut).members(|_, _| ())] {
            assert_eq!(failed.map_err(|error| error.at), Err(end), "{cut}");
        }
    }
}

#[test]
fn strings_are_read_as_they_were_written() {
    for (value, text) in [
        ("\"\"", Some("")),
        ("\"a€\"", Some("a€")),
        (r#""\"\\\/\b\f\n\r\t""#, Some("\"\\/\u{8}\u{c}\n\r\t")),
        (r#""\u20ac\uD834\udd1e""#, Some("€𝄞")),
        (r#""\uD834""#, None),
        (r#""\uD834\u0041""#, None),
        (r#""\uDD1E\uD834""#, None),
        ("12", None),
    ] {
        assert_eq!(string(value).as_deref(), text, "{value}");
    }
    for text in ["", "plain", "\"quoted\"\\", "\n\t\u{1}\u{1f}\u{7f}", "€𝄞\0"] {
        let mut out = Vec::new();
        write_string(text, &mut out);
        let written = std::str::from_utf8(&out).unwrap();
        assert_eq!(Scanner::new(written).whole(), Ok(()));
        assert_eq!(string(written).as_deref(), Some(text));
    }
}
