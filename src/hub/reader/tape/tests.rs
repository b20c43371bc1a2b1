//! A tape against a list of frames.

use super::*;

fn span(from: u64) -> Span<'static> {
    Span { from, to: u64::MAX, messages_max: u64::MAX, superseded: None }
}

/// The tape against a vector of all messages ever.
#[test]
fn a_tape_agrees_with_a_vector() {
    for seed in 0..50 {
        let mut random = fastrand::Rng::with_seed(seed);
        let bytes_max = random.usize(100..20_000);
        let start = random.u64(1..100);
        let mut tape = Tape::new(start, bytes_max);
        let mut pool = ChunkPool::default();
        let mut superseded = Superseded::new(start);
        let mut twin: Vec<Vec<u8>> = vec![Vec::new(); start as usize];
        let mut skipped = vec![false; start as usize];
        let mut cursor = start;
        for _ in 0..2_000 {
            match random.u8(..10) {
                0..6 => {
                    let frame = vec![random.u8(..); random.usize(1..300)];
                    tape.append(&mut pool, |out| out.extend_from_slice(&frame));
                    twin.push(frame);
                    skipped.push(false);
                    cursor = cursor.max(tape.begin());
                    if random.u8(..3) == 0 {
                        let seq = random.u64(tape.begin()..tape.end());
                        superseded.set(seq);
                        skipped[seq as usize] = true;
                    }
                    superseded.trim(tape.begin());
                }
                6..9 => {
                    let latest = random.bool();
                    let to = random.u64(cursor..=tape.end());
                    let messages_max = random.u64(..40);
                    let superseded = latest.then_some(&superseded);
                    let span = Span { from: cursor, to, messages_max, superseded };
                    let wanted: Vec<u64> = (cursor..to)
                        .filter(|&seq| !latest || !skipped[seq as usize])
                        .take(messages_max as usize)
                        .collect();
                    let mut found = Vec::new();
                    for run in tape.runs(span) {
                        let range = run.first..run.first + run.count;
                        let frames = &twin[range.start as usize..range.end as usize];
                        assert_eq!(run.bytes, frames.concat());
                        found.extend(range);
                    }
                    assert_eq!(found, wanted);
                    if let Some(run) = tape.runs(span).next() {
                        let bytes = random.usize(1..=run.bytes.len());
                        if bytes == run.bytes.len() {
                            cursor = run.first + run.count;
                        } else {
                            let (behind, rest) = tape.cut(&run, bytes);
                            let begun = &twin[run.first as usize..behind as usize].concat();
                            assert_eq!(run.bytes[..bytes], begun[..bytes]);
                            assert_eq!(rest, &begun[bytes..], "the rest is the frame's end");
                            assert!(rest.len() < twin[behind as usize - 1].len());
                            cursor = behind;
                        }
                    }
                }
                _ if random.u8(..20) == 0 => {
                    let (begin, held) = (tape.begin(), tape.held_bytes());
                    tape.halve();
                    assert!(tape.begin() < tape.end() || begin == tape.end());
                    assert!(tape.begin() > begin || tape.held_bytes() <= held);
                    cursor = cursor.max(tape.begin());
                    superseded.trim(tape.begin());
                }
                _ => tape.passed(cursor, &mut pool),
            }
            assert!(tape.bytes <= tape.bytes_max || tape.chunks.len() == 1);
            assert_eq!(tape.held, tape.chunks.iter().map(Chunk::weight).sum::<usize>());
            assert_eq!(tape.end(), twin.len() as u64);
        }
        tape.restart(tape.end() + 5, &mut pool);
        assert_eq!((tape.begin(), tape.held_bytes()), (tape.end(), 0));
        assert_eq!(tape.runs(span(tape.end())).next(), None);
    }
}

#[test]
fn tapes_read_to_their_end_share_one_warm_chunk() {
    let mut pool = ChunkPool::default();
    let mut tapes = [Tape::new(1, 1 << 20), Tape::new(1, 1 << 20)];
    let mut address = None;
    for _ in 0..1_000 {
        for tape in &mut tapes {
            tape.append(&mut pool, |out| out.push(1));
            let chunk = tape.chunks[0].bytes.as_ptr();
            assert_eq!(*address.get_or_insert(chunk), chunk);
            tape.passed(tape.end(), &mut pool);
            assert!(tape.chunks.is_empty());
        }
    }
}

/// Whatever a lane puts around a payload, a chunk is as large as it was taken.
#[test]
fn chunks_never_grow() {
    for seed in 0..20 {
        let mut random = fastrand::Rng::with_seed(seed);
        let (mut tape, mut pool) = (Tape::new(1, 1 << 20), ChunkPool::default());
        for _ in 0..20_000 {
            let bytes = match random.u16(..1_000) {
                0 => random.usize(60_000..400_000),
                _ => random.usize(1..500),
            };
            tape.append(&mut pool, |out| out.resize(bytes, 7));
            let last = tape.chunks.back().unwrap();
            let is_alone = last.ends.len() == 1;
            assert!(last.bytes.capacity() <= CHUNK_BYTES_MAX || is_alone);
            if last.bytes.capacity() > CHUNK_BYTES_MAX {
                assert!(last.bytes.capacity() < bytes + bytes / 8, "as long as its frame");
            }
            assert!(pool.scratch.is_empty() && pool.scratch.capacity() <= CHUNK_BYTES_MAX);
        }
        assert!(tape.held_bytes() < 2 << 20, "{}", tape.held_bytes());
    }
}

/// Of what was busy once and is quiet now, no large chunk is kept for a short message.
#[test]
fn chunks_become_small_again() {
    let (mut tape, mut pool) = (Tape::new(1, 1 << 20), ChunkPool::default());
    for _ in 0..500 {
        tape.append(&mut pool, |out| out.resize(1_000, 7));
    }
    for _ in 0..10 {
        tape.passed(tape.end(), &mut pool);
        assert_eq!(tape.held_bytes(), 0);
        tape.append(&mut pool, |out| out.push(7));
    }
    assert!(tape.held_bytes() <= CHUNK_BYTES_MIN + 4 * 1_024, "{}", tape.held_bytes());
}

#[test]
fn a_pool_is_bounded_and_keeps_no_giants() {
    let mut pool = ChunkPool::default();
    for bytes in [1, 3 << 10, 64 << 10, 1 << 20] {
        let chunks: Vec<Chunk> = (0..2 * SPARES).map(|_| pool.take(bytes)).collect();
        assert!(chunks.iter().all(|chunk| chunk.bytes.capacity() >= bytes));
        chunks.into_iter().for_each(|chunk| pool.put(chunk));
    }
    let kept: Vec<usize> = pool.sizes.iter().map(Vec::len).collect();
    assert_eq!(kept, [SPARES, SPARES, 0, 0, 0, SPARES]);
}
