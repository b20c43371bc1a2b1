//! One io_uring: its state, the operations that it begins, and its end.
//!
//! One of the files with `unsafe`. Why it is sound:
//!
//! - *Sends and `*_now` operations*: `MSG_DONTWAIT` makes the kernel finish
//!   them inside the submitting call (it fails a request that can't proceed and does not park
//!   it), and an update of the descriptor table ends there too. Their pointers come
//!   from slices that are borrowed for that call, and the call does not return before the
//!   kernel has consumed the whole submission queue, unless the ring has failed.
//!   [`Uring::new`] tests on a socket pair that the kernel behaves so.
//! - *Accepts* write into `AcceptSlot`s, a boxed slice that lives and stays put
//!   until the ring is gone; a slot is read only after its completion.
//! - *Receives* write into [`Buffers`], which has its own proof.
//! - On drop every operation is cancelled, and its end awaited, before memory is freed;
//!   if one does not end, the memory is leaked.
//! - A ring that has failed in any way submits nothing any more (`Uring::fail`): entries
//!   that were not consumed may point at memory that was lent for one call.
#![allow(unsafe_code)]

use super::buffers::{Buffers, ReceiveBuffer};
use super::operation::{Operation, outcome_of, poll_of};
use super::queues::Queues;
use super::waker::EventWaker;
use crate::base::Time;
use crate::driver::batch::Batch;
use crate::driver::contract::Driver;
use crate::driver::event::{Event, Interest};
use crate::driver::token::{Socket, Token};
use io_uring::{cqueue, opcode, squeue, types};
use rustix::io::Errno;
use std::collections::VecDeque;
use std::io::IoSlice;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant, SystemTime};

/// Entries of the submission queue. When it is full it is submitted early.
pub(super) const SUBMISSIONS: u32 = 1024;
pub(super) const BUFFER_GROUP: u16 = 0;
/// How long a dropped ring waits for operations in flight. Those on a socket end when they are
/// cancelled; a shutdown ends in a kernel thread.
pub(super) const DROP_WAIT: Duration = Duration::from_secs(1);

/// Where the kernel writes the peer's address of one accept in flight.
#[repr(C)]
pub(super) struct AcceptSlot {
    pub(super) address: libc::sockaddr_storage,
    length: libc::socklen_t,
    pub(super) listener: u32,
    pub(super) in_flight: bool,
}

/// One io_uring with its listeners and receive buffers.
///
/// ```no_run
/// use std::net::{TcpListener, TcpStream};
/// # use tapecast::Limits;
/// use tapecast::base::Time;
/// use tapecast::driver::{Batch, Driver, Event, Setup, Uring};
///
/// let setup = Setup::new(&Limits::default(), 64);
/// let mut ring = Uring::new(&setup)?;
/// let listener = TcpListener::bind("127.0.0.1:0")?;
/// let _client = TcpStream::connect(listener.local_addr()?)?;
/// ring.listen(vec![listener.into()], setup.accepts_in_flight);
/// ring.accept(0);
/// let mut events = Vec::new();
/// ring.turn(&mut Batch::new(), Time::NEVER, &mut events)?;
/// assert!(matches!(events[..], [Event::Accepted { listener: 0, .. }]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Uring {
    pub(super) ring: Queues,
    pub(super) buffers: Buffers,
    pub(super) accepts: Box<[AcceptSlot]>,
    pub(super) listeners: Vec<OwnedFd>,
    pub(super) stops_listening: bool,
    pub(super) is_broken: bool,
    /// Operations in flight that end after the submitting call.
    pub(super) in_flight: usize,
    pub(super) event: EventWaker,
    pub(super) event_polled: bool,
    /// Completions that were reaped while waiting for another one.
    pub(super) backlog: VecDeque<cqueue::Entry>,
    /// The message headers of the sends being submitted.
    pub(super) headers: Vec<libc::msghdr>,
    pub(super) origin: Instant,
}

