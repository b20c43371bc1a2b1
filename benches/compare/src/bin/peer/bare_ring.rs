//! The floor: an echo server straight on the io_uring, with the least that a WebSocket server
//! needs. It has no limits, no timers, no check of the text, no API. Any cost of Tapecast beyond
//! it is Tapecast's own.
//!
//! A turn is one system call that submits everything and waits for at least one completion.
//! Frames are unmasked where the kernel put them, the echoes of a turn are collected per
//! connection, and each connection has at most one send in flight.
//!
//! Why the `unsafe` is sound: the kernel holds pointers to the receive buffers and their ring,
//! which are never freed, and to the bytes of a send in flight, which are in a `Vec` that
//! nothing touches before the send completes. Dropping the [`Server`] would free those bytes,
//! so dropping it aborts the process.
#![allow(unsafe_code)]

use super::bare_connection::{Connection, Pool};
use super::listener;
use io_uring::types::{BufRingEntry, Fd, Fixed};
use io_uring::{IoUring, cqueue, opcode, squeue};
use std::alloc::Layout;
use std::convert::Infallible;
use std::io;
use std::net::TcpListener;
use std::os::fd::AsRawFd;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering};

const SUBMISSIONS: u32 = 4096;
const COMPLETIONS: u32 = 32 * 1024;
/// The kernel takes no larger table of direct descriptors.
const SLOTS_MAX: u64 = 1 << 20;

const BUFFER_GROUP: u16 = 0;
const BUFFERS: u16 = 64;
const BUFFER_BYTES: usize = 32 * 1024;
/// Keeps the first lines of the buffers out of one another's cache sets.
const BUFFER_STAGGER_BYTES: usize = 64;
const PAGE_BYTES: usize = 4096;
const _: () = assert!(BUFFERS.is_power_of_two());

/// Serves the connections of `listener`; returns only with an error.
pub fn serve(listener: TcpListener) -> io::Result<Infallible> {
    let mut server = Server::new(&listener)?;
    listener::announce(listener.local_addr()?);
    let Err(error) = server.run();
    // The ring has failed, and the server must not be dropped.
    std::mem::forget(server);
    Err(error)
}

/// The operation that a completion belongs to: the upper half of its user data. The lower half
/// is the connection's slot. A slot is reused only when nothing is in flight for
/// it, so there are no generations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
enum Operation {
    Accept,
    Receive,
    Send,
    /// Nothing depends on its completion.
    Ignored,
}

impl Operation {
    const fn user_data(self, slot: u32) -> u64 {
        (self as u64) << 32 | slot as u64
    }

    fn of(user_data: u64) -> Operation {
        match (user_data >> 32) as u32 {
            0 => Operation::Accept,
            1 => Operation::Receive,
            2 => Operation::Send,
            _ => Operation::Ignored,
        }
    }
}

/// The provided buffers for receives, and the ring of entries that hands them to the kernel.
/// Neither is ever freed.
#[derive(Debug)]
struct Buffers {
    memory: NonNull<u8>,
    entries: NonNull<BufRingEntry>,
    tail: u16,
}

/// Zeroed pages that live as long as the process.
fn pages(bytes: usize) -> NonNull<u8> {
    let layout = Layout::from_size_align(bytes, PAGE_BYTES).expect("a few megabytes");
    // SAFETY: both callers ask for more than zero bytes.
    let start = unsafe { std::alloc::alloc_zeroed(layout) };
    NonNull::new(start).unwrap_or_else(|| std::alloc::handle_alloc_error(layout))
}

impl Buffers {
    fn new(ring: &IoUring) -> io::Result<Buffers> {
        let mut buffers = Buffers {
            memory: pages(usize::from(BUFFERS) * (BUFFER_BYTES + BUFFER_STAGGER_BYTES)),
            entries: pages(usize::from(BUFFERS) * size_of::<BufRingEntry>()).cast(),
            tail: 0,
        };
        let address = buffers.entries.as_ptr() as u64;
        // SAFETY: the entries are page-aligned, `BUFFERS` in number, and never freed.
        unsafe {
            ring.submitter().register_buf_ring_with_flags(address, BUFFERS, BUFFER_GROUP, 0)?;
        }
        for id in 0..BUFFERS {
            buffers.give(id);
        }
        Ok(buffers)
    }

    fn start(&self, id: u16) -> *mut u8 {
        assert!(id < BUFFERS, "the kernel knows no such buffer");
        // SAFETY: the assertion keeps it inside the memory.
        unsafe { self.memory.as_ptr().add(usize::from(id) * (BUFFER_BYTES + BUFFER_STAGGER_BYTES)) }
    }

