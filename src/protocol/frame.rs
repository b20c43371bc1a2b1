//! Frame headers (RFC 6455, 5.2).

use super::cause::CloseCause;

/// The longest header: two bytes, a 64-bit length, a masking key.
pub const HEADER_BYTES_MAX: usize = 14;
/// The longest header that a server sends: it never masks.
pub const SERVER_HEADER_BYTES_MAX: usize = 10;
/// RFC 6455, 5.5: control frames carry at most 125 bytes.
pub const CONTROL_PAYLOAD_BYTES_MAX: usize = 125;

/// The side of the connection that decodes or encodes.
///
/// ```
/// use tapecast::protocol::{CloseCause, Role, frame};
///
/// // An empty text and its masking key.
/// let frame = [0x81, 0x80, 1, 2, 3, 4];
/// assert!(frame::decode(&frame, Role::Server).is_ok());
/// assert_eq!(frame::decode(&frame, Role::Client), Err(CloseCause::MaskForbidden));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Frames arrive masked and leave unmasked.
    Server,
    /// Frames arrive unmasked and leave masked.
    Client,
}

/// The type of a frame.
///
/// ```
/// use tapecast::protocol::Opcode;
///
/// assert_eq!(Opcode::from_bits(0x9), Some(Opcode::Ping));
/// assert!(Opcode::Ping.is_control() && !Opcode::Text.is_control());
/// // Reserved.
/// assert_eq!(Opcode::from_bits(0x3), None);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Opcode {
    /// A further frame of the message that has begun.
    Continuation = 0x0,
    /// The first frame of a text.
    Text = 0x1,
    /// The first frame of a binary message.
    Binary = 0x2,
    /// The last frame of its direction.
    Close = 0x8,
    /// Answered with a pong.
    Ping = 0x9,
    /// Answers a ping, or is sent unasked.
    Pong = 0xA,
}

impl Opcode {
    /// The opcode with this number, if one is defined.
    pub const fn from_bits(bits: u8) -> Option<Opcode> {
        match bits {
            0x0 => Some(Opcode::Continuation),
            0x1 => Some(Opcode::Text),
            0x2 => Some(Opcode::Binary),
            0x8 => Some(Opcode::Close),
            0x9 => Some(Opcode::Ping),
            0xA => Some(Opcode::Pong),
            _ => None,
        }
    }

    /// Whether it is close, ping or pong.
    pub const fn is_control(self) -> bool {
        self as u8 & 0x8 != 0
    }
}

/// A decoded frame header that satisfies every rule that needs no context.
///
/// ```
/// use tapecast::protocol::{Opcode, Role, frame};
///
/// let bytes = [0x82, 0xFE, 0x01, 0x00, 9, 8, 7, 6];
/// let header = frame::decode(&bytes, Role::Server).unwrap().expect("it is whole");
/// assert_eq!((header.fin, header.opcode), (true, Opcode::Binary));
/// assert_eq!((header.payload_bytes, header.mask), (256, [9, 8, 7, 6]));
/// assert_eq!(header.header_bytes, 8);
/// assert_eq!(frame::decode(&bytes[..5], Role::Server), Ok(None));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The last frame of its message.
    pub fin: bool,
    /// The kind of the frame.
    pub opcode: Opcode,
    /// The message that it begins is compressed (RFC 7692, 6).
    pub compressed: bool,
    /// The masking key; all zero on frames that are not masked.
    pub mask: [u8; 4],
    /// Bytes of payload that follow, `< 2^63`.
    pub payload_bytes: u64,
    /// Bytes of this header, `2..=14`.
    pub header_bytes: u8,
}

/// Decodes the header at the start of `bytes`, as received by `role`, where no extension is
/// in use. See [`decode_with`].
///
/// # Errors
/// The rule that was broken.
#[inline]
pub fn decode(bytes: &[u8], role: Role) -> Result<Option<Header>, CloseCause> {
    decode_with(bytes, role, false)
}