impl Uring {
    /// Adds listening sockets, numbered from 0, with `accepts_in_flight` accepts
    /// each. Called once, before the first accept.
    pub fn listen(&mut self, listeners: Vec<OwnedFd>, accepts_in_flight: usize) {
        assert!(self.listeners.is_empty(), "listeners are added once");
        let slots = listeners.len() * accepts_in_flight;
        self.listeners = listeners;
        self.accepts = (0..slots)
            .map(|_| AcceptSlot {
                // SAFETY: all zero is a valid sockaddr_storage (family AF_UNSPEC).
                address: unsafe { std::mem::zeroed() },
                length: 0,
                listener: 0,
                in_flight: false,
            })
            .collect();
    }

    /// Moves a connected socket into the ring's table.
    ///
    /// # Errors
    /// `Errno::NFILE` when the table is full.
    pub fn adopt(&mut self, socket: OwnedFd) -> Result<Socket, Errno> {
        let mut index = socket.as_raw_fd();
        // The kernel overwrites the descriptor with the slot it chose.
        let entry = opcode::FilesUpdate::new(&raw mut index, 1).offset(-1).build();
        self.now_operation(entry, 1)?;
        Ok(Socket(index as u32))
    }

    /// Queues an entry, and submits first when the queue is full. A ring that has failed drops
    /// it, and the next turn returns the error.
    #[inline]
    fn push(&mut self, entry: &squeue::Entry) -> bool {
        loop {
            // SAFETY: every entry is built in this file, with pointers as the
            // file's proof says.
            if unsafe { self.ring.submission().push(entry) }.is_ok() {
                return true;
            }
            if self.submit_all().is_err() {
                return false;
            }
        }
    }

    /// Queues an operation that ends in a later turn.
    #[inline]
    fn begin(&mut self, entry: &squeue::Entry) {
        self.in_flight += usize::from(self.push(entry));
    }

    /// Submits `entry`, which must end inside the submitting call, and returns its
    /// outcome. Without a completion, all `bytes` were done.
    fn now_operation(&mut self, entry: squeue::Entry, bytes: usize) -> Result<usize, Errno> {
        let user_data = Operation::Now.numbered(0);
        let entry = entry.flags(squeue::Flags::SKIP_SUCCESS).user_data(user_data);
        self.push(&entry);
        self.submit_all().map_err(|error| errno(&error))?;
        self.flush_overflow().map_err(|error| errno(&error))?;
        let mut outcome = Ok(bytes);
        let backlog = &mut self.backlog;
        for completion in self.ring.completion() {
            if completion.user_data() == user_data {
                outcome = outcome_of(completion.result());
            } else {
                backlog.push_back(completion);
            }
        }
        // An overflow may have moved the completion there.
        backlog.retain(|completion| {
            let other = completion.user_data() != user_data;
            if !other {
                outcome = outcome_of(completion.result());
            }
            other
        });
        outcome
    }

