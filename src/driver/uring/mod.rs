//! The real driver, over the `io-uring` crate.
//!
//! One of the crate's three islands of `unsafe`. Why it is sound:
//!
//! - *Sends and `*_now` operations*: `MSG_DONTWAIT` makes the kernel finish
//!   them inside the submitting call (a request that can't go on is failed, not
//!   parked), and so it does with an update of the descriptor table. Their pointers come
//!   from slices that are borrowed for that call, and the call does not return before the
//!   whole submission queue has been consumed, unless the ring has failed.
//!   [`Uring::new`] tests on a socket pair that the kernel behaves so.
//! - *Accepts* write into `AcceptSlot`s, a boxed slice that lives and stays put
//!   until the ring is gone; a slot is read only after its completion.
//! - *Receives* write into [`buffers::Buffers`], which has its own proof.
//! - On drop every operation is cancelled, and its end awaited, before memory is freed;
//!   should one not end, the memory is leaked.
//! - A ring that has failed in any way submits nothing any more (`Uring::fail`): entries
//!   that were not consumed may point at memory that was lent for one call.
#![allow(unsafe_code)]

mod buffers;
mod queues;

use super::{
    Batch, Driver, Errno, Event, GENERATION_MASK, Interest, ReceiveEnd, Setup, SetupError, Socket,
    Token,
};
use crate::base::{Time, Wake};
use buffers::Buffers;
pub use buffers::ReceiveBuffer;
use io_uring::{IoUring, cqueue, opcode, squeue, types};
use queues::Queues;
use std::collections::VecDeque;
use std::io::IoSlice;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime};

/// Entries of the submission queue. When it is full it is submitted early.
const SUBMISSIONS: u32 = 1024;
const BUFFER_GROUP: u16 = 0;
/// How long a dropped ring waits for what is in flight. What a socket is asked for ends
/// when it is cancelled; a shutdown ends in a thread of the kernel's.
const DROP_WAIT: Duration = Duration::from_secs(1);

/// What a completion belongs to: the upper four bits of its user data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Operation {
    Accept = 1,
    Receive = 2,
    PollReadable = 3,
    PollWritable = 4,
    Close = 5,
    Send = 6,
    Now = 7,
    Wake = 8,
    Shutdown = 10,
    /// Its completion says nothing that is needed.
    Ignored = 9,
}

impl Operation {
    fn of(user_data: u64) -> Option<Operation> {
        use Operation::*;
        [Accept, Receive, PollReadable, PollWritable, Close, Send, Now, Wake, Shutdown, Ignored]
            .into_iter()
            .find(|operation| *operation as u64 == user_data >> 60)
    }

    const fn user_data(self, token: Token) -> u64 {
        (self as u64) << 60
            | ((token.generation & GENERATION_MASK) as u64) << 32
            | token.index as u64
    }

    const fn numbered(self, number: u32) -> u64 {
        self.user_data(Token { index: number, generation: 0 })
    }
}

const fn token(user_data: u64) -> Token {
    Token { index: user_data as u32, generation: (user_data >> 32) as u32 & GENERATION_MASK }
}

/// Where the kernel writes the peer's address of one accept in flight.
#[repr(C)]
struct AcceptSlot {
    address: libc::sockaddr_storage,
    length: libc::socklen_t,
    listener: u32,
    in_flight: bool,
}

/// Wakes a [`Uring`] through an eventfd that the ring polls.
///
/// ```no_run
/// use tapecast::Limits;
/// use tapecast::base::{Time, Wake};
/// use tapecast::driver::{Batch, Driver, Event, Setup, Uring};
///
/// let mut ring = Uring::new(&Setup::new(&Limits::default(), 64))?;
/// let waker = ring.waker();
/// std::thread::spawn(move || waker.wake());
/// let mut events = Vec::new();
/// ring.turn(&mut Batch::new(), Time::NEVER, &mut events)?;
/// assert!(matches!(events[..], [Event::Woken]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct EventWaker(Arc<OwnedFd>);

