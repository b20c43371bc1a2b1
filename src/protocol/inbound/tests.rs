//! Every vector whole and split at every byte, and random streams against a
//! naive twin.

use super::assembly::FIRST_BYTES;
use super::*;
use crate::protocol::frame::{self, Opcode, Role};
use crate::protocol::mask;
use crate::protocol::message::{Kind, Message};
use crate::protocol::{CloseCause, Workspace};
use proptest::prelude::*;

/// An owned [`Incoming`], or a violation.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Out {
    Text(String),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<(u16, String)>),
    Fault(CloseCause),
}

const RULES: Rules = Rules {
    role: Role::Server,
    message_bytes_max: 1 << 20,
    message_fragments_max: 8,
    deflate: false,
};

fn own(incoming: Incoming<'_>) -> Out {
    match incoming {
        Incoming::Message(Message::Text(text)) => Out::Text(text.into()),
        Incoming::Message(Message::Binary(bytes)) => Out::Binary(bytes.into()),
        Incoming::Ping(payload) => Out::Ping(payload.into()),
        Incoming::Pong(payload) => Out::Pong(payload.into()),
        Incoming::Close(close) => Out::Close(close.map(|(code, why)| (code.get(), why.into()))),
    }
}

fn run(rules: &Rules, pieces: &[&[u8]]) -> Vec<Out> {
    let mut pool = Workspace::new(1 << 20);
    let mut inbound = Inbound::new();
    let mut outs = Vec::new();
    'pieces: for piece in pieces {
        let mut bytes = piece.to_vec();
        let mut input = Input::new(&mut bytes);
        loop {
            match inbound.next(rules, &mut pool, &mut input) {
                Ok(Some(incoming)) => outs.push(own(incoming)),
                Ok(None) => break,
                Err(cause) => {
                    outs.push(Out::Fault(cause));
                    break 'pieces;
                }
            }
        }
        assert!(input.rest().is_empty(), "input was left");
    }
    inbound.release(&mut pool);
    assert_eq!(pool.lent(), 0, "a buffer leaked");
    outs
}

/// The same stream, with its payload received straight into the message.
fn run_with_room(rules: &Rules, stream: &[u8], step: usize) -> Vec<Out> {
    let mut pool = Workspace::new(1 << 20);
    let mut inbound = Inbound::new();
    let mut outs = Vec::new();
    let mut rest = stream;
    loop {
        let mut bytes = Vec::new();
        match inbound.room() {
            Some(room) => {
                let taken = room.len().min(step).min(rest.len());
                room[..taken].copy_from_slice(&rest[..taken]);
                rest = &rest[taken..];
                if let Err(cause) = inbound.received(taken) {
                    outs.push(Out::Fault(cause));
                    break;
                }
            }
            None => {
                let taken = rest.len().min(step);
                bytes.extend_from_slice(&rest[..taken]);
                rest = &rest[taken..];
            }
        }
        let mut input = Input::new(&mut bytes);
        let fault = loop {
            match inbound.next(rules, &mut pool, &mut input) {
                Ok(Some(incoming)) => outs.push(own(incoming)),
                Ok(None) => break None,
                Err(cause) => break Some(cause),
            }
        };
        if let Some(cause) = fault {
            outs.push(Out::Fault(cause));
            break;
        }
        if rest.is_empty() {
            break;
        }
    }
    inbound.release(&mut pool);
    assert_eq!(pool.lent(), 0, "a buffer leaked");
    outs
}

fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let key = [0x37, 0xfa, 0x21, 0x3d];
    let opcode = Opcode::from_bits(first & 0xF).unwrap();
    let mut bytes =
        frame::encode(opcode, first & 0x80 != 0, payload.len(), Some(key)).as_bytes().to_vec();
    bytes[0] = first;
    let start = bytes.len();
    bytes.extend_from_slice(payload);
    mask::apply(&mut bytes[start..], key);
    bytes
}

#[track_caller]
fn check(stream: &[u8], expected: &[Out]) {
    assert_eq!(run(&RULES, &[stream]), expected, "whole");
    assert_eq!(run(&RULES, &stream.chunks(1).collect::<Vec<_>>()), expected, "byte by byte");
    for split in 0..=stream.len() {
        let (head, tail) = stream.split_at(split);
        assert_eq!(run(&RULES, &[head, tail]), expected, "split at {split}");
    }
    for step in [1, 2, 3, 7, 64, 4096] {
        assert_eq!(run_with_room(&RULES, stream, step), expected, "with room, {step} at a time");
    }
}