    /// Builds the send of `slices`. A single slice needs no message header.
    fn send_entry(
        headers: &mut Vec<libc::msghdr>,
        socket: Socket,
        slices: &[IoSlice<'_>],
    ) -> squeue::Entry {
        // MSG_WAITALL turns a short count into a failure, which has a completion
        // although success has none; MSG_DONTWAIT keeps the send from waiting.
        let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL | libc::MSG_WAITALL;
        let target = types::Fixed(socket.0);
        if let [slice] = slices {
            let bytes = slice.len().min(u32::MAX as usize) as u32;
            return opcode::Send::new(target, slice.as_ptr(), bytes).flags(flags).build();
        }
        // SAFETY: all zero is a valid msghdr.
        let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
        // IoSlice has the layout of iovec; the kernel only reads.
        header.msg_iov = slices.as_ptr().cast_mut().cast();
        header.msg_iovlen = slices.len() as _;
        debug_assert!(headers.len() < headers.capacity(), "headers must not move");
        headers.push(header);
        let header = headers.last().expect("just pushed");
        opcode::SendMsg::new(target, header).flags(flags as u32).build()
    }

    fn arm_event_poll(&mut self) {
        if !self.event_polled {
            self.event_polled = true;
            let entry =
                opcode::PollAdd::new(types::Fd(self.event.0.as_raw_fd()), libc::POLLIN as u32)
                    .multi(true)
                    .build();
            self.begin(&entry.user_data(Operation::Wake.numbered(0)));
        }
    }

    fn cancel(&mut self, user_data: u64) {
        let entry = opcode::AsyncCancel::new(user_data).build();
        let entry = entry.flags(squeue::Flags::SKIP_SUCCESS);
        self.push(&entry.user_data(Operation::Ignored.numbered(0)));
    }

    /// Counts an operation as ended, if this is its last completion.
    #[inline]
    pub(super) fn count_end(&mut self, completion: &cqueue::Entry) {
        use Operation::{Accept, Close, PollReadable, PollWritable, Receive, Shutdown, Wake};
        let is_lasting = matches!(
            Operation::of(completion.user_data()),
            Some(Accept | Receive | PollReadable | PollWritable | Close | Shutdown | Wake)
        );
        if is_lasting && !cqueue::more(completion.flags()) {
            self.in_flight -= 1;
        }
    }
}

impl Driver for Uring {
    type Buffer = ReceiveBuffer;
    type Waker = EventWaker;

    fn now(&mut self) -> Time {
        Time::ZERO + self.origin.elapsed()
    }

    fn unix_ms(&mut self) -> u64 {
        let unix_time = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        unix_time.map_or(0, |time| time.as_millis() as u64)
    }

    fn waker(&self) -> EventWaker {
        self.event.clone()
    }

    fn accept(&mut self, listener: u32) {
        let number = self.accepts.iter().position(|slot| !slot.in_flight);
        let number = number.expect("at most as many accepts as `listen` allowed for");
        let slot = &mut self.accepts[number];
        slot.in_flight = true;
        slot.listener = listener;
        slot.length = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
        let listener = types::Fd(self.listeners[listener as usize].as_raw_fd());
        let address = (&raw mut slot.address).cast();
        let entry = opcode::Accept::new(listener, address, &raw mut slot.length)
            .file_index(Some(types::DestinationSlot::auto_target()))
            .build();
        self.begin(&entry.user_data(Operation::Accept.numbered(number as u32)));
    }

    fn stop_listening(&mut self) {
        self.stops_listening = true;
        for number in 0..self.accepts.len() {
            if self.accepts[number].in_flight {
                self.cancel(Operation::Accept.numbered(number as u32));
            }
        }
        self.close_listeners_if_idle();
    }

    fn receive(&mut self, socket: Socket, token: Token) {
        let entry = opcode::RecvMulti::new(types::Fixed(socket.0), BUFFER_GROUP).build();
        self.begin(&entry.user_data(Operation::Receive.user_data(token)));
    }

    fn stop_receive(&mut self, token: Token) {
        self.cancel(Operation::Receive.user_data(token));
    }

    fn poll(&mut self, socket: Socket, token: Token, interest: Interest) {
        let (events, operation) = poll_of(interest);
        let entry = opcode::PollAdd::new(types::Fixed(socket.0), events).build();
        self.begin(&entry.user_data(operation.user_data(token)));
    }

    fn stop_poll(&mut self, token: Token, interest: Interest) {
        self.cancel(poll_of(interest).1.user_data(token));
    }

    fn shutdown(&mut self, socket: Socket, token: Token) {
        let entry = opcode::Shutdown::new(types::Fixed(socket.0), libc::SHUT_WR).build();
        self.begin(&entry.user_data(Operation::Shutdown.user_data(token)));
    }

    fn close(&mut self, socket: Socket, token: Token) {
        let entry = opcode::Close::new(types::Fixed(socket.0)).build();
        self.begin(&entry.user_data(Operation::Close.user_data(token)));
    }