/// Decodes the header at the start of `bytes`, as received by `role`; where `deflate` was
/// negotiated, messages may be compressed.
///
/// `Ok(None)` when more bytes are needed. A violation in the bytes so far is
/// an error even while the header is incomplete.
///
/// # Errors
/// The rule that was broken.
#[inline]
pub fn decode_with(bytes: &[u8], role: Role, deflate: bool) -> Result<Option<Header>, CloseCause> {
    let &[first, second, ref rest @ ..] = bytes else {
        return match bytes {
            &[first] => check_first(first, deflate).map(|_| None),
            _ => Ok(None),
        };
    };
    let opcode = check_first(first, deflate)?;
    let fin = first & 0x80 != 0;
    let masked = second & 0x80 != 0;
    // RFC 6455, 5.1: a client masks every frame, a server none.
    if masked != (role == Role::Server) {
        return Err(match role {
            Role::Server => CloseCause::MaskMissing,
            Role::Client => CloseCause::MaskForbidden,
        });
    }
    let short = second & 0x7F;
    if opcode.is_control() {
        // RFC 6455, 5.5: control frames carry at most 125 bytes and are never fragmented.
        if !fin {
            return Err(CloseCause::ControlFragmented);
        }
        if short > CONTROL_PAYLOAD_BYTES_MAX as u8 {
            return Err(CloseCause::ControlTooLong);
        }
    }
    let (payload_bytes, length_bytes) = match short {
        126 => {
            let Some(&length) = rest.first_chunk::<2>() else {
                return Ok(None);
            };
            let length = u64::from(u16::from_be_bytes(length));
            // RFC 6455, 5.2: the minimal number of bytes must be used to encode the length.
            if length < 126 {
                return Err(CloseCause::LengthNotMinimal);
            }
            (length, 2)
        }
        127 => {
            let Some(&length) = rest.first_chunk::<8>() else {
                return Ok(None);
            };
            let length = u64::from_be_bytes(length);
            // RFC 6455, 5.2: the most significant bit must be 0.
            if length >> 63 != 0 {
                return Err(CloseCause::LengthTopBit);
            }
            if length <= 0xFFFF {
                return Err(CloseCause::LengthNotMinimal);
            }
            (length, 8)
        }
        short => (u64::from(short), 0),
    };
    let mut header = Header {
        fin,
        opcode,
        compressed: first & COMPRESSED_BIT != 0,
        mask: [0; 4],
        payload_bytes,
        header_bytes: 2 + length_bytes as u8,
    };
    if masked {
        let Some(&mask) = rest[length_bytes..].first_chunk::<4>() else {
            return Ok(None);
        };
        header.mask = mask;
        header.header_bytes += 4;
    }
    Ok(Some(header))
}

/// A message of at most 125 bytes that is one frame, as most messages are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SmallMessage {
    /// It is text, not binary.
    pub text: bool,
    /// The masking key; all zero on frames that are not masked.
    pub mask: [u8; 4],
    /// Bytes of the header, 2 or 6.
    pub header_bytes: usize,
    /// Bytes of payload, at most 125.
    pub payload_bytes: usize,
}

/// The small message at the start of `bytes`, if one lies there whole. Everything else,
/// and every violation, is left to [`decode_with`]; for a small message both agree.
#[inline]
pub fn decode_small(bytes: &[u8], role: Role) -> Option<SmallMessage> {
    let &[first, second, ref rest @ ..] = bytes else { return None };
    // Final, a message's first frame, and no reserved bit.
    let is_message = first == 0x80 | Opcode::Text as u8 || first == 0x80 | Opcode::Binary as u8;
    let mask_bit = if role == Role::Server { 0x80 } else { 0 };
    let payload_bytes = usize::from(second ^ mask_bit);
    if !is_message || payload_bytes > 125 {
        return None;
    }
    let (mask, header_bytes) = match role {
        Role::Server => (*rest.first_chunk::<4>()?, 6),
        Role::Client => ([0; 4], 2),
    };
    let is_whole = header_bytes + payload_bytes <= bytes.len();
    let text = first == 0x80 | Opcode::Text as u8;
    is_whole.then_some(SmallMessage { text, mask, header_bytes, payload_bytes })
}

/// RFC 7692, 6: the first reserved bit.
pub const COMPRESSED_BIT: u8 = 0x40;