fn text(text: &str) -> Out {
    Out::Text(text.into())
}

#[test]
fn messages_are_the_same_whole_and_split_at_every_byte() {
    check(&frame(0x81, b"Hello"), &[text("Hello")]);
    check(&frame(0x81, b""), &[text("")]);
    check(&frame(0x82, &[0, 255, 1]), &[Out::Binary(vec![0, 255, 1])]);
    check(&frame(0x82, &[7; 126]), &[Out::Binary(vec![7; 126])]);
    check(&[frame(0x01, b"Hel"), frame(0x80, b"lo")].concat(), &[text("Hello")]);
    check(&[frame(0x01, b""), frame(0x00, b""), frame(0x80, b"")].concat(), &[text("")]);
    check(
        &[frame(0x01, b"Hel"), frame(0x89, b"p"), frame(0x8A, b""), frame(0x80, b"lo")].concat(),
        &[Out::Ping(b"p".to_vec()), Out::Pong(vec![]), text("Hello")],
    );
    check(
        &[frame(0x01, "漢".as_bytes().split_at(1).0), frame(0x80, &"漢".as_bytes()[1..])].concat(),
        &[text("漢")],
    );
    check(&frame(0x89, &[9; 125]), &[Out::Ping(vec![9; 125])]);
    check(&frame(0x88, b""), &[Out::Close(None)]);
    check(&frame(0x88, b"\x03\xe8bye"), &[Out::Close(Some((1000, "bye".into())))]);
    check(
        &[frame(0x82, b"a"), frame(0x82, b"b")].concat(),
        &[Out::Binary(b"a".to_vec()), Out::Binary(b"b".to_vec())],
    );
}

#[test]
fn violations_are_found_whole_and_split_at_every_byte() {
    let fault = |cause| vec![Out::Fault(cause)];
    check(&frame(0x80, b"x"), &fault(CloseCause::ContinuationUnexpected));
    check(
        &[frame(0x01, b"x"), frame(0x81, b"y")].concat(),
        &fault(CloseCause::ContinuationMissing),
    );
    check(&frame(0x88, b"\x03"), &fault(CloseCause::CloseTooShort));
    check(&frame(0x88, b"\x03\xed"), &fault(CloseCause::CloseCodeInvalid));
    check(&frame(0x88, b"\x03\xe8\xff"), &fault(CloseCause::InvalidUtf8));
    check(&frame(0x81, b"\xff"), &fault(CloseCause::InvalidUtf8));
    check(&[frame(0x01, b"\xe2"), frame(0x80, b"")].concat(), &fault(CloseCause::InvalidUtf8));
    check(
        &[frame(0x02, b"a"), frame(0x00, b"b").repeat(8)].concat(),
        &fault(CloseCause::TooManyFragments),
    );
    // The header alone decides, without a payload.
    let too_big = frame::encode(Opcode::Binary, true, (1 << 20) + 1, Some([0; 4]));
    check(too_big.as_bytes(), &fault(CloseCause::MessageTooBig));
    let huge = frame::encode(Opcode::Binary, true, (1 << 62) + 1, Some([0; 4]));
    check(huge.as_bytes(), &fault(CloseCause::MessageTooBig));
    let rest = frame::encode(Opcode::Continuation, true, 1 << 20, Some([0; 4]));
    check(&[&frame(0x02, b"a")[..], rest.as_bytes()].concat(), &fault(CloseCause::MessageTooBig));
}

#[test]
fn invalid_text_is_refused_before_its_frame_ends() {
    let mut stream = frame(0x81, &[&b"\xce\xba\xed\xa0\x80"[..], &[b'a'; 60_000]].concat());
    stream.truncate(20);
    assert_eq!(run(&RULES, &[&stream]), [Out::Fault(CloseCause::InvalidUtf8)]);
}

#[test]
fn a_declared_length_allocates_little() {
    let mut pool = Workspace::new(0);
    let mut inbound = Inbound::new();
    let mut bytes = frame::encode(Opcode::Binary, true, 1 << 20, Some([0; 4])).as_bytes().to_vec();
    bytes.push(0);
    let mut input = Input::new(&mut bytes);
    assert_eq!(inbound.next(&RULES, &mut pool, &mut input), Ok(None));
    assert_eq!(inbound.missing(), (1 << 20) - 1);
    assert!(inbound.assembly().unwrap().storage.capacity() <= FIRST_BYTES);
    assert!(inbound.assembly().unwrap().storage.len() < 5 << 10);
}

