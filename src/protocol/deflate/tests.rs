//! The vectors of RFC 7692, and both halves against each other.

use super::*;
use crate::protocol::{
    CloseCause, Inbound, Incoming, Input, Opcode, Role, Rules, Workspace, frame,
};
use proptest::prelude::*;

fn inflate(payload: &[u8]) -> Result<Vec<u8>, InflateError> {
    let mut out = Vec::new();
    Inflater::new().inflate_whole(payload, &mut out, 1 << 20).map(|()| out)
}

#[test]
fn the_examples_of_the_rfc_are_inflated() {
    // RFC 7692, 7.2.3: compressed, in a stored block, in a last block, in two blocks, empty.
    for example in [
        &[0xF2, 0x48, 0xCD, 0xC9, 0xC9, 0x07, 0x00][..],
        &[0x00, 0x05, 0x00, 0xFA, 0xFF, 0x48, 0x65, 0x6C, 0x6C, 0x6F, 0x00],
        &[0xF3, 0x48, 0xCD, 0xC9, 0xC9, 0x07, 0x00, 0x00],
        &[0xF2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xFF, 0xFF, 0xCA, 0xC9, 0xC9, 0x07, 0x00],
    ] {
        assert_eq!(inflate(example).as_deref(), Ok(&b"Hello"[..]), "{example:x?}");
    }
    assert_eq!(inflate(&[0x00]), Ok(vec![]));
    assert_eq!(inflate(&[]), Ok(vec![]));
}

#[test]
fn offers_are_answered() {
    let answer = |value: &str| accept([value]).map(|it| it.without_contexts().answer());
    let usual = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";
    let usual = Some(usual.to_owned());
    for offer in [
        "permessage-deflate",
        "permessage-deflate; client_max_window_bits",
        "permessage-deflate; client_max_window_bits=8",
        "permessage-deflate; server_no_context_takeover",
        "permessage-deflate; client_no_context_takeover",
        ", permessage-deflate,",
        // The first acceptable offer.
        "permessage-deflate; server_max_window_bits=8, permessage-deflate",
    ] {
        assert_eq!(answer(offer), usual, "{offer}");
    }
    for bits in 9..=15 {
        let named = answer(&format!("permessage-deflate; server_max_window_bits={bits}"));
        assert!(named.unwrap().ends_with(&format!("; server_max_window_bits={bits}")));
    }
    assert_eq!(accept(["x", "permessage-deflate"]), accept(["permessage-deflate"]));
    for odd in [
        "x-webkit-deflate-frame",
        "Permessage-Deflate; x",
        "permessage-deflate; server_max_window_bits",
        "permessage-deflate; server_max_window_bits=7",
        "permessage-deflate; server_max_window_bits=16",
        "permessage-deflate; server_max_window_bits=08",
        "permessage-deflate; server_max_window_bits=8",
        "permessage-deflate; server_max_window_bits=-15",
        "permessage-deflate; server_max_window_bits=99999999999999999999",
        "permessage-deflate; client_max_window_bits=7",
        "permessage-deflate; client_max_window_bits=16",
        "permessage-deflate; client_max_window_bits=0",
        "permessage-deflate; client_max_window_bits; client_max_window_bits",
        "permessage-deflate; client_no_context_takeover; client_no_context_takeover",
        "permessage-deflate; server_no_context_takeover=1",
        "permessage-deflate; unknown",
    ] {
        assert_eq!(answer(odd), None, "{odd}");
    }
}

#[test]
fn contexts_are_used_where_an_offer_allows_them() {
    let check = |value: &str, expected: &str| {
        let answered = accept([value]).map(Accepted::answer);
        assert_eq!(answered.as_deref(), Some(expected), "{value}");
    };
    let (plain, window) = ("permessage-deflate", "; server_max_window_bits=15");
    let (server, client) = ("; server_no_context_takeover", "; client_no_context_takeover");
    for parameters in [
        String::new(),
        server.to_owned(),
        client.to_owned(),
        window.to_owned(),
        server.to_owned() + client,
        server.to_owned() + window,
        client.to_owned() + window,
        server.to_owned() + client + window,
    ] {
        let offer = plain.to_owned() + &parameters;
        check(&offer, &offer);
        // The client accepts the server's answer to its own offer.
        let names_server = parameters.contains("server_no");
        let accepted = check_accepted([&offer[..]], Offered::Contexts).unwrap().unwrap();
        assert_eq!(accepted.server_context, !names_server, "{offer}");
        assert_eq!(accepted.client_context, !parameters.contains("client_no"), "{offer}");
        let is_right = check_accepted([&offer[..]], Offered::Alone);
        assert_eq!(is_right.is_some(), names_server, "{offer}");
    }
    check("permessage-deflate; client_max_window_bits", plain);
}

