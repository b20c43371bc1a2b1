//! Client frames, and how to turn one into its echo in place. Frames are echoed one by one:
//! a fragmented message returns as the same fragments, and nothing is ever joined. This file
//! knows nothing of sockets. The peers that are written by hand share it.

/// A longer frame ends the connection, as it does at the other peers.
const PAYLOAD_BYTES_MAX: u64 = 64 << 20;

const OPCODE_CLOSE: u8 = 0x8;
const OPCODE_PING: u8 = 0x9;
const OPCODE_PONG: u8 = 0xa;

/// An echo starts this far into the frame that it is made of: its header is the
/// client's without the masking key.
pub const ECHO_OFFSET: usize = 4;

/// The first frame of some received bytes, as far as it is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// Part of a frame, which may be complete with this many bytes.
    Needs(usize),
    /// A complete frame.
    Frame(Frame),
    /// Bytes that no client may send, or a frame that is too long.
    Fault,
}

/// Where the parts of a complete frame lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    header_bytes: usize,
    payload_bytes: usize,
}

/// The answer to a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Echo {
    /// Send the frame from [`ECHO_OFFSET`] on.
    Send,
    /// Send it and end the connection.
    SendAndEnd,
    /// Send nothing.
    Silence,
}

/// Parses the first frame of `bytes`.
#[inline]
pub fn parse(bytes: &[u8]) -> Parsed {
    let [first, second, ..] = *bytes else {
        return Parsed::Needs(2);
    };
    // RFC 6455, 5.1: a frame of a client is masked. 5.2: reserved bits are zero
    // and opcodes 3 to 7 and from 11 on are reserved.
    let opcode = first & 0x0f;
    if second & 0x80 == 0 || first & 0x70 != 0 || opcode & 0x7 > 2 {
        return Parsed::Fault;
    }
    let length_bytes = match second & 0x7f {
        126 => 2,
        127 => 8,
        _ => 0,
    };
    let header_bytes = 2 + length_bytes + 4;
    if bytes.len() < header_bytes {
        return Parsed::Needs(header_bytes);
    }
    let payload_bytes = match length_bytes {
        0 => u64::from(second & 0x7f),
        _ => {
            bytes[2..2 + length_bytes].iter().fold(0, |length, &byte| length << 8 | u64::from(byte))
        }
    };
    if payload_bytes > PAYLOAD_BYTES_MAX {
        return Parsed::Fault;
    }
    let frame = Frame { header_bytes, payload_bytes: payload_bytes as usize };
    if bytes.len() < frame.bytes() { Parsed::Needs(frame.bytes()) } else { Parsed::Frame(frame) }
}

impl Frame {
    /// The length of the whole frame.
    pub fn bytes(&self) -> usize {
        self.header_bytes + self.payload_bytes
    }

    /// Turns the frame that `bytes` starts with into its echo, in place.
    #[inline]
    pub fn make_echo(&self, bytes: &mut [u8]) -> Echo {
        let (header, rest) = bytes.split_at_mut(self.header_bytes);
        let masking_key = [
            header[self.header_bytes - 4],
            header[self.header_bytes - 3],
            header[self.header_bytes - 2],
            header[self.header_bytes - 1],
        ];
        let (echo, first) = match header[0] & 0x0f {
            OPCODE_PONG => return Echo::Silence,
            OPCODE_CLOSE => (Echo::SendAndEnd, header[0]),
            // RFC 6455, 5.5.3: a pong carries the payload of its ping.
            OPCODE_PING => (Echo::Send, header[0] & 0xf0 | OPCODE_PONG),
            _ => (Echo::Send, header[0]),
        };
        unmask(&mut rest[..self.payload_bytes], masking_key);
        header.copy_within(..self.header_bytes - ECHO_OFFSET, ECHO_OFFSET);
        header[ECHO_OFFSET] = first;
        // RFC 6455, 5.1: a server does not mask.
        header[ECHO_OFFSET + 1] &= 0x7f;
        echo
    }
}

/// Unmasks eight bytes at a time, which the compiler widens to the machine's vectors.
#[inline]
fn unmask(payload: &mut [u8], key: [u8; 4]) {
    let word = u64::from_ne_bytes([key[0], key[1], key[2], key[3], key[0], key[1], key[2], key[3]]);
    let (words, rest) = payload.as_chunks_mut::<8>();
    for bytes in words {
        *bytes = (u64::from_ne_bytes(*bytes) ^ word).to_ne_bytes();
    }
    for (index, byte) in rest.iter_mut().enumerate() {
        *byte ^= key[index & 3];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut frame = plain(first, payload);
        let key = [0x11, 0x82, 0x43, 0xf4];
        let header_bytes = frame.len() - payload.len();
        frame[1] |= 0x80;
        for (index, byte) in frame[header_bytes..].iter_mut().enumerate() {
            *byte ^= key[index & 3];
        }
        frame.splice(header_bytes..header_bytes, key);
        frame
    }

    fn plain(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![first];
        match payload.len() {
            0..126 => frame.push(payload.len() as u8),
            126..65536 => {
                frame.push(126);
                frame.extend((payload.len() as u16).to_be_bytes());
            }
            _ => {
                frame.push(127);
                frame.extend((payload.len() as u64).to_be_bytes());
            }
        }
        frame.extend(payload);
        frame
    }

    #[test]
    fn a_frame_of_every_length_form_is_echoed() {
        for bytes in [0, 1, 7, 8, 9, 125, 126, 127, 65_535, 65_536, 70_001] {
            let payload: Vec<u8> = (0..bytes).map(|index| (index * 7) as u8).collect();
            for first in [0x81, 0x82, 0x01, 0x80, 0x00] {
                let mut frame = masked(first, &payload);
                let Parsed::Frame(parsed) = parse(&frame) else {
                    panic!("{bytes} bytes are not parsed");
                };
                assert_eq!(parsed.bytes(), frame.len());
                assert_eq!(parsed.make_echo(&mut frame), Echo::Send);
                assert_eq!(frame[ECHO_OFFSET..], plain(first, &payload));
            }
        }
    }

    #[test]
    fn control_frames_are_answered() {
        for (first, echo, answer) in
            [(0x89, Echo::Send, 0x8a), (0x88, Echo::SendAndEnd, 0x88), (0x8a, Echo::Silence, 0)]
        {
            let mut frame = masked(first, b"\x03\xe8bye");
            let Parsed::Frame(parsed) = parse(&frame) else {
                panic!("{first:x} is not parsed");
            };
            assert_eq!(parsed.make_echo(&mut frame), echo);
            if echo != Echo::Silence {
                assert_eq!(frame[ECHO_OFFSET..], plain(answer, b"\x03\xe8bye"));
            }
        }
    }

    #[test]
    fn an_incomplete_frame_reports_its_missing_bytes() {
        let frame = masked(0x82, &[7; 300]);
        for bytes in 0..frame.len() {
            let needs = match bytes {
                0..2 => 2,
                2..8 => 8,
                _ => frame.len(),
            };
            assert_eq!(parse(&frame[..bytes]), Parsed::Needs(needs));
        }
    }

    #[test]
    fn frames_that_no_client_may_send_are_refused() {
        for bytes in [
            &[0x82, 0x01, 0][..],
            &[0xc2, 0x80],
            &[0x83, 0x80],
            &[0x8b, 0x80],
            &[0x82, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        ] {
            assert_eq!(parse(bytes), Parsed::Fault);
        }
    }
}