#[test]
fn a_message_becomes_its_echo_in_place() {
    for payload_bytes in [0, 5, 125, 126, 70_000] {
        let payload = vec![b'x'; payload_bytes];
        let stream = frame(0x81, &payload);
        let echo =
            [frame::encode(Opcode::Text, true, payload_bytes, None).as_bytes(), &payload].concat();
        for split in [0, 1, stream.len() / 2] {
            let mut pool = Workspace::new(1 << 20);
            let mut inbound = Inbound::new();
            let (mut head, mut tail) = (stream[..split].to_vec(), stream[split..].to_vec());
            let mut input = Input::new(&mut head);
            assert_eq!(inbound.next(&RULES, &mut pool, &mut input), Ok(None));
            let mut input = Input::new(&mut tail);
            assert!(inbound.next(&RULES, &mut pool, &mut input).unwrap().is_some());
            // A second buffer with less of the header than the reply's header is long leaves no
            // room. A message in pieces has room of its own.
            let header_bytes = stream.len() - payload.len();
            let own_bytes = echo.len() - payload.len();
            let room = split >= header_bytes || header_bytes - split >= own_bytes;
            let expected = if room { Ok(&echo[..]) } else { Err(&payload[..]) };
            assert_eq!(inbound.frame_in_place(&mut input, Kind::Text), expected);
        }
    }
}

/// Frames that are legal in any order, with their expected outcome.
fn any_item() -> impl Strategy<Value = (Vec<u8>, Vec<Out>)> {
    let payload = proptest::collection::vec(any::<u8>(), 0..200);
    prop_oneof![
        payload.clone().prop_map(|bytes| (frame(0x82, &bytes), vec![Out::Binary(bytes)])),
        "\\PC{0,60}".prop_map(|line| (frame(0x81, line.as_bytes()), vec![Out::Text(line)])),
        proptest::collection::vec(any::<u8>(), 0..=125)
            .prop_map(|bytes| (frame(0x89, &bytes), vec![Out::Ping(bytes)])),
        (payload, 1usize..6, any::<bool>()).prop_map(|(bytes, pieces, ping)| {
            let size = bytes.len() / pieces + 1;
            let chunks: Vec<&[u8]> =
                if bytes.is_empty() { vec![&[]] } else { bytes.chunks(size).collect() };
            let mut stream = Vec::new();
            let mut outs = Vec::new();
            for (index, chunk) in chunks.iter().enumerate() {
                let first = if index == 0 { 0x02 } else { 0x00 };
                let fin = if index == chunks.len() - 1 { 0x80 } else { 0x00 };
                stream.extend(frame(first | fin, chunk));
                if ping && fin == 0 {
                    stream.extend(frame(0x89, b"between"));
                    outs.push(Out::Ping(b"between".to_vec()));
                }
            }
            outs.push(Out::Binary(bytes));
            (stream, outs)
        }),
    ]
}

proptest! {
    #[test]
    fn any_split_of_any_stream_gives_the_same(
        items in proptest::collection::vec(any_item(), 1..8),
        cuts in proptest::collection::vec(1usize..300, 1..20),
        step in 1usize..500,
    ) {
        let stream: Vec<u8> = items.iter().flat_map(|item| item.0.clone()).collect();
        let expected: Vec<Out> = items.into_iter().flat_map(|item| item.1).collect();
        let mut pieces = Vec::new();
        let mut rest = &stream[..];
        for cut in cuts.iter().cycle() {
            let (head, tail) = rest.split_at((*cut).min(rest.len()));
            pieces.push(head);
            rest = tail;
            if rest.is_empty() {
                break;
            }
        }
        prop_assert_eq!(run(&RULES, &pieces), expected.clone());
        prop_assert_eq!(run_with_room(&RULES, &stream, step), expected);
    }

    #[test]
    fn garbage_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300), cut in 1usize..50) {
        let pieces: Vec<&[u8]> = bytes.chunks(cut).collect();
        prop_assert_eq!(run(&RULES, &pieces), run(&RULES, &[&bytes]));
    }
}
