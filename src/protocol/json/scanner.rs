//! A validating scanner of JSON (RFC 8259): it finds where values end, and nothing else.
//! Valid text is passed on as it was written.
//!
//! It takes text, so UTF-8 is checked already; it never recurses, and refuses values that are
//! nested deeper than [`DEPTH_MAX`]. It also refuses JSON that some readers can't
//! read (RFC 7493, 2.1 and 2.2): half of a surrogate pair, and numbers beyond those of a double.

use super::string::string;

/// How deep objects and arrays of a value may be nested. The value itself may be a member of one
/// more object: a body that can be published can be delivered.
pub const DEPTH_MAX: u32 = 64;
const TOO_DEEP: &str = "objects and arrays are nested more than 64 deep";

/// Why a text is not JSON, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed {
    /// The text that was expected, or the fault.
    pub message: &'static str,
    /// The byte at which the text is wrong.
    pub at: usize,
}

/// A position in a text.
#[derive(Debug)]
pub struct Scanner<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Scanner<'a> {
    /// Before the first byte of `text`.
    pub fn new(text: &'a str) -> Scanner<'a> {
        Scanner { text, at: 0 }
    }

    /// The members of an object that is the whole text: each name without its quotes and
    /// escapes, and each value as it is written.
    ///
    /// # Errors
    /// The text is not JSON, or not an object.
    pub fn members(mut self, mut each: impl FnMut(&str, &'a str)) -> Result<(), Malformed> {
        self.white();
        self.expect(b'{', "expected an object")?;
        self.white();
        if self.peek() == Some(b'}') {
            self.at += 1;
            return self.end();
        }
        loop {
            let name = self.string()?;
            self.white();
            self.expect(b':', "expected a colon")?;
            self.white();
            let start = self.at;
            self.value(DEPTH_MAX)?;
            let value = &self.text[start..self.at];
            self.white();
            let behind = self.next();
            if !matches!(behind, Some(b',' | b'}')) {
                return self.fail("expected a comma or the object's end");
            }
            each(&string(name).expect("a string was scanned"), value);
            if behind == Some(b'}') {
                return self.end();
            }
            self.white();
        }
    }

    /// The elements of an array that is the whole text, as they are written.
    ///
    /// # Errors
    /// The text is not JSON, or not an array.
    pub fn elements(mut self, mut each: impl FnMut(&'a str)) -> Result<(), Malformed> {
        self.white();
        self.expect(b'[', "expected an array")?;
        self.white();
        if self.peek() == Some(b']') {
            self.at += 1;
            return self.end();
        }
        loop {
            let start = self.at;
            self.value(DEPTH_MAX)?;
            each(&self.text[start..self.at]);
            self.white();
            match self.next() {
                Some(b',') => self.white(),
                Some(b']') => return self.end(),
                _ => return self.fail("expected a comma or the array's end"),
            }
        }
    }

    /// Checks that the whole text is one value, which may be a member of an object.
    ///
    /// # Errors
    /// It is not.
    pub fn whole(mut self) -> Result<(), Malformed> {
        self.white();
        self.value(DEPTH_MAX)?;
        self.white();
        self.end()
    }

    fn end(&mut self) -> Result<(), Malformed> {
        self.white();
        match self.peek() {
            None => Ok(()),
            Some(_) => Err(Malformed { message: "expected nothing more", at: self.at }),
        }
    }

    #[inline]
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// Advances beyond the end too, after which only failing is possible.
    #[inline]
    fn next(&mut self) -> Option<u8> {
        let byte = self.peek();
        self.at += 1;
        byte
    }

    /// Fails at the last byte, or at the end of the text.
    fn fail<T>(&self, message: &'static str) -> Result<T, Malformed> {
        Err(Malformed { message, at: self.at.saturating_sub(1) })
    }

    fn expect(&mut self, byte: u8, message: &'static str) -> Result<(), Malformed> {
        match self.peek() {
            Some(found) if found == byte => {
                self.at += 1;
                Ok(())
            }
            _ => Err(Malformed { message, at: self.at }),
        }
    }

    #[inline]
    fn white(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.peek() {
            self.at += 1;
        }
    }

    /// Skips one value in which objects and arrays are at most `depth_max` deep.
    fn value(&mut self, depth_max: u32) -> Result<(), Malformed> {
        // A bit per level: set in an object.
        let mut levels: u64 = 0;
        let mut depth = 0;
        loop {
            match self.peek() {
                Some(b'"') => drop(self.string()?),
                Some(b'-' | b'0'..=b'9') => self.number()?,
                Some(b't') => self.word("true")?,
                Some(b'f') => self.word("false")?,
                Some(b'n') => self.word("null")?,
                Some(open @ (b'{' | b'[')) => {
                    if depth == depth_max {
                        return Err(Malformed { message: TOO_DEEP, at: self.at });
                    }
                    self.at += 1;
                    self.white();
                    let is_object = open == b'{';
                    let close = if is_object { b'}' } else { b']' };
                    if self.peek() != Some(close) {
                        depth += 1;
                        levels = levels << 1 | u64::from(is_object);
                        if is_object {
                            self.name()?;
                        }
                        continue;
                    }
                    self.at += 1;
                }
                _ => return Err(Malformed { message: "expected a value", at: self.at }),
            }
            // A value has ended, and perhaps some of those around it.
            loop {
                if depth == 0 {
                    return Ok(());
                }
                self.white();
                let is_object = levels & 1 == 1;
                match (self.next(), is_object) {
                    (Some(b','), _) => {
                        self.white();
                        if is_object {
                            self.name()?;
                        }
                        break;
                    }
                    (Some(b'}'), true) | (Some(b']'), false) => {
                        depth -= 1;
                        levels >>= 1;
                    }
                    _ => return self.fail("expected a comma or an end"),
                }
            }
        }
    }

    /// A member's name, and the colon behind it.
    fn name(&mut self) -> Result<(), Malformed> {
        self.string()?;
        self.white();
        self.expect(b':', "expected a colon")?;
        self.white();
        Ok(())
    }

    fn word(&mut self, word: &'static str) -> Result<(), Malformed> {
        if self.text.as_bytes()[self.at..].starts_with(word.as_bytes()) {
            self.at += word.len();
            Ok(())
        } else {
            Err(Malformed { message: "expected a value", at: self.at })
        }
    }

    /// RFC 8259, 7: any character but quotes, backslashes and controls stands for
    /// itself.
    #[inline]
    fn string(&mut self) -> Result<&'a str, Malformed> {
        let start = self.at;
        self.expect(b'"', "expected a string")?;
        loop {
            self.plain();
            match self.next() {
                Some(b'"') => return Ok(&self.text[start..self.at]),
                Some(b'\\') => match self.next() {
                    Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => {}
                    Some(b'u') => self.character()?,
                    _ => return self.fail("no such escape"),
                },
                Some(0..0x20) => return self.fail("a control character has to be escaped"),
                Some(_) => {}
                None => return self.fail("a string has no end"),
            }
        }
    }

    /// The digits of an escaped character, and the second escape of one beyond the basic plane
    /// (RFC 8259, 7).
    fn character(&mut self) -> Result<(), Malformed> {
        match self.code_unit()? {
            0xD800..0xDC00 => {
                let second = match (self.next(), self.next()) {
                    (Some(b'\\'), Some(b'u')) => self.code_unit()?,
                    _ => 0,
                };
                match second {
                    0xDC00..0xE000 => Ok(()),
                    _ => self.fail("half of a surrogate pair"),
                }
            }
            0xDC00..0xE000 => self.fail("half of a surrogate pair"),
            _ => Ok(()),
        }
    }

    fn code_unit(&mut self) -> Result<u32, Malformed> {
        let mut unit = 0;
        for _ in 0..4 {
            let digit = self.next().and_then(|byte| char::from(byte).to_digit(16));
            match digit {
                Some(digit) => unit = unit << 4 | digit,
                None => return self.fail("expected four hexadecimal digits"),
            }
        }
        Ok(unit)
    }

    /// Skips characters that stand for themselves, eight bytes at a time.
    #[inline]
    fn plain(&mut self) {
        const ONES: u64 = 0x0101_0101_0101_0101;
        const TOPS: u64 = ONES << 7;
        // A zero byte borrows from its own top bit; bytes beyond ASCII have that bit set.
        let zeros = |bytes: u64| bytes.wrapping_sub(ONES) & !bytes & TOPS;
        while let Some(chunk) = self.text.as_bytes()[self.at..].first_chunk() {
            let bytes = u64::from_le_bytes(*chunk);
            let controls = bytes.wrapping_sub(ONES * 0x20) & !bytes & TOPS;
            let quotes = zeros(bytes ^ (ONES * u64::from(b'"')));
            let escapes = zeros(bytes ^ (ONES * u64::from(b'\\')));
            // Hits above the first one may be false.
            let found = controls | quotes | escapes;
            if found != 0 {
                self.at += found.trailing_zeros() as usize / 8;
                return;
            }
            self.at += 8;
        }
    }

    /// RFC 8259, 6: no leading zeros, digits on both sides of a point.
    fn number(&mut self) -> Result<(), Malformed> {
        let start = self.at;
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        match self.next() {
            Some(b'0') => {}
            Some(b'1'..=b'9') => self.digits(),
            _ => return self.fail("expected a digit"),
        }
        let integer_bytes = self.at - start;
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digit()?;
        }
        let mut exponent_bytes = 0;
        if let Some(b'e' | b'E') = self.peek() {
            let exponent = self.at;
            self.at += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.at += 1;
            }
            self.digit()?;
            exponent_bytes = self.at - exponent;
        }
        // Shorter numbers are in range by their length: 200 digits, and two of an exponent.
        if (exponent_bytes > "e99".len() || integer_bytes > 200)
            && self.text[start..self.at].parse().is_ok_and(f64::is_infinite)
        {
            return self.fail("a number is beyond the range of a double");
        }
        Ok(())
    }

    /// At least one digit.
    fn digit(&mut self) -> Result<(), Malformed> {
        match self.next() {
            Some(b'0'..=b'9') => {
                self.digits();
                Ok(())
            }
            _ => self.fail("expected a digit"),
        }
    }

    fn digits(&mut self) {
        while let Some(b'0'..=b'9') = self.peek() {
            self.at += 1;
        }
    }
}
