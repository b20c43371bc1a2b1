//! UTF-8 validation over pieces, failing at the earliest byte that can't be valid.

/// The state between two pieces of one text: the bytes of an incomplete
/// character. They are a valid start, `0..=3` of them.
///
/// ```
/// use tapecast::protocol::utf8::Utf8;
///
/// let (first, second) = "ü".as_bytes().split_at(1);
/// let mut utf8 = Utf8::default();
/// assert!(utf8.push(first).is_ok());
/// // A text does not end in the middle of a character.
/// assert!(utf8.finish().is_err());
/// assert!(utf8.push(second).is_ok());
/// assert!(utf8.finish().is_ok());
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Utf8 {
    begun: [u8; 3],
    begun_bytes: u8,
}

/// The text is not UTF-8, whatever follows.
///
/// ```
/// use tapecast::protocol::utf8::{Invalid, Utf8};
///
/// let mut utf8 = Utf8::default();
/// assert_eq!(utf8.push(b"\xED"), Ok(()));
/// // A surrogate: the third byte need not be awaited.
/// assert_eq!(utf8.push(b"\xA0"), Err(Invalid));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Invalid;

impl Utf8 {
    /// Validates the next piece.
    ///
    /// # Errors
    /// [`Invalid`] as soon as no continuation could make the text valid.
    pub fn push(&mut self, mut piece: &[u8]) -> Result<(), Invalid> {
        if self.begun_bytes > 0 {
            piece = self.complete(piece)?;
        }
        match simdutf8::compat::from_utf8(piece) {
            Ok(_) => Ok(()),
            Err(error) if error.error_len().is_some() => Err(Invalid),
            Err(error) => {
                let rest = &piece[error.valid_up_to()..];
                self.begun[..rest.len()].copy_from_slice(rest);
                self.begun_bytes = rest.len() as u8;
                Ok(())
            }
        }
    }

    /// Completes the incomplete character; returns the rest of the piece.
    fn complete<'a>(&mut self, piece: &'a [u8]) -> Result<&'a [u8], Invalid> {
        let mut character = [0; 4];
        let mut have = self.begun_bytes as usize;
        character[..have].copy_from_slice(&self.begun[..have]);
        for (taken, &byte) in piece.iter().enumerate() {
            character[have] = byte;
            have += 1;
            match std::str::from_utf8(&character[..have]) {
                Ok(_) => {
                    self.begun_bytes = 0;
                    return Ok(&piece[taken + 1..]);
                }
                Err(error) if error.error_len().is_some() => return Err(Invalid),
                // A valid start of up to three bytes: the fourth decides above.
                Err(_) => {}
            }
        }
        self.begun[..have].copy_from_slice(&character[..have]);
        self.begun_bytes = have as u8;
        Ok(&[])
    }

    /// Whether the text may end here.
    ///
    /// # Errors
    /// [`Invalid`] when a character is incomplete.
    pub fn finish(&self) -> Result<(), Invalid> {
        if self.begun_bytes == 0 { Ok(()) } else { Err(Invalid) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The first byte at which no continuation is valid, by the naive rule.
    fn earliest_fault(bytes: &[u8]) -> Option<usize> {
        (0..=bytes.len())
            .find(|&end| {
                std::str::from_utf8(&bytes[..end]).is_err_and(|error| error.error_len().is_some())
            })
            .map(|end| end - 1)
    }

    fn fault_of(pieces: &[&[u8]]) -> Option<usize> {
        let mut utf8 = Utf8::default();
        let mut seen = 0;
        for piece in pieces {
            // Byte by byte inside the piece is the strictest reader.
            if utf8.push(piece).is_err() {
                return Some(seen);
            }
            seen += piece.len();
        }
        None
    }

    #[track_caller]
    fn check(bytes: &[u8]) {
        let bytewise: Vec<&[u8]> = bytes.chunks(1).collect();
        assert_eq!(fault_of(&bytewise), earliest_fault(bytes), "{bytes:02x?} byte by byte");
        for split in 0..=bytes.len() {
            let (head, tail) = bytes.split_at(split);
            let mut utf8 = Utf8::default();
            let result =
                utf8.push(head).and_then(|()| utf8.push(tail)).and_then(|()| utf8.finish());
            assert_eq!(result.is_ok(), std::str::from_utf8(bytes).is_ok(), "{bytes:02x?}");
        }
    }

    #[test]
    fn vectors_have_the_verdict_of_the_standard_library() {
        for text in ["", "a", "κόσμε", "\u{10ffff}", "\u{d7ff}\u{e000}", "aé漢🎈z"] {
            check(text.as_bytes());
        }
        for bytes in [
            &b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xf4\x90\x80\x80\x65"[..],
            b"\xed\xa0\x80",
            b"\xc0\x80",
            b"\xe0\x9f\xbf",
            b"\xf0\x8f\xbf\xbf",
            b"\xf4\x90",
            b"\xf5",
            b"\x80",
            b"\xe2\x82",
            b"a\xffb",
        ] {
            check(bytes);
        }
    }

    proptest! {
        #[test]
        fn agrees_with_std(bytes in proptest::collection::vec(any::<u8>(), 0..24)) {
            check(&bytes);
        }

        #[test]
        fn agrees_with_std_on_text(text in "\\PC{0,40}", at in 0usize..40, byte in any::<u8>()) {
            let mut bytes = text.into_bytes();
            check(&bytes);
            if at < bytes.len() {
                bytes[at] = byte;
                check(&bytes);
            }
        }
    }
}