    /// The bytes that the kernel received into buffer `id`, until the buffer is given back.
    fn filled(&mut self, id: u16, bytes: usize) -> &mut [u8] {
        assert!(bytes <= BUFFER_BYTES, "the kernel filled more than there is");
        // SAFETY: zeroed at first, inside the memory, and nobody else's: the
        // kernel gave it up with the completion and gets it back by `give`,
        // which the borrow keeps away.
        unsafe { std::slice::from_raw_parts_mut(self.start(id), bytes) }
    }

    /// Hands buffer `id` to the kernel.
    fn give(&mut self, id: u16) {
        let address = self.start(id) as u64;
        let first = self.entries.as_ptr();
        // SAFETY: the index is below `BUFFERS`, and the kernel reads no entry
        // that the tail has not passed. The tail lies in reserved bytes of the
        // first entry that the setters leave alone.
        unsafe {
            let entry = first.add(usize::from(self.tail & (BUFFERS - 1)));
            (*entry).set_addr(address);
            (*entry).set_len(BUFFER_BYTES as u32);
            (*entry).set_bid(id);
        }
        self.tail = self.tail.wrapping_add(1);
        // SAFETY: an aligned u16 that this thread writes and the kernel reads.
        let tail = unsafe { &*BufRingEntry::tail(first).cast::<AtomicU16>() };
        tail.store(self.tail, Ordering::Release);
    }
}

struct Server {
    ring: IoUring,
    buffers: Buffers,
    listener: Fd,
    /// By the number of their direct descriptor.
    connections: Vec<Connection>,
    /// Slots with something to send, or that end, after this turn.
    dirty: Vec<u32>,
    pool: Pool,
}

impl Drop for Server {
    fn drop(&mut self) {
        // The kernel may still read from the bytes of sends in flight.
        std::process::abort();
    }
}

impl Server {
    fn new(listener: &TcpListener) -> io::Result<Server> {
        let ring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_submit_all()
            .setup_cqsize(COMPLETIONS)
            .build(SUBMISSIONS)?;
        let mut submitter = ring.submitter();
        submitter.register_ring_fd()?;
        let slots = listener::descriptor_limit().min(SLOTS_MAX);
        submitter.register_files_sparse(slots as u32)?;
        Ok(Server {
            buffers: Buffers::new(&ring)?,
            ring,
            listener: Fd(listener.as_raw_fd()),
            connections: Vec::new(),
            dirty: Vec::new(),
            pool: Pool::default(),
        })
    }

    fn run(&mut self) -> io::Result<Infallible> {
        self.accept()?;
        let mut completions: Vec<cqueue::Entry> = Vec::with_capacity(COMPLETIONS as usize);
        loop {
            self.enter(1)?;
            completions.extend(self.ring.completion());
            for completion in completions.drain(..) {
                let user_data = completion.user_data();
                let slot = user_data as u32;
                match Operation::of(user_data) {
                    Operation::Accept => self.accepted(&completion)?,
                    Operation::Receive => self.received(slot, &completion)?,
                    Operation::Send => self.sent(slot, completion.result())?,
                    Operation::Ignored => {}
                }
            }
            self.settle()?;
        }
    }