#[inline]
fn check_first(first: u8, deflate: bool) -> Result<Opcode, CloseCause> {
    // RFC 6455, 5.2: the reserved bits must be 0 unless an extension defines them. RFC
    // 7692, 6.1, defines one, on the first frame of a message only.
    if first & 0x70 != 0
        && !(deflate && first & 0x70 == COMPRESSED_BIT && matches!(first & 0x0F, 0x1 | 0x2))
    {
        return Err(CloseCause::ReservedBit);
    }
    let opcode = Opcode::from_bits(first & 0x0F).ok_or(CloseCause::ReservedOpcode)?;
    // RFC 6455, 5.5: a control frame must not be fragmented.
    if opcode.is_control() && first & 0x80 == 0 {
        return Err(CloseCause::ControlFragmented);
    }
    Ok(opcode)
}

/// An encoded header: the bytes, and how many of them are in use.
///
/// ```
/// use tapecast::protocol::{Opcode, frame};
///
/// let header = frame::encode(Opcode::Text, true, 5, None);
/// assert_eq!(header.as_bytes(), [0x81, 5]);
/// let masked = frame::encode(Opcode::Text, true, 5, Some([1, 2, 3, 4]));
/// assert_eq!(masked.as_bytes(), [0x81, 0x80 | 5, 1, 2, 3, 4]);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Encoded {
    bytes: [u8; HEADER_BYTES_MAX],
    len: u8,
}

impl Encoded {
    /// The same header for a frame that begins a compressed message.
    #[must_use]
    pub fn compressed(mut self) -> Encoded {
        self.bytes[0] |= COMPRESSED_BIT;
        self
    }

    /// The header's bytes.
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len as usize]
    }

    /// Appends the header and `payload`.
    #[inline]
    pub fn append(&self, out: &mut Vec<u8>, payload: &[u8]) {
        out.reserve(HEADER_BYTES_MAX + payload.len());
        let end = out.len() + usize::from(self.len);
        // The whole array, since a constant length needs no call.
        out.extend_from_slice(&self.bytes);
        out.truncate(end);
        out.extend_from_slice(payload);
    }
}

