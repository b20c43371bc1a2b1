//! The line numbers of records, some of which span several lines.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, Read};
use std::rc::Rc;

/// A reader that notes where lines begin. They end with LF, CR LF or CR.
pub struct Numbering<R> {
    inner: R,
    lines: Rc<RefCell<Lines>>,
}

/// The first bytes of the lines that were read and whose number was not asked for yet. Empty
/// lines are no records.
#[derive(Debug)]
pub struct Lines {
    /// Bytes read so far.
    at: u64,
    line: u64,
    is_at_start: bool,
    is_behind_cr: bool,
    starts: VecDeque<(u64, u64)>,
}

impl<R: Read> Numbering<R> {
    /// The reader, and the lines that it notes.
    pub fn new(inner: R) -> (Numbering<R>, Rc<RefCell<Lines>>) {
        let lines = Lines {
            at: 0,
            line: 1,
            is_at_start: true,
            is_behind_cr: false,
            starts: VecDeque::new(),
        };
        let lines = Rc::new(RefCell::new(lines));
        (Numbering { inner, lines: Rc::clone(&lines) }, lines)
    }
}

impl<R: Read> Read for Numbering<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let bytes = self.inner.read(into)?;
        self.lines.borrow_mut().add(&into[..bytes]);
        Ok(bytes)
    }
}

impl Lines {
    fn add(&mut self, bytes: &[u8]) {
        for byte in bytes {
            let is_end = matches!(byte, b'\r' | b'\n');
            if is_end && !(*byte == b'\n' && self.is_behind_cr) {
                self.line += 1;
            }
            if !is_end && self.is_at_start {
                self.starts.push_back((self.at, self.line));
            }
            self.is_at_start = is_end;
            self.is_behind_cr = *byte == b'\r';
            self.at += 1;
        }
    }

    /// The number of the first line that is not empty and begins at this byte or later. Earlier
    /// lines are forgotten.
    pub fn number(&mut self, byte: u64) -> u64 {
        while self.starts.front().is_some_and(|(start, _)| *start < byte) {
            self.starts.pop_front();
        }
        self.starts.front().map_or(self.line, |(_, line)| *line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_have_the_numbers_of_their_first_lines() {
        let check = |text: &str, expected: &[u64]| {
            // In pieces of every size.
            for capacity in [1, 2, 5, 1_024] {
                let (reader, lines) = Numbering::new(text.as_bytes());
                let mut builder = csv::ReaderBuilder::new();
                builder.flexible(true).trim(csv::Trim::All).buffer_capacity(capacity);
                let mut reader = builder.has_headers(false).from_reader(reader);
                let mut record = csv::StringRecord::new();
                let mut found = Vec::new();
                while reader.read_record(&mut record).unwrap() {
                    found.push(lines.borrow_mut().number(record.position().unwrap().byte()));
                }
                assert_eq!(found, expected, "{text:?}, {capacity}");
            }
        };
        check("a,b\n1,2\n3", &[1, 2, 3]);
        check("a,b\r\n1,2\r\n3\r\n", &[1, 2, 3]);
        check("a,b\r1,2\r3\r", &[1, 2, 3]);
        check("a,b\n1,2\n\n\n3", &[1, 2, 5]);
        check("\r\n\r\na,b\r\n\r\n1,2\r\n", &[3, 5]);
        check("a,b\n\"\n1\",\"x\n\"\n3,4\n", &[1, 2, 5]);
        check("\u{feff}a,b\r\n\"1\r\n\r\n\",2\r\n3,4", &[1, 2, 5]);
    }
}