impl Wake for EventWaker {
    fn wake(&self) {
        // Fails only when the counter is full, and then the poll has fired.
        let _ = rustix::io::write(&*self.0, &1u64.to_ne_bytes());
    }
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
    ring: Queues,
    buffers: Buffers,
    accepts: Box<[AcceptSlot]>,
    listeners: Vec<OwnedFd>,
    stops_listening: bool,
    is_broken: bool,
    /// Operations that end later than in the submitting call.
    in_flight: usize,
    event: EventWaker,
    event_polled: bool,
    /// Completions that came out while something else was looked for.
    backlog: VecDeque<cqueue::Entry>,
    /// The message headers of the sends being submitted.
    headers: Vec<libc::msghdr>,
    origin: Instant,
}

fn origin() -> Instant {
    static ORIGIN: OnceLock<Instant> = OnceLock::new();
    *ORIGIN.get_or_init(Instant::now)
}

impl Uring {
    /// Sets a ring up on this thread, which is then the only one to use it.
    ///
    /// # Errors
    /// Why there can be no ring, with the setting to change.
    pub fn new(setup: &Setup) -> Result<Uring, SetupError> {
        let failed = |place| move |error| SetupError::Failed(place, error);
        let completions = (setup.events_per_turn as u32).max(2 * SUBMISSIONS);
        let ring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_submit_all()
            .setup_cqsize(completions)
            .build(SUBMISSIONS)
            .map_err(SetupError::from_setup)?;
        let ring = Queues::new(ring).map_err(failed("registering the ring"))?;
        for (present, feature) in [
            (ring.params().is_feature_nodrop(), "completions that are never dropped"),
            (ring.params().is_feature_ext_arg(), "waits with a timeout"),
            (ring.params().is_feature_skip_cqe_on_success(), "sends without completions"),
        ] {
            if !present {
                return Err(SetupError::Feature(feature));
            }
        }
        ring.submitter()
            .register_files_sparse(setup.sockets_max)
            .map_err(failed("registering the descriptor table"))?;
        // Only shutdown goes to worker threads; two are plenty.
        ring.submitter()
            .register_iowq_max_workers(&mut [1, 1])
            .map_err(failed("limiting worker threads"))?;
        let buffers = Buffers::new(
            ring.submitter(),
            BUFFER_GROUP,
            setup.receive_buffers,
            setup.receive_buffer_bytes,
        )
        .map_err(failed("registering receive buffers"))?;
        let event = rustix::event::eventfd(
            0,
            rustix::event::EventfdFlags::CLOEXEC | rustix::event::EventfdFlags::NONBLOCK,
        )
        .map_err(|error| SetupError::Failed("eventfd", error.into()))?;
        let mut uring = Uring {
            ring,
            buffers,
            accepts: Box::new([]),
            listeners: Vec::new(),
            stops_listening: false,
            is_broken: false,
            in_flight: 0,
            event: EventWaker(Arc::new(event)),
            event_polled: false,
            backlog: VecDeque::new(),
            headers: Vec::new(),
            origin: origin(),
        };
        uring.verify_sends()?;
        Ok(uring)
    }

    /// Adds listening sockets, numbered from 0, with so many accepts in flight
    /// for each. Called once, before the first accept.
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

    /// Takes a connected socket over into the ring's table.
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