/// Encodes the header of a frame of `payload_bytes`; masked when there is a key.
#[inline]
pub fn encode(opcode: Opcode, fin: bool, payload_bytes: usize, mask: Option<[u8; 4]>) -> Encoded {
    let mut bytes = [0; HEADER_BYTES_MAX];
    bytes[0] = u8::from(fin) << 7 | opcode as u8;
    let mut len = match payload_bytes {
        0..126 => {
            bytes[1] = payload_bytes as u8;
            2
        }
        126..0x1_0000 => {
            bytes[1] = 126;
            bytes[2..4].copy_from_slice(&(payload_bytes as u16).to_be_bytes());
            4
        }
        _ => {
            bytes[1] = 127;
            bytes[2..10].copy_from_slice(&(payload_bytes as u64).to_be_bytes());
            10
        }
    };
    if let Some(mask) = mask {
        bytes[1] |= 0x80;
        bytes[len..len + 4].copy_from_slice(&mask);
        len += 4;
    }
    Encoded { bytes, len: len as u8 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(bytes: &[u8], role: Role, expected: Result<Option<Header>, CloseCause>) {
        assert_eq!(decode(bytes, role), expected);
        // Split at every byte: a prefix asks for more or already shows the fault.
        for end in 0..bytes.len() {
            let prefix = decode(&bytes[..end], role);
            assert!(
                prefix == Ok(None) || prefix == expected,
                "{end} bytes gave {prefix:?}, whole gave {expected:?}"
            );
        }
    }

    #[test]
    fn every_violation_has_its_cause() {
        use CloseCause::*;
        let table: &[(&[u8], CloseCause)] = &[
            (&[0xC1, 0x80], ReservedBit),
            (&[0xA1, 0x80], ReservedBit),
            (&[0x91, 0x80], ReservedBit),
            (&[0x83, 0x80], ReservedOpcode),
            (&[0x8F, 0x80], ReservedOpcode),
            (&[0x83, 0xFF, 0x7F, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF], ReservedOpcode),
            (&[0x81, 0x05], MaskMissing),
            (&[0x09, 0x80], ControlFragmented),
            (&[0x89, 0xFE, 0, 126], ControlTooLong),
            (&[0x82, 0xFE, 0, 125], LengthNotMinimal),
            (&[0x82, 0xFF, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF], LengthNotMinimal),
            (&[0x82, 0xFF, 0x80, 0, 0, 0, 0, 1, 0, 0], LengthTopBit),
        ];
        for (bytes, cause) in table {
            check(bytes, Role::Server, Err(*cause));
        }
        check(&[0x81, 0x85, 1, 2, 3, 4], Role::Client, Err(MaskForbidden));
    }

    #[test]
    fn compressed_messages_are_accepted_where_they_were_negotiated() {
        let decode = |first: u8| decode_with(&[first, 0], Role::Client, true);
        for (first, compressed) in [(0xC1, true), (0x42, true), (0x81, false), (0x80, false)] {
            assert_eq!(decode(first).unwrap().unwrap().compressed, compressed, "{first:x}");
        }
        // Neither continuations nor control frames, nor the other bits.
        for first in [0xC0, 0x40, 0xC8, 0xC9, 0xCA, 0xE1, 0xA1, 0x91, 0xF2] {
            assert_eq!(decode(first), Err(CloseCause::ReservedBit), "{first:x}");
        }
        let header = encode(Opcode::Text, true, 5, None).compressed();
        assert_eq!(header.as_bytes(), [0xC1, 5]);
    }

    #[test]
    fn encoded_headers_are_decoded_at_every_length_boundary() {
        for payload_bytes in [0, 1, 125, 126, 127, 0xFFFF, 0x1_0000, 1 << 32, (1 << 62) + 1] {
            for (role, mask) in [(Role::Server, Some([1, 2, 3, 4])), (Role::Client, None)] {
                for fin in [true, false] {
                    let encoded = encode(Opcode::Binary, fin, payload_bytes, mask);
                    check(
                        encoded.as_bytes(),
                        role,
                        Ok(Some(Header {
                            fin,
                            opcode: Opcode::Binary,
                            compressed: false,
                            mask: mask.unwrap_or_default(),
                            payload_bytes: payload_bytes as u64,
                            header_bytes: encoded.as_bytes().len() as u8,
                        })),
                    );
                }
            }
        }
    }

    #[test]
    fn a_small_message_is_decoded_as_the_full_decoder_does() {
        for (role, mask) in [(Role::Server, [0x80, 1, 2, 3, 4].as_slice()), (Role::Client, &[0])] {
            for first in 0..=255 {
                for length in 0..128_u8 {
                    for wrong in [false, true] {
                        let mut bytes = vec![first, mask[0] | length];
                        bytes[1] ^= u8::from(wrong) << 7;
                        bytes.extend_from_slice(&mask[1..]);
                        bytes.resize(bytes.len() + usize::from(length), 7);
                        let header = decode_with(&bytes, role, true);
                        let expected = match header {
                            Ok(Some(header))
                                if header.fin
                                    && !header.compressed
                                    && matches!(header.opcode, Opcode::Text | Opcode::Binary)
                                    && length <= 125 =>
                            {
                                Some(SmallMessage {
                                    text: header.opcode == Opcode::Text,
                                    mask: header.mask,
                                    header_bytes: header.header_bytes.into(),
                                    payload_bytes: header.payload_bytes as usize,
                                })
                            }
                            _ => None,
                        };
                        assert_eq!(decode_small(&bytes, role), expected, "{bytes:?}");
                        let all = bytes.len();
                        assert!((0..all).all(|end| decode_small(&bytes[..end], role).is_none()));
                        bytes.push(0);
                        assert_eq!(decode_small(&bytes, role), expected, "and more");
                    }
                }
            }
        }
    }

    #[test]
    fn the_examples_of_the_rfc_are_decoded() {
        // RFC 6455, 5.7.
        let hello = decode(&[0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d], Role::Server).unwrap().unwrap();
        assert_eq!((hello.opcode, hello.payload_bytes), (Opcode::Text, 5));
        assert_eq!(encode(Opcode::Text, true, 5, None).as_bytes(), [0x81, 0x05]);
        assert_eq!(encode(Opcode::Binary, true, 256, None).as_bytes(), [0x82, 0x7E, 0x01, 0x00]);
        assert_eq!(
            encode(Opcode::Binary, true, 65536, None).as_bytes(),
            [0x82, 0x7F, 0, 0, 0, 0, 0, 1, 0, 0]
        );
    }
}