#[test]
fn answers_are_checked() {
    for offered in [Offered::Nothing, Offered::Alone, Offered::Contexts] {
        assert_eq!(check_accepted([], offered), Some(None));
        assert_eq!(check_accepted([" "], offered), Some(None));
        let answer = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";
        let accepted = check_accepted([answer], offered);
        assert_eq!(accepted.is_some(), offered != Offered::Nothing);
    }
    let check = |values: &[&str]| {
        check_accepted(values.iter().copied(), Offered::Alone)
            .map(|it| it.map(|it| (it.server_context, it.client_context)))
    };
    let alone = "permessage-deflate; server_no_context_takeover";
    // The client offered to have none, so the answer need not repeat it.
    assert_eq!(check(&[alone]), Some(Some((false, false))));
    let windowed = format!("{alone}; server_max_window_bits=10");
    assert_eq!(check(&[&windowed]), Some(Some((false, false))));
    for wrong in [
        "permessage-deflate",
        "x",
        ";",
        "permessage-deflate; server_no_context_takeover; client_max_window_bits",
        "permessage-deflate; server_no_context_takeover; client_max_window_bits=7",
        "permessage-deflate; server_no_context_takeover, x",
    ] {
        assert_eq!(check(&[wrong]), None, "{wrong}");
    }
    assert_eq!(check(&[alone, alone]), None);
    // A window for the client, which has offered to limit it.
    let windowed = format!("{alone}; client_max_window_bits=10");
    let accepted = check_accepted([&windowed[..]], Offered::Alone).unwrap().unwrap();
    assert_eq!((accepted.client_window_bits, accepted.server_window_bits), (10, 15));
}

/// Inflates a message of a compressor with a window of `window_bits`, with a decompressor that has
/// no larger window.
fn inflate_within(payload: &[u8], window_bits: u8) -> Vec<u8> {
    let mut inflate = zlib_rs::Inflate::new(false, window_bits);
    let mut out = Vec::new();
    // With a small output buffer, no more output than the window is in reach.
    let mut room = [0; 64];
    let mut rest = payload;
    loop {
        let (taken, written) = (inflate.total_in(), inflate.total_out());
        inflate.decompress(rest, &mut room, zlib_rs::InflateFlush::NoFlush).unwrap();
        let written = (inflate.total_out() - written) as usize;
        rest = &rest[(inflate.total_in() - taken) as usize..];
        out.extend_from_slice(&room[..written]);
        if written == 0 {
            return out;
        }
    }
}

#[test]
fn a_window_is_no_larger_than_negotiated() {
    // The text repeats at every distance up to 20,000 bytes.
    let mut random = fastrand::Rng::with_seed(3);
    let mut text: Vec<u8> = (0..20_000).map(|_| random.u8(b'a'..=b'p')).collect();
    for _ in 0..2_000 {
        let start = random.usize(..text.len() - 40);
        let piece = text[start..start + random.usize(3..40)].to_vec();
        text.extend_from_slice(&piece);
    }
    for level in [1, 2, 6, 9] {
        for bits in WINDOW_BITS_MIN..=WINDOW_BITS_MAX {
            let mut workspace = Workspace::new(1 << 20).compressing(Deflater::new(level, 1));
            let small = workspace.deflate(Compression::alone(bits), &text).unwrap();
            assert_eq!(inflate_within(small, bits), text, "level {level}, {bits} bits");
            let mut contexts = contexts(level, 1 << 20);
            let context = contexts.begin(true, false, bits).unwrap();
            let small = contexts.deflate(context, &text).unwrap();
            assert_eq!(inflate_within(small, bits), text, "level {level}, {bits} bits");
        }
    }
    assert_eq!(Compression::alone(15), Compression::ALONE);
}