    fn receive_now(&mut self, socket: Socket, bytes: &mut [u8]) -> Result<usize, Errno> {
        let length = bytes.len().min(u32::MAX as usize);
        // MSG_WAITALL turns a short count into a failure, which has a completion; without
        // one, all of `bytes` was filled.
        let entry = opcode::Recv::new(types::Fixed(socket.0), bytes.as_mut_ptr(), length as u32)
            .flags(libc::MSG_DONTWAIT | libc::MSG_WAITALL)
            .build();
        self.now_operation(entry, length)
    }

    fn send_now(&mut self, socket: Socket, slices: &[&[u8]]) -> Result<usize, Errno> {
        let mut vector = [IoSlice::new(&[]); 4];
        let slices = &slices[..slices.len().min(vector.len())];
        for (place, slice) in vector.iter_mut().zip(slices) {
            *place = IoSlice::new(slice);
        }
        let bytes = slices.iter().map(|slice| slice.len()).sum();
        self.headers.clear();
        self.headers.reserve(1);
        let entry = Self::send_entry(&mut self.headers, socket, &vector[..slices.len()]);
        self.now_operation(entry, bytes)
    }

    fn turn(
        &mut self,
        batch: &mut Batch<'_>,
        until: Time,
        events: &mut Vec<Event<ReceiveBuffer>>,
    ) -> std::io::Result<()> {
        self.arm_event_poll();
        self.headers.clear();
        // Pointers to headers go into entries: the table must not move.
        self.headers.reserve(batch.len());
        for index in 0..batch.len() {
            let (socket, slices) = batch.get(index);
            if slices.is_empty() {
                continue;
            }
            let entry = Self::send_entry(&mut self.headers, socket, slices)
                .flags(squeue::Flags::SKIP_SUCCESS)
                .user_data(Operation::Send.numbered(index as u32));
            self.push(&entry);
        }
        if self.backlog.is_empty() && until > Time::ZERO {
            self.submit_and_wait(until)?;
        } else {
            self.run_task_work()?;
        }
        // An interrupted wait may leave entries unsubmitted.
        self.submit_all()?;
        self.flush_overflow()?;
        for _ in 0..self.backlog.len() {
            let completion = self.backlog.pop_front().expect("counted");
            self.event(&completion, batch, events);
        }
        while let Some(completion) = { self.ring.completion().next() } {
            self.event(&completion, batch, events);
        }
        Ok(())
    }

    fn release(&mut self, buffer: ReceiveBuffer) {
        self.buffers.give(buffer);
    }
}

impl Drop for Uring {
    fn drop(&mut self) {
        // Submits closes that are still queued.
        let _ = self.submit_all();
        let started = Instant::now();
        self.cancel_all();
        while self.in_flight > 0 && started.elapsed() < DROP_WAIT {
            std::thread::sleep(Duration::from_millis(1));
            self.cancel_all();
        }
        if self.in_flight > 0 {
            std::mem::forget(std::mem::take(&mut self.accepts));
            self.buffers.leak();
        }
    }
}

pub(super) fn address_of(storage: &libc::sockaddr_storage) -> Option<SocketAddr> {
    match libc::c_int::from(storage.ss_family) {
        libc::AF_INET => {
            // SAFETY: the family is that of a sockaddr_in, which fits.
            let address = unsafe { *(&raw const *storage).cast::<libc::sockaddr_in>() };
            let ip = Ipv4Addr::from(u32::from_be(address.sin_addr.s_addr));
            Some(SocketAddr::V4(SocketAddrV4::new(ip, u16::from_be(address.sin_port))))
        }
        libc::AF_INET6 => {
            // SAFETY: the family is that of a sockaddr_in6, which fits.
            let address = unsafe { *(&raw const *storage).cast::<libc::sockaddr_in6>() };
            let ip = Ipv6Addr::from(address.sin6_addr.s6_addr);
            let port = u16::from_be(address.sin6_port);
            Some(SocketAddr::V6(SocketAddrV6::new(ip, port, 0, address.sin6_scope_id)))
        }
        // A Unix socket.
        _ => None,
    }
}

fn errno(error: &std::io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::IO)
}
