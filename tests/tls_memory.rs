//! The memory of an idle connection's TLS, counted in the allocator: rustls' part of it, on which
//! the live test of resident memory builds, and ours.
#![expect(unsafe_code, reason = "an allocator is")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};
use tapecast::base::BufferPool;
use tapecast::connection::Channel;
use tapecast::tls::{Acceptor, ClientCertificates, Connector, Identity, Trust};

/// The system's allocator, with a count of allocated bytes.
struct Counting;

static HELD: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every request is passed on unchanged; counting touches no memory of it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        HELD.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promises are those that `System` asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

const SESSIONS: usize = 500;
const KEPT_BYTES_MAX: usize = 32 << 10;
/// Stated in docs/operating.md.
const RUSTLS_BYTES_MAX: usize = 2_200;
const OWN_BYTES_MAX: usize = 256;

fn identity() -> Identity {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let folder = std::env::temp_dir().join(format!("tapecast-memory-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let (chain, key) = (folder.join("chain.pem"), folder.join("key.pem"));
    std::fs::write(&chain, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let identity = Identity::from_files(&chain, &key).unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
    identity
}

#[test]
fn an_idle_channel_takes_little_more_than_rustls() {
    let acceptor = Acceptor::new(vec![identity()], &ClientCertificates::Ignored).unwrap();
    let connector = Connector::new(&Trust::Anybody, false).unwrap();
    let mut pool = BufferPool::new(1 << 20);
    let mut greet = || {
        let session = connector.connect("localhost").unwrap();
        let mut client = Channel::new(session, KEPT_BYTES_MAX);
        let mut server = Box::new(Channel::new(acceptor.accept(), KEPT_BYTES_MAX));
        let mut plain = Vec::new();
        client.receive(&mut pool, &mut [], &mut plain).unwrap();
        while client.queued_bytes() + server.queued_bytes() > 0 {
            let mut wire = client.queued().to_vec();
            client.advance(&mut pool, wire.len());
            server.receive(&mut pool, &mut wire, &mut plain).unwrap();
            let mut wire = server.queued().to_vec();
            server.advance(&mut pool, wire.len());
            client.receive(&mut pool, &mut wire, &mut plain).unwrap();
        }
        assert!(!server.is_handshaking());
        server
    };
    // Allocates the memory that exists once, whatever the number of sessions.
    let _first: Vec<Box<Channel>> = (0..20).map(|_| greet()).collect();
    let mut all = Vec::with_capacity(SESSIONS);
    let before = HELD.load(Ordering::Relaxed);
    all.extend((0..SESSIONS).map(|_| greet()));
    let each = (HELD.load(Ordering::Relaxed) - before) / SESSIONS;
    // A session is rustls' connection and a number.
    let own = size_of::<Channel>() - size_of::<tapecast::tls::Session>();
    println!("{each} bytes, {own} of them beside rustls'");
    assert!(each - own < RUSTLS_BYTES_MAX, "{each}");
    assert!(own <= OWN_BYTES_MAX, "{own}");
}