#[test]
fn a_message_that_ends_inside_a_block_is_refused() {
    // In fixed codes, stored, and in codes of its own.
    let text: Vec<u8> = (0..3_000_u32).map(|at| (at * at % 97) as u8 + b' ').collect();
    let noise: Vec<u8> =
        (0..300_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let mut stored = vec![0x00, 44, 1, !44, !1];
    stored.extend_from_slice(&noise);
    stored.push(0);
    for whole in [&[0xF2, 0x48, 0xCD, 0xC9, 0xC9, 0x07, 0x00][..], &stored, &compressed(&text)] {
        assert!(inflate(whole).is_ok());
        // The first byte of a stored block alone is a whole message without bytes.
        for cut in 1 + usize::from(whole[0] == 0)..whole.len() {
            assert_eq!(inflate(&whole[..cut]), Err(InflateError::Malformed), "{cut}");
        }
        // In pieces, and by frames.
        let rules = rules(Role::Server, 1 << 20);
        for step in [1, 9, 1_000] {
            let frame = message(Opcode::Binary, &whole[..whole.len() - 2], 3);
            assert_eq!(receive(frame, step, &rules), Err(CloseCause::InvalidDeflate));
        }
    }
}

#[test]
fn an_odd_end_does_not_break_the_next_message() {
    // RFC 7692, 7.2.3.4, with and without the empty block; and an empty payload.
    for odd in [
        &[][..],
        &[0x00],
        // The empty block is still there.
        &[0xF2, 0x48, 0xCD, 0xC9, 0xC9, 0x07, 0x00, 0x00, 0x00, 0xFF, 0xFF],
        &[0xF3, 0x48, 0xCD, 0xC9, 0xC9, 0x07, 0x00],
        &[0xF3, 0x48, 0xCD, 0xC9, 0xC9, 0x07, 0x00, 0x00],
    ] {
        let hello = [0xF2, 0x48, 0xCD, 0xC9, 0xC9, 0x07, 0x00];
        for step in [1, 1_000] {
            let mut inbound = Inbound::new();
            inbound.remember();
            let mut workspace = Workspace::new(1 << 20);
            let rules = rules(Role::Server, 1 << 20);
            let frames = [&hello[..], odd, &hello, odd, odd, &hello];
            let mut stream = Vec::new();
            for payload in frames {
                stream.extend_from_slice(&message(Opcode::Binary, payload, 1));
            }
            let mut received = Vec::new();
            for piece in stream.chunks_mut(step) {
                let mut input = Input::new(piece);
                while let Some(incoming) = inbound.next(&rules, &mut workspace, &mut input).unwrap()
                {
                    let Incoming::Message(message) = incoming else { panic!("a message") };
                    received.push(message.payload().to_vec());
                }
            }
            let of_odd = if odd.len() > 1 { &b"Hello"[..] } else { b"" };
            let expected = [&b"Hello"[..], of_odd, b"Hello", of_odd, of_odd, b"Hello"];
            assert_eq!(received, expected, "{odd:x?}");
        }
    }
}

#[test]
fn a_message_that_would_not_shrink_is_not_compressed() {
    let mut random = fastrand::Rng::with_seed(7);
    for (level, bytes) in [(1, 5_000), (1, 3 << 20), (2, 3 << 20), (6, 5_000), (9, 100_000)] {
        let noise: Vec<u8> = (0..bytes).map(|_| random.u8(..)).collect();
        let mut deflater = Deflater::new(level, 10);
        assert_eq!(deflater.deflate(&noise), None);
        assert_eq!(deflater.deflate(b""), None);
        assert_eq!(deflater.deflate(&[7; 9]), None);
        // The next message is not affected.
        let small = deflater.deflate(&[7; 5_000]).unwrap().to_vec();
        assert_eq!(inflate(&small), Ok(vec![7; 5_000]), "{level} {bytes}");
    }
}

#[test]
fn frames_are_compressed_one_by_one() {
    let text = "price ".repeat(50);
    let mut frames = Vec::new();
    for (opcode, payload) in
        [(Opcode::Text, text.as_bytes()), (Opcode::Binary, b"short"), (Opcode::Ping, b"?")]
    {
        frames.extend_from_slice(frame::encode(opcode, true, payload.len(), None).as_bytes());
        frames.extend_from_slice(payload);
    }
    let mut out = Vec::new();
    Deflater::new(1, 16).frames(&frames, &mut out);
    assert!(out.len() < frames.len() / 3);
    assert_eq!(out[0], 0xC1);
    let rules = rules(Role::Client, 1_000);
    let (mut inbound, mut workspace) = (Inbound::new(), Workspace::new(1 << 20));
    let mut input = Input::new(&mut out);
    let mut next = || format!("{:?}", inbound.next(&rules, &mut workspace, &mut input));
    assert!(next().contains(&text));
    assert_eq!(next(), r#"Ok(Some(Message(Binary([115, 104, 111, 114, 116]))))"#);
    assert_eq!(next(), "Ok(Some(Ping([63])))");
    assert_eq!(next(), "Ok(None)");
}

fn rules(role: Role, message_bytes_max: usize) -> Rules {
    Rules { role, message_bytes_max, message_fragments_max: 1_000, deflate: true }
}

/// Contexts with a budget of `bytes_max` bytes.
fn contexts(level: u8, bytes_max: usize) -> Contexts {
    Contexts::new(level, 1, 1, bytes_max)
}

#[test]
fn a_context_looks_back_until_it_is_interrupted() {
    let text: String = (0..100).map(|at| format!("word{}", at * at * 31 % 97)).collect();
    for level in 1..=9 {
        let mut contexts = contexts(level, 1 << 20);
        let one = contexts.begin(true, false, 15).unwrap();
        let other = contexts.begin(true, false, 15).unwrap();
        let first = contexts.deflate(one, text.as_bytes()).unwrap().to_vec();
        let again = contexts.deflate(one, text.as_bytes()).unwrap().to_vec();
        assert!(again.len() * 9 < first.len(), "{level}: {} {}", again.len(), first.len());
        // A decompressor without the context can't read it.
        assert_eq!(inflate(&again), Err(InflateError::Malformed));
        assert_eq!(contexts.deflate(other, text.as_bytes()), Some(&first[..]));
        contexts.interrupt(one);
        assert_eq!(contexts.deflate(one, text.as_bytes()), Some(&first[..]));
        // Noise is sent uncompressed, and the next message restarts the compressor.
        let mut random = fastrand::Rng::with_seed(u64::from(level));
        let noise: Vec<u8> = (0..3_000).map(|_| random.u8(..)).collect();
        assert_eq!(contexts.deflate(one, &noise), None);
        assert_eq!(contexts.deflate(one, text.as_bytes()), Some(&first[..]));
        assert_eq!(contexts.deflate(Compression::ALONE, text.as_bytes()), None);
    }
}

#[test]
fn a_short_message_after_an_interruption_is_not_compressed() {
    let quote = br#"{"symbol":"BTC","bid":64000.5,"ask":64001.0,"venue":"one","last":63999.5}"#;
    let mut contexts = Contexts::new(1, 16, 512, 1 << 20);
    let one = contexts.begin(true, false, 15).unwrap();
    assert!(contexts.deflate(one, quote).is_some());
    for _ in 0..3 {
        contexts.interrupt(one);
        assert_eq!(contexts.deflate(one, quote), None);
    }
    // The second in a row restarts the compressor, and the third looks back at it.
    let second = contexts.deflate(one, quote).unwrap().len();
    let third = contexts.deflate(one, quote).unwrap().len();
    assert!(third * 3 < second && second < quote.len(), "{second} {third}");
    // A long message restarts it at once.
    contexts.interrupt(one);
    assert!(contexts.deflate(one, &quote.repeat(8)).is_some());
}

#[test]
fn a_budget_is_reserved_and_freed() {
    let mut contexts = contexts(1, 1 << 20);
    let (first, second) = (contexts.begin(true, true, 15).unwrap(), contexts.begin(true, true, 15));
    assert!(first.has_context() && second.is_some_and(|it| it.has_context() && it != first));
    // The rest after two contexts is too little for another.
    assert_eq!(contexts.begin(true, true, 15), None);
    assert_eq!(contexts.begin(true, false, 15), None);
    assert_eq!(contexts.begin(false, true, 15), Some(Compression::ALONE));
    contexts.end(first);
    contexts.end_inbound();
    // The next connection does not see the context of an earlier one.
    let text = b"somebody's secret, somebody's secret";
    contexts.deflate(second.unwrap(), text).unwrap();
    let next = contexts.begin(true, true, 15).unwrap();
    assert_eq!(next, first);
    let alone = contexts.deflate(next, text).unwrap().to_vec();
    assert_eq!(inflate(&alone).as_deref(), Ok(&text[..]));
}

/// A client's message in `fragments` frames, compressed as a whole.
fn message(opcode: Opcode, payload: &[u8], fragments: usize) -> Vec<u8> {
    let piece = payload.len().div_ceil(fragments).max(1);
    let mut out = Vec::new();
    let mut pieces: Vec<&[u8]> = payload.chunks(piece).collect();
    if pieces.is_empty() {
        pieces.push(&[]);
    }
    for (index, piece) in pieces.iter().enumerate() {
        let opcode = if index == 0 { opcode } else { Opcode::Continuation };
        let is_last = index + 1 == pieces.len();
        let key = [1, 2, 3, index as u8];
        let start = out.len();
        out.extend_from_slice(frame::encode(opcode, is_last, piece.len(), Some(key)).as_bytes());
        if index == 0 {
            out[start] |= frame::COMPRESSED_BIT;
        }
        let start = out.len();
        out.extend_from_slice(piece);
        crate::protocol::mask::apply(&mut out[start..], key);
    }
    out
}

/// Receives `bytes`, `step` at a time, and checks that no buffer is leaked.
fn receive(bytes: Vec<u8>, step: usize, rules: &Rules) -> Result<Vec<Vec<u8>>, CloseCause> {
    let (mut inbound, mut workspace) = (Inbound::new(), Workspace::new(1 << 20));
    let received = receive_with(&mut inbound, &mut workspace, bytes, step, rules);
    inbound.release(&mut workspace);
    assert_eq!(workspace.lent(), 0);
    received
}

fn receive_with(
    inbound: &mut Inbound,
    workspace: &mut Workspace,
    mut bytes: Vec<u8>,
    step: usize,
    rules: &Rules,
) -> Result<Vec<Vec<u8>>, CloseCause> {
    let mut received = Vec::new();
    for piece in bytes.chunks_mut(step) {
        let mut input = Input::new(piece);
        while let Some(incoming) = inbound.next(rules, workspace, &mut input)? {
            let Incoming::Message(message) = incoming else { panic!("{incoming:?}") };
            received.push(message.payload().to_vec());
        }
    }
    Ok(received)
}

fn compressed(payload: &[u8]) -> Vec<u8> {
    Deflater::new(6, 0).deflate(payload).expect("it becomes smaller").to_vec()
}

#[test]
fn a_bomb_is_stopped_at_the_limit() {
    let bomb = compressed(&vec![0; 8 << 20]);
    assert!(bomb.len() < 10_000);
    let frame = message(Opcode::Binary, &bomb, 1);
    for step in [1_000, 100_000] {
        let result = receive(frame.clone(), step, &rules(Role::Server, 1 << 20));
        assert_eq!(result, Err(CloseCause::MessageTooBig), "{step}");
    }
    // At most one byte beyond the limit is written.
    let mut out = Vec::new();
    let result = Inflater::new().inflate_whole(&bomb, &mut out, 1 << 20);
    assert_eq!(result, Err(InflateError::TooBig));
    assert!(out.len() <= (1 << 20) + 1);
    // A message of exactly the limit passes.
    let fits = message(Opcode::Binary, &compressed(&vec![0; 1 << 20]), 3);
    let received = receive(fits.clone(), 999, &rules(Role::Server, 1 << 20)).unwrap();
    assert_eq!(received, [vec![0; 1 << 20]]);
    let result = receive(fits, 999, &rules(Role::Server, (1 << 20) - 1));
    assert_eq!(result, Err(CloseCause::MessageTooBig));
}

#[test]
fn every_fault_of_a_compressed_message_has_its_cause() {
    let rules = rules(Role::Server, 1 << 20);
    for step in [1, 7, 1_000] {
        let frame = message(Opcode::Text, &[0xFF; 20], 2);
        assert_eq!(receive(frame, step, &rules), Err(CloseCause::InvalidDeflate));
        // Invalid text, and text that ends inside a character.
        for text in [&[0xFF; 100][..], &"é".repeat(50).as_bytes()[..99]] {
            let frame = message(Opcode::Text, &compressed(text), 2);
            assert_eq!(receive(frame, step, &rules), Err(CloseCause::InvalidUtf8));
        }
    }
    // Too many compressed bytes, whatever their content.
    let small = Rules { message_bytes_max: 100, ..rules };
    let noise: Vec<u8> = (0..300).map(|at| (at * 31) as u8).collect();
    let frame = message(Opcode::Binary, &noise, 1);
    assert_eq!(receive(frame, 10, &small), Err(CloseCause::MessageTooBig));
}

#[test]
fn a_long_message_is_inflated_as_it_arrives() {
    let mut random = fastrand::Rng::with_seed(1);
    // Half noise: some 300 KB compressed, more than is kept compressed.
    let payload: Vec<u8> =
        (0..600_000).map(|at| if at % 2 == 0 { random.u8(..) } else { 7 }).collect();
    let small = compressed(&payload);
    assert!(small.len() > 200_000);
    for (fragments, step) in [(1, 10_000), (50, 4_321), (3, 1 << 20)] {
        let frames = message(Opcode::Binary, &small, fragments);
        let received = receive(frames, step, &rules(Role::Server, 1 << 20)).unwrap();
        assert!(received == [payload.clone()], "{fragments} {step}");
    }
}

proptest! {
    #[test]
    fn a_compressed_message_inflates_to_the_original(
        words in prop::collection::vec("[a-d]{0,40}", 1..40),
        level in 1u8..=9,
        fragments in 1usize..5,
        step in 1usize..500,
    ) {
        let mut deflater = Deflater::new(level, 1);
        let mut stream = Vec::new();
        for word in &words {
            match deflater.deflate(word.as_bytes()) {
                Some(small) => stream.extend(message(Opcode::Text, small, fragments)),
                None => {
                    let start = stream.len();
                    stream.extend(message(Opcode::Text, word.as_bytes(), fragments));
                    stream[start] &= !frame::COMPRESSED_BIT;
                }
            }
        }
        let received = receive(stream, step, &rules(Role::Server, 1 << 20)).unwrap();
        let expected: Vec<Vec<u8>> = words.iter().map(|word| word.clone().into_bytes()).collect();
        prop_assert_eq!(received, expected);
    }

    /// The view of a connection's peer: messages with context, and others compressed by
    /// themselves or not at all, pass in any order through one decompressor.
    #[test]
    fn messages_of_a_context_inflate_whatever_is_sent_between_them(
        steps in prop::collection::vec((0..4, "[a-d]{0,60}"), 1..60),
        level in 1u8..=9,
        fragments in 1usize..5,
        step in 1usize..500,
    ) {
        let mut contexts = contexts(level, 1 << 20);
        let compression = contexts.begin(true, false, 15).unwrap();
        let mut deflater = Deflater::new(level, 1);
        let mut stream = Vec::new();
        for (kind, word) in &steps {
            let payload = word.as_bytes();
            let small = match kind {
                0 => None,
                1 => {
                    contexts.interrupt(compression);
                    deflater.deflate(payload)
                }
                _ => contexts.deflate(compression, payload),
            };
            let start = stream.len();
            stream.extend(message(Opcode::Text, small.unwrap_or(payload), fragments));
            if small.is_none() {
                stream[start] &= !frame::COMPRESSED_BIT;
            }
        }
        let mut workspace = Workspace::new(1 << 20);
        let mut inbound = Inbound::new();
        inbound.remember();
        let received =
            receive_with(&mut inbound, &mut workspace, stream, step, &rules(Role::Server, 1 << 20));
        let expected: Vec<Vec<u8>> =
            steps.iter().map(|(_, word)| word.clone().into_bytes()).collect();
        prop_assert_eq!(received, Ok(expected));
        prop_assert!(!inbound.is_partial());
        prop_assert!(inbound.release(&mut workspace) && !inbound.release(&mut workspace));
        prop_assert_eq!(workspace.lent(), 0);
    }

    #[test]
    fn no_input_panics(bytes in prop::collection::vec(any::<u8>(), 0..400), step in 1usize..50) {
        let frame = message(Opcode::Text, &bytes, 3);
        let _ = receive(frame, step, &rules(Role::Server, 10_000));
    }
}

/// Receives messages of which a few bytes may be inflated at a time; returns them, and how often
/// they paused.
fn receive_in_steps(
    mut bytes: Vec<u8>,
    step: usize,
    rules: &Rules,
    may_inflate: usize,
) -> (Vec<Vec<u8>>, usize) {
    let (mut inbound, mut workspace) = (Inbound::new(), Workspace::new(1 << 20));
    let (mut received, mut pauses) = (Vec::new(), 0);
    for piece in bytes.chunks_mut(step) {
        let mut input = Input::new(piece);
        loop {
            workspace.may_inflate(may_inflate);
            workspace.take_inflated_bytes();
            let next = inbound.next(rules, &mut workspace, &mut input).expect("nothing is wrong");
            let is_something = next.is_some();
            if let Some(incoming) = next {
                let Incoming::Message(message) = incoming else { panic!("{incoming:?}") };
                received.push(message.payload().to_vec());
            }
            pauses += usize::from(!is_something && inbound.is_inflating());
            if !is_something && !inbound.is_inflating() {
                break;
            }
            assert!(workspace.take_inflated_bytes() <= may_inflate as u64);
        }
        assert!(input.rest().is_empty(), "input is left between two messages");
    }
    inbound.release(&mut workspace);
    assert_eq!(workspace.lent(), 0);
    (received, pauses)
}

#[test]
fn a_message_is_inflated_in_steps() {
    let mut random = fastrand::Rng::with_seed(11);
    let rules = rules(Role::Server, 1 << 20);
    let mut all_pauses = 0;
    for _ in 0..300 {
        let (mut frames, mut wanted) = (Vec::new(), Vec::new());
        for _ in 0..random.usize(1..4) {
            let bytes = random.usize(1_000..200_000);
            let letters = random.u8(1..20);
            let payload: Vec<u8> = (0..bytes).map(|_| b'a' + random.u8(..letters)).collect();
            let small = Deflater::new(1, 0).deflate(&payload).expect("smaller").to_vec();
            let opcode = if random.bool() { Opcode::Text } else { Opcode::Binary };
            frames.extend(message(opcode, &small, random.usize(1..5)));
            wanted.push(payload);
        }
        let step = random.usize(1..frames.len() + 1);
        let may_inflate = random.usize(1..100_000);
        let (received, pauses) = receive_in_steps(frames, step, &rules, may_inflate);
        assert!(received == wanted, "{step} {may_inflate}");
        all_pauses += pauses;
    }
    assert!(all_pauses > 1_000, "{all_pauses} pauses");
}

#[test]
fn a_message_beyond_the_ratio_is_refused() {
    let rules = rules(Role::Server, 16 << 20);
    let ratio = |payload: &[u8], ratio_max, fragments| {
        let mut workspace = Workspace::new(1 << 20).with_ratio_max(ratio_max);
        let frames = message(Opcode::Binary, &compressed(payload), fragments);
        let received = receive_with(&mut Inbound::new(), &mut workspace, frames, 999, &rules);
        received.map(|received| received.len())
    };
    for fragments in [1, 3] {
        let zeroes = vec![0; 8 << 20];
        assert_eq!(ratio(&zeroes, 100, fragments), Err(CloseCause::MessageTooBig));
        assert_eq!(ratio(&zeroes, 0, fragments), Ok(1), "any ratio");
        assert_eq!(ratio(&zeroes[..4 << 20], 100, fragments), Ok(1), "it is short");
        assert_eq!(ratio(&b"some words, ".repeat(600_000), 1_000, fragments), Ok(1));
    }
}