    /// Submits everything and waits for this many completions.
    fn enter(&mut self, completions: usize) -> io::Result<()> {
        match self.ring.submit_and_wait(completions) {
            Ok(_) => Ok(()),
            // Interrupted, or completions have to be taken before there is room
            // for more: the turn does, and what was not submitted stays queued.
            Err(error)
                if matches!(
                    error.raw_os_error(),
                    Some(libc::EINTR | libc::EBUSY | libc::EAGAIN)
                ) =>
            {
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    fn push(&mut self, entry: squeue::Entry) -> io::Result<()> {
        loop {
            // SAFETY: a receive names a registered buffer group; a send points
            // into the `in_flight` of its connection, which is left alone until
            // its completion; no other entry that is pushed has a pointer.
            if unsafe { self.ring.submission().push(&entry) }.is_ok() {
                return Ok(());
            }
            self.enter(0)?;
        }
    }

    fn accept(&mut self) -> io::Result<()> {
        let entry = opcode::AcceptMulti::new(self.listener).allocate_file_index(true).build();
        self.push(entry.user_data(Operation::Accept.user_data(0)))
    }

    fn accepted(&mut self, completion: &cqueue::Entry) -> io::Result<()> {
        match completion.result() {
            error @ ..0 => {
                let error = io::Error::from_raw_os_error(-error);
                eprintln!("tapecast-peer: accept: {error}");
            }
            slot => {
                let index = slot as usize;
                if index >= self.connections.len() {
                    self.connections.resize_with(index + 1, Connection::default);
                }
                self.connections[index].is_open = true;
                self.receive(slot as u32)?;
            }
        }
        if cqueue::more(completion.flags()) { Ok(()) } else { self.accept() }
    }

    fn receive(&mut self, slot: u32) -> io::Result<()> {
        self.connections[slot as usize].is_receiving = true;
        let entry = opcode::RecvMulti::new(Fixed(slot), BUFFER_GROUP).build();
        self.push(entry.user_data(Operation::Receive.user_data(slot)))
    }

    fn received(&mut self, slot: u32, completion: &cqueue::Entry) -> io::Result<()> {
        let result = completion.result();
        let connection = &mut self.connections[slot as usize];
        if let Some(id) = cqueue::buffer_select(completion.flags()) {
            let bytes = self.buffers.filled(id, result.max(0) as usize);
            if !connection.is_ending {
                connection.received(bytes, &mut self.pool);
            }
            self.buffers.give(id);
        }
        if cqueue::more(completion.flags()) {
            if connection.is_ending || !connection.waiting.is_empty() {
                self.mark(slot);
            }
            return Ok(());
        }
        connection.is_receiving = false;
        // Every buffer is given back by the end of the turn. A receive that ran out of them, or
        // that the kernel ended for its own reasons, is armed again.
        if result > 0 || result == -libc::ENOBUFS {
            if !connection.is_ending {
                self.receive(slot)?;
            }
        } else {
            connection.is_ending = true;
        }
        self.mark(slot);
        Ok(())
    }

    fn sent(&mut self, slot: u32, result: i32) -> io::Result<()> {
        let connection = &mut self.connections[slot as usize];
        if result >= 0 {
            connection.in_flight.start += result as usize;
            // Cut short by a signal: the rest is sent, still as one send.
            if !connection.in_flight.is_empty() && result > 0 {
                return self.send(slot);
            }
        } else {
            connection.is_ending = true;
            connection.waiting.bytes.clear();
            connection.waiting.start = 0;
        }
        connection.is_sending = false;
        let spent = std::mem::take(&mut connection.in_flight);
        self.pool.give(spent.bytes);
        if connection.is_ending || !connection.waiting.is_empty() {
            self.mark(slot);
        }
        Ok(())
    }

    fn mark(&mut self, slot: u32) {
        let connection = &mut self.connections[slot as usize];
        if !connection.is_dirty {
            connection.is_dirty = true;
            self.dirty.push(slot);
        }
    }

    /// Queues the sends of this turn, and ends connections without anything to send.
    fn settle(&mut self) -> io::Result<()> {
        let mut dirty = std::mem::take(&mut self.dirty);
        for slot in dirty.drain(..) {
            let connection = &mut self.connections[slot as usize];
            connection.is_dirty = false;
            if connection.is_sending || !connection.is_open {
                continue;
            }
            if !connection.waiting.is_empty() {
                connection.in_flight = std::mem::take(&mut connection.waiting);
                connection.is_sending = true;
                self.send(slot)?;
            } else if connection.is_ending {
                self.end(slot)?;
            }
        }
        self.dirty = dirty;
        Ok(())
    }

    fn send(&mut self, slot: u32) -> io::Result<()> {
        let in_flight = &self.connections[slot as usize].in_flight;
        let bytes = &in_flight.bytes[in_flight.start..];
        let count = bytes.len().min(i32::MAX as usize) as u32;
        let entry = opcode::Send::new(Fixed(slot), bytes.as_ptr(), count)
            .flags(libc::MSG_WAITALL | libc::MSG_NOSIGNAL)
            .build();
        self.push(entry.user_data(Operation::Send.user_data(slot)))
    }

    /// Stops the receive of an idle connection. When it has ended, nothing is in flight and the
    /// slot is closed.
    fn end(&mut self, slot: u32) -> io::Result<()> {
        let connection = &mut self.connections[slot as usize];
        let entry = if connection.is_receiving {
            opcode::AsyncCancel::new(Operation::Receive.user_data(slot)).build()
        } else {
            let closed = std::mem::take(connection);
            self.pool.give(closed.partial);
            opcode::Close::new(Fixed(slot)).build()
        };
        let entry = entry.flags(squeue::Flags::SKIP_SUCCESS);
        self.push(entry.user_data(Operation::Ignored.user_data(slot)))
    }
}
