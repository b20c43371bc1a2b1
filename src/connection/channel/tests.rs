//! Records in pieces of any size, and two channels against each other.

use super::*;

const KEPT_BYTES_MAX: usize = 32 << 10;

#[test]
fn whole_records_and_missing_bytes_are_counted() {
    assert_eq!(whole(&[]), (0, 5));
    assert_eq!(whole(&[22, 3, 3]), (0, 2));
    assert_eq!(whole(&[22, 3, 3, 0, 2]), (0, 2));
    assert_eq!(whole(&[22, 3, 3, 0, 2, 0]), (0, 1));
    assert_eq!(whole(&[22, 3, 3, 0, 2, 0, 0]), (7, 5));
    assert_eq!(whole(&[22, 3, 3, 0, 1, 0, 22]), (6, 4));
    assert_eq!(whole(&[22, 3, 3, 255, 255]), (5, 5));
}

/// A reader that never takes all of it: sent bytes are released.
#[test]
fn sealed_bytes_stay_few_however_they_are_taken() {
    let (acceptor, connector) = crate::tls::tests::pair();
    let mut pool = BufferPool::new(1 << 20);
    let (mut client, mut server) = greeted(&acceptor, &connector, &mut pool);
    let mut plain = Vec::new();
    for _ in 0..200 {
        let room = server.room();
        server.seal(&mut pool, &vec![7; room]);
        let mut wire = server.queued()[..server.queued_bytes() - 10].to_vec();
        server.advance(&mut pool, wire.len());
        client.receive(&mut pool, &mut wire, &mut plain).unwrap();
        assert!(server.sealed.len() <= 128 << 10, "{}", server.sealed.len());
    }
    assert!(plain.len() > 100 * SEALED_BYTES_MAX && plain.iter().all(|&byte| byte == 7));
}

/// However few bytes a reader takes at a time, records are full if enough is queued.
#[test]
fn records_are_full_if_enough_is_queued() {
    let (acceptor, connector) = crate::tls::tests::pair();
    let mut pool = BufferPool::new(1 << 20);
    let (mut client, mut server) = greeted(&acceptor, &connector, &mut pool);
    let (mut wire, mut left) = (Vec::new(), 1 << 20);
    let mut kept_most = 0;
    while left > 0 || server.queued_bytes() > 0 {
        let piece = server.room().min(left);
        server.seal(&mut pool, &vec![7; piece]);
        left -= piece;
        assert!(server.queued_bytes() <= SEALED_BYTES_MAX + 4 * RECORD_OVERHEAD_BYTES);
        kept_most = kept_most.max(pool.kept_bytes());
        let taken = server.queued_bytes().min(999);
        wire.extend_from_slice(&server.queued()[..taken]);
        server.advance(&mut pool, taken);
    }
    // One buffer is enough.
    assert!(kept_most < 160 << 10, "{kept_most}");
    let mut records = &wire[..];
    let mut lengths = Vec::new();
    while let Some((header, rest)) = records.split_first_chunk::<HEADER_BYTES>() {
        let length = usize::from(u16::from_be_bytes([header[3], header[4]]));
        lengths.push(length);
        records = &rest[length..];
    }
    assert_eq!(lengths.len(), (1 << 20) / RECORD_BYTES_MAX, "{lengths:?}");
    let mut plain = Vec::new();
    client.receive(&mut pool, &mut wire, &mut plain).unwrap();
    assert_eq!(plain.len(), 1 << 20);
}

/// Both ends of a connection after the handshake.
fn greeted(
    acceptor: &crate::tls::Acceptor,
    connector: &crate::tls::Connector,
    pool: &mut BufferPool,
) -> (Channel, Channel) {
    let session = connector.connect("localhost").unwrap();
    let mut client = Channel::new(session, KEPT_BYTES_MAX);
    let mut server = Channel::new(acceptor.accept(), KEPT_BYTES_MAX);
    let mut plain = Vec::new();
    client.receive(pool, &mut [], &mut plain).unwrap();
    let (mut from, mut to) = (&mut client, &mut server);
    while from.queued_bytes() > 0 {
        let mut wire = from.queued().to_vec();
        from.advance(pool, wire.len());
        to.receive(pool, &mut wire, &mut plain).unwrap();
        (from, to) = (to, from);
    }
    (client, server)
}

/// A hello, each byte in a record of its own, in pieces of any size, taken at once or later.
#[test]
fn a_handshake_in_tiny_records_succeeds() {
    let (acceptor, connector) = crate::tls::tests::pair();
    for step in [1, 3, 6, 7, 50, 1_000, 100_000] {
        let mut pool = BufferPool::new(1 << 20);
        let mut client = Channel::new(connector.connect("localhost").unwrap(), KEPT_BYTES_MAX);
        client.receive(&mut pool, &mut [], &mut Vec::new()).unwrap();
        let hello = client.queued()[HEADER_BYTES..].to_vec();
        let records = hello.iter().flat_map(|&byte| [22, 3, 3, 0, 1, byte]);
        let mut records: Vec<u8> = records.collect();
        let mut server = Channel::new(acceptor.accept(), KEPT_BYTES_MAX);
        let mut plain = Vec::new();
        for (number, piece) in records.chunks_mut(step).enumerate() {
            let closed = match number % 3 {
                2 => {
                    server.keep(&mut pool, piece).unwrap();
                    server.receive_kept(&mut pool, &mut plain)
                }
                _ => server.receive(&mut pool, piece, &mut plain),
            };
            assert_eq!(closed, Ok(false));
        }
        // The server has answered, so it understood all of it.
        assert!(server.queued_bytes() > 500, "{step}");
        assert_eq!(server.buffers(), 1);
        server.release(&mut pool);
        client.release(&mut pool);
        assert_eq!(pool.lent(), 0);
    }
}

/// A handshake message without an end is refused.
#[test]
fn a_handshake_without_an_end_is_refused() {
    let (acceptor, _) = crate::tls::tests::pair();
    let mut pool = BufferPool::new(1 << 20);
    let mut server = Channel::new(acceptor.accept(), KEPT_BYTES_MAX);
    let mut records = vec![22, 3, 3, 0, 4, 1, 0, 0xFF, 0xFF];
    records.extend([22, 3, 3, 0, 1, 7].repeat(KEPT_BYTES_MAX));
    let received: Result<Vec<bool>, ChannelError> = records
        .chunks_mut(1_000)
        .map(|piece| server.receive(&mut pool, piece, &mut Vec::new()))
        .collect();
    assert!(received.is_err());
}