    /// Checks on a socket pair what every send relies on: it ends inside the
    /// submitting call, silently when whole, with a count when cut short, with
    /// EAGAIN when nothing fits.
    fn verify_sends(&mut self) -> Result<(), SetupError> {
        let failed = |place| move |error: Errno| SetupError::Failed(place, error.into());
        let (near, far) = rustix::net::socketpair(
            rustix::net::AddressFamily::UNIX,
            rustix::net::SocketType::STREAM,
            rustix::net::SocketFlags::CLOEXEC,
            None,
        )
        .map_err(failed("socketpair"))?;
        let socket = self.adopt(near).map_err(failed("adopting a socket"))?;
        let bytes = vec![0; 4 << 20];
        let whole = self.send_now(socket, &[&bytes[..4], &bytes[..6]]);
        let short = self.send_now(socket, &[&bytes[..10], &bytes]);
        let none = self.send_now(socket, &[&bytes]);
        let as_expected = whole == Ok(10)
            && matches!(short, Ok(count) if count > 0 && count < bytes.len())
            && none == Err(Errno::AGAIN);
        drop(far);
        let token = Token { index: 0, generation: 0 };
        self.close(socket, token);
        let mut events = Vec::new();
        while !events.iter().any(|event| matches!(event, Event::Closed { .. })) {
            self.turn(&mut Batch::new(), Time::NEVER, &mut events)
                .map_err(|error| SetupError::Failed("io_uring_enter", error))?;
        }
        match as_expected {
            true => Ok(()),
            false => Err(SetupError::Feature("sends that end inside the submitting call")),
        }
    }

    /// Queues an entry; submits first when the queue is full. A ring that has failed drops
    /// it, and the next turn says so.
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

    /// Queues an entry of an operation that ends with a later turn.
    #[inline]
    fn begin(&mut self, entry: &squeue::Entry) {
        self.in_flight += usize::from(self.push(entry));
    }

    /// Submits everything that is queued. When it returns, the kernel has
    /// consumed every entry: sends and `*_now` operations among them are over.
    fn submit_all(&mut self) -> std::io::Result<()> {
        self.check()?;
        while !self.ring.submission().is_empty() {
            match self.ring.submitter().submit() {
                Ok(_) => {}
                Err(error) => self.absorb(error)?,
            }
        }
        Ok(())
    }

    /// What to do about an error of `io_uring_enter`: nothing, or make room.
    fn absorb(&mut self, error: std::io::Error) -> std::io::Result<()> {
        match error.raw_os_error().map(Errno::from_raw_os_error) {
            Some(Errno::INTR | Errno::TIME) => Ok(()),
            // The completion queue is full, or memory is short: reap and retry.
            Some(Errno::BUSY | Errno::AGAIN | Errno::NOMEM) => {
                let completions = self.ring.completion();
                self.backlog.extend(completions);
                self.flush_overflow()
            }
            _ => Err(self.fail(error)),
        }
    }

    /// The ring has failed. Entries that were not consumed may point at memory that is lent
    /// for this call only: the kernel must never see them.
    fn fail(&mut self, error: std::io::Error) -> std::io::Error {
        self.is_broken = true;
        error
    }

    /// Nothing is submitted any more once the ring has failed.
    fn check(&self) -> std::io::Result<()> {
        match self.is_broken {
            false => Ok(()),
            true => Err(std::io::Error::other("the ring has failed before")),
        }
    }

    /// Has the kernel write out completions for which there was no room.
    fn flush_overflow(&mut self) -> std::io::Result<()> {
        while self.ring.submission().cq_overflow() {
            const GETEVENTS: u32 = 1;
            // SAFETY: no argument is passed.
            let result =
                unsafe { self.ring.submitter().enter::<libc::sigset_t>(0, 0, GETEVENTS, None) };
            let completions = self.ring.completion();
            self.backlog.extend(completions);
            if let Err(error) = result {
                match error.raw_os_error().map(Errno::from_raw_os_error) {
                    Some(Errno::INTR | Errno::BUSY | Errno::AGAIN) => {}
                    _ => return Err(self.fail(error)),
                }
            }
        }
        Ok(())
    }

