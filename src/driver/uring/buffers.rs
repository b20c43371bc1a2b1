//! The receive buffers that the kernel picks from (a provided buffer ring).
//!
//! Ownership: a buffer is with the kernel (its entry is between the ring's head
//! and tail), or with the holder of its [`ReceiveBuffer`]. [`Buffers::filled`]
//! makes the one value for a buffer that the kernel has just reported, and
//! [`Buffers::give`] consumes it; there is no other transition.
//!
//! The memory is shared with every `ReceiveBuffer` by count, so that a buffer
//! that outlives its ring still points at live memory.
#![allow(unsafe_code)]

use io_uring::{Submitter, types::BufRingEntry};
use std::alloc::Layout;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::rc::Rc;
use std::sync::atomic::{AtomicU16, Ordering};

const PAGE_BYTES: usize = 4096;
/// The gap between two buffers. It puts their first cache lines, all that a small message
/// touches, into different cache sets.
const STAGGER_BYTES: usize = 64;

fn invalid(text: &'static str) -> std::io::Error {
    std::io::Error::new(std::io::ErrorKind::InvalidInput, text)
}

/// Zeroed memory, freed with the last reference.
#[derive(Debug)]
struct Region {
    start: NonNull<u8>,
    layout: Layout,
}

impl Region {
    /// # Errors
    /// The size is more than an address space has.
    fn new(bytes: Option<usize>) -> std::io::Result<Region> {
        let layout = bytes.and_then(|bytes| Layout::from_size_align(bytes.max(1), PAGE_BYTES).ok());
        let layout = layout.ok_or_else(|| invalid("more bytes than an address space has"))?;
        // SAFETY: the layout's size is not zero.
        let start = unsafe { std::alloc::alloc_zeroed(layout) };
        let start = NonNull::new(start).unwrap_or_else(|| std::alloc::handle_alloc_error(layout));
        Ok(Region { start, layout })
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with this layout.
        unsafe { std::alloc::dealloc(self.start.as_ptr(), self.layout) };
    }
}

/// One filled buffer, owned.
///
/// ```no_run
/// use std::io::Write;
/// use std::os::unix::net::UnixStream;
/// # use tapecast::base::Time;
/// use tapecast::driver::{Batch, Driver, Event, Token, Uring, UringBuffer};
/// # use tapecast::{Limits, driver::Setup};
///
/// # let mut ring = Uring::new(&Setup::new(&Limits::default(), 64))?;
/// let (near, mut far) = UnixStream::pair()?;
/// let socket = ring.adopt(near.into())?;
/// ring.receive(socket, Token { index: 0, generation: 0 });
/// far.write_all(b"hello")?;
/// let mut events: Vec<Event<UringBuffer>> = Vec::new();
/// ring.turn(&mut Batch::new(), Time::NEVER, &mut events)?;
/// let Some(Event::Received { buffer, .. }) = events.pop() else { panic!("bytes came") };
/// assert_eq!(&buffer[..], b"hello");
/// ring.release(buffer);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct ReceiveBuffer {
    memory: Rc<Region>,
    start: NonNull<u8>,
    len: u32,
    id: u16,
}

impl Deref for ReceiveBuffer {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        // SAFETY: `start..start + len` lies in `memory`, which `self` keeps alive
        // and which was zeroed at first; no other reference to it exists while this
        // value exists (the file's proof).
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len as usize) }
    }
}

impl DerefMut for ReceiveBuffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `deref`, and `self` is exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.len as usize) }
    }
}

/// The buffers of one ring.
#[derive(Debug)]
pub struct Buffers {
    memory: Rc<Region>,
    /// The entries that the kernel reads: `count` of them, page-aligned.
    entries: Rc<Region>,
    count: u16,
    buffer_bytes: usize,
    tail: u16,
}

impl Buffers {
    /// Registers `count` buffers of `buffer_bytes` bytes, all with the kernel.
    ///
    /// # Errors
    /// The count is not a power of two, there are too many bytes, or the kernel refuses.
    pub fn new(
        submitter: &Submitter<'_>,
        group: u16,
        count: u16,
        buffer_bytes: usize,
    ) -> std::io::Result<Buffers> {
        if !count.is_power_of_two() {
            return Err(invalid("the number of receive buffers is not a power of two"));
        }
        // The kernel takes and reports lengths as signed 32-bit numbers.
        if buffer_bytes == 0 || i32::try_from(buffer_bytes).is_err() {
            return Err(invalid("a receive buffer needs 1 to 2,147,483,647 bytes"));
        }
        let bytes_each = buffer_bytes.checked_add(STAGGER_BYTES);
        let bytes = bytes_each.and_then(|bytes| bytes.checked_mul(count.into()));
        let memory = Rc::new(Region::new(bytes)?);
        let entries = Rc::new(Region::new(Some(usize::from(count) * size_of::<BufRingEntry>()))?);
        let address = entries.start.as_ptr() as u64;
        // SAFETY: the entries are page-aligned, of that count, and live until
        // the ring is gone (`Uring` drops its ring first, or leaks them).
        unsafe { submitter.register_buf_ring_with_flags(address, count, group, 0)? };
        let mut buffers = Buffers { memory, entries, count, buffer_bytes, tail: 0 };
        for id in 0..count {
            buffers.add(id);
        }
        Ok(buffers)
    }

    fn start(&self, id: u16) -> NonNull<u8> {
        assert!(id < self.count, "the kernel named a buffer that does not exist");
        // SAFETY: the assertion keeps it inside the region.
        unsafe { self.memory.start.add(usize::from(id) * (self.buffer_bytes + STAGGER_BYTES)) }
    }

    /// Hands buffer `id` to the kernel.
    fn add(&mut self, id: u16) {
        let base = self.entries.start.cast::<BufRingEntry>().as_ptr();
        let address = self.start(id).as_ptr() as u64;
        // SAFETY: the index is below `count`; the kernel does not read an entry
        // before the tail has passed it. The tail lies in the first entry's
        // reserved bytes, which the setters below leave alone.
        unsafe {
            let entry = base.add(usize::from(self.tail & (self.count - 1)));
            (*entry).set_addr(address);
            (*entry).set_len(self.buffer_bytes as u32);
            (*entry).set_bid(id);
        }
        self.tail = self.tail.wrapping_add(1);
        // SAFETY: the tail is a u16 that only this thread writes and the kernel
        // reads; the region is page-aligned, so it is aligned too.
        let tail = unsafe { &*BufRingEntry::tail(base).cast::<AtomicU16>() };
        tail.store(self.tail, Ordering::Release);
    }

    /// The buffer that the kernel has just reported as filled with `len` bytes.
    pub fn filled(&mut self, id: u16, len: usize) -> ReceiveBuffer {
        assert!(len <= self.buffer_bytes, "the kernel filled more than the buffer holds");
        ReceiveBuffer {
            start: self.start(id),
            memory: Rc::clone(&self.memory),
            len: len as u32,
            id,
        }
    }

    /// Returns a buffer to the kernel.
    pub fn give(&mut self, buffer: ReceiveBuffer) {
        assert!(Rc::ptr_eq(&buffer.memory, &self.memory), "the buffer belongs to another ring");
        self.add(buffer.id);
    }

    /// Never frees the memory, since the kernel may still write to it.
    pub fn leak(&mut self) {
        std::mem::forget(Rc::clone(&self.memory));
        std::mem::forget(Rc::clone(&self.entries));
    }
}