    /// Submits `entry`, which must end inside the submitting call, and says how
    /// it ended; silence means that all `bytes` were done.
    fn now_operation(&mut self, entry: squeue::Entry, bytes: usize) -> Result<usize, Errno> {
        let user_data = Operation::Now.numbered(0);
        let entry = entry.flags(squeue::Flags::SKIP_SUCCESS).user_data(user_data);
        self.push(&entry);
        self.submit_all().map_err(|error| errno(&error))?;
        self.flush_overflow().map_err(|error| errno(&error))?;
        let mut outcome = Ok(bytes);
        let backlog = &mut self.backlog;
        for completion in self.ring.completion() {
            match completion.user_data() == user_data {
                true => outcome = outcome_of(completion.result()),
                false => backlog.push_back(completion),
            }
        }
        // An overflow may have put it there.
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
        // MSG_WAITALL turns a short count into a failure, which is reported
        // although success is silent; MSG_DONTWAIT keeps it from waiting for it.
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

    /// One operation less is in flight, if this is the last word about one.
    #[inline]
    fn count_end(&mut self, completion: &cqueue::Entry) {
        use Operation::{Accept, Close, PollReadable, PollWritable, Receive, Shutdown, Wake};
        let is_lasting = matches!(
            Operation::of(completion.user_data()),
            Some(Accept | Receive | PollReadable | PollWritable | Close | Shutdown | Wake)
        );
        if is_lasting && !cqueue::more(completion.flags()) {
            self.in_flight -= 1;
        }
    }

    /// Types one completion.
    fn event(
        &mut self,
        completion: &cqueue::Entry,
        batch: &mut Batch<'_>,
        events: &mut Vec<Event<ReceiveBuffer>>,
    ) {
        let user_data = completion.user_data();
        let result = completion.result();
        let token = token(user_data);
        self.count_end(completion);
        match Operation::of(user_data) {
            Some(Operation::Receive) => self.receive_events(completion, token, events),
            Some(Operation::Send) => batch.set_outcome(token.index as usize, outcome_of(result)),
            Some(Operation::PollReadable) => {
                events.push(Event::Polled { token, interest: Interest::Readable });
            }
            Some(Operation::PollWritable) => {
                events.push(Event::Polled { token, interest: Interest::Writable });
            }
            Some(Operation::Shutdown) => events.push(Event::ShutDown { token }),
            Some(Operation::Close) => events.push(Event::Closed { token }),
            Some(Operation::Accept) => events.push(self.accept_event(token.index, result)),
            Some(Operation::Wake) => {
                self.event_polled = cqueue::more(completion.flags());
                events.push(Event::Woken);
            }
            Some(Operation::Now | Operation::Ignored) | None => {}
        }
    }

    fn receive_events(
        &mut self,
        completion: &cqueue::Entry,
        token: Token,
        events: &mut Vec<Event<ReceiveBuffer>>,
    ) {
        let result = completion.result();
        if let Some(id) = cqueue::buffer_select(completion.flags()) {
            let buffer = self.buffers.filled(id, result.max(0) as usize);
            match result > 0 {
                true => events.push(Event::Received { token, buffer }),
                false => self.buffers.give(buffer),
            }
        }
        if cqueue::more(completion.flags()) {
            return;
        }
        let end = match result {
            0 => ReceiveEnd::EndOfStream,
            1.. => ReceiveEnd::Expired,
            _ => match Errno::from_raw_os_error(-result) {
                Errno::NOBUFS => ReceiveEnd::NoBuffers,
                Errno::CANCELED => ReceiveEnd::Stopped,
                Errno::INTR | Errno::AGAIN => ReceiveEnd::Expired,
                error => ReceiveEnd::Broken(error),
            },
        };
        events.push(Event::ReceiveEnded { token, end });
    }

    /// An accept in flight refers to its listener's descriptor.
    fn close_listeners_if_idle(&mut self) {
        if self.stops_listening && self.accepts.iter().all(|slot| !slot.in_flight) {
            self.listeners.clear();
        }
    }

    fn accept_event(&mut self, number: u32, result: i32) -> Event<ReceiveBuffer> {
        let slot = &mut self.accepts[number as usize];
        slot.in_flight = false;
        let listener = slot.listener;
        let peer = address_of(&slot.address);
        self.close_listeners_if_idle();
        match result {
            0.. => Event::Accepted { listener, socket: Socket(result as u32), peer },
            _ => Event::AcceptFailed { listener, error: Errno::from_raw_os_error(-result) },
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
        let number = number.expect("no more accepts than `listen` allowed for");
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
        // MSG_WAITALL makes a short count a failure, which is reported; so a
        // silent success means that all of `bytes` was filled.
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
        // A wait may have been cut off before everything was submitted.
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

impl Uring {
    /// Submits and waits for a completion or `until`.
    fn submit_and_wait(&mut self, until: Time) -> std::io::Result<()> {
        self.check()?;
        let result = if until == Time::NEVER {
            self.ring.submitter().submit_and_wait(1)
        } else {
            let timespec = types::Timespec::from(until.since(Driver::now(self)));
            let arguments = types::SubmitArgs::new().timespec(&timespec);
            self.ring.submitter().submit_with_args(1, &arguments)
        };
        match result {
            Ok(_) => Ok(()),
            Err(error) => self.absorb(error),
        }
    }

    /// Submits and lets the kernel run what is due, without waiting.
    fn run_task_work(&mut self) -> std::io::Result<()> {
        self.check()?;
        const GETEVENTS: u32 = 1;
        let queued = {
            let mut submissions = self.ring.submission();
            submissions.sync();
            submissions.len() as u32
        };
        // SAFETY: no argument is passed; the entries are as the file's proof says.
        let result =
            unsafe { self.ring.submitter().enter::<libc::sigset_t>(queued, 0, GETEVENTS, None) };
        match result {
            Ok(_) => Ok(()),
            Err(error) => self.absorb(error),
        }
    }
}

impl Uring {
    /// Cancels what is in flight and takes what has ended.
    fn cancel_all(&mut self) {
        // Finding nothing to cancel is an error as well; what counts is what ends.
        let _ = self.ring.submitter().register_sync_cancel(None, types::CancelBuilder::any().all());
        const GETEVENTS: u32 = 1;
        // SAFETY: no argument is passed, and nothing is submitted.
        let _ = unsafe { self.ring.submitter().enter::<libc::sigset_t>(0, 0, GETEVENTS, None) };
        let completions = self.ring.completion();
        self.backlog.extend(completions);
        while let Some(completion) = self.backlog.pop_front() {
            self.count_end(&completion);
        }
    }
}

impl Drop for Uring {
    fn drop(&mut self) {
        // Sockets that were to be closed are.
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

const fn poll_of(interest: Interest) -> (u32, Operation) {
    match interest {
        Interest::Readable => ((libc::POLLIN | libc::POLLRDHUP) as u32, Operation::PollReadable),
        Interest::Writable => (libc::POLLOUT as u32, Operation::PollWritable),
    }
}

fn outcome_of(result: i32) -> Result<usize, Errno> {
    if result < 0 { Err(Errno::from_raw_os_error(-result)) } else { Ok(result as usize) }
}

fn errno(error: &std::io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::IO)
}

fn address_of(storage: &libc::sockaddr_storage) -> Option<SocketAddr> {
    match libc::c_int::from(storage.ss_family) {
        libc::AF_INET => {
            // SAFETY: the family says that it is a sockaddr_in, which fits.
            let address = unsafe { *(&raw const *storage).cast::<libc::sockaddr_in>() };
            let ip = Ipv4Addr::from(u32::from_be(address.sin_addr.s_addr));
            Some(SocketAddr::V4(SocketAddrV4::new(ip, u16::from_be(address.sin_port))))
        }
        libc::AF_INET6 => {
            // SAFETY: the family says that it is a sockaddr_in6, which fits.
            let address = unsafe { *(&raw const *storage).cast::<libc::sockaddr_in6>() };
            let ip = Ipv6Addr::from(address.sin6_addr.s6_addr);
            let port = u16::from_be(address.sin6_port);
            Some(SocketAddr::V6(SocketAddrV6::new(ip, port, 0, address.sin6_scope_id)))
        }
        // A Unix socket.
        _ => None,
    }
}

#[cfg(test)]
mod tests;
