//! The sends of one turn. The batch borrows their bytes for exactly that turn.

use super::token::Socket;
use rustix::io::Errno;
use std::io::IoSlice;

/// Slices that one send may carry: the kernel's limit for one message header.
/// A [`Batch`] refuses more.
pub const SLICES_PER_SEND: usize = 64;

/// Sends that are submitted together, and the outcome of each.
///
/// ```
/// # use tapecast::Limits;
/// # use tapecast::base::Time;
/// # use tapecast::driver::sim::{Faults, World};
/// use tapecast::driver::{Batch, Driver};
/// # use tapecast::driver::{Event, Setup};
///
/// # let world = World::new(1, Faults::default(), 64 << 10);
/// # let mut ring = world.ring(Setup::new(&Limits::default(), 8));
/// # let client = world.connect(0);
/// # let mut events = Vec::new();
/// # ring.accept(0);
/// # ring.turn(&mut Batch::new(), Time::ZERO, &mut events)?;
/// # let Some(Event::Accepted { socket, .. }) = events.pop() else { panic!("a client is there") };
/// let mut batch = Batch::new();
/// batch.begin(socket);
/// batch.slice(b"hello, ");
/// batch.slice(b"world");
/// ring.turn(&mut batch, Time::ZERO, &mut events)?;
/// assert_eq!(batch.outcome(0), Ok(12));
/// assert_eq!(client.read(100), b"hello, world");
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug, Default)]
pub struct Batch<'a> {
    slices: Vec<IoSlice<'a>>,
    sends: Vec<Send>,
}

#[derive(Debug)]
struct Send {
    socket: Socket,
    /// The first of its slices; they end where the next send's begin.
    first_slice: u32,
    slice_count: u32,
    bytes: usize,
    outcome: Result<usize, Errno>,
}

impl<'a> Batch<'a> {
    /// An empty batch.
    pub fn new() -> Batch<'a> {
        Batch::default()
    }

    /// Begins a send to `socket`; [`Batch::slice`] adds its bytes.
    #[inline]
    pub fn begin(&mut self, socket: Socket) {
        let first_slice = self.slices.len() as u32;
        self.sends.push(Send { socket, first_slice, slice_count: 0, bytes: 0, outcome: Ok(0) });
    }

    /// Adds a slice to the last send, which carries at most
    /// [`SLICES_PER_SEND`]. An empty slice adds nothing.
    #[inline]
    pub fn slice(&mut self, slice: &'a [u8]) {
        if slice.is_empty() {
            return;
        }
        let send = self.sends.last_mut().expect("a slice follows a begin");
        assert!((send.slice_count as usize) < SLICES_PER_SEND, "too many slices for one send");
        send.slice_count += 1;
        send.bytes += slice.len();
        send.outcome = Ok(send.bytes);
        self.slices.push(IoSlice::new(slice));
    }

    /// How many sends there are.
    pub fn len(&self) -> usize {
        self.sends.len()
    }

    /// Whether there is no send.
    pub fn is_empty(&self) -> bool {
        self.sends.is_empty()
    }

    /// After the turn: how many bytes of send `index` the socket took, or why it took none.
    #[inline]
    pub fn outcome(&self, index: usize) -> Result<usize, Errno> {
        self.sends[index].outcome
    }

    /// The bytes of send `index`.
    #[inline]
    pub fn bytes(&self, index: usize) -> usize {
        self.sends[index].bytes
    }

    /// For drivers: the socket and the slices of send `index`.
    #[inline]
    pub(super) fn get(&self, index: usize) -> (Socket, &[IoSlice<'a>]) {
        let send = &self.sends[index];
        let first = send.first_slice as usize;
        (send.socket, &self.slices[first..first + send.slice_count as usize])
    }

    /// For drivers: the outcome of send `index`, unless the socket took all of it.
    pub(super) fn set_outcome(&mut self, index: usize, outcome: Result<usize, Errno>) {
        self.sends[index].outcome = outcome;
    }

    /// An empty batch with this one's memory.
    pub fn recycle<'b>(mut self) -> Batch<'b> {
        self.slices.clear();
        self.sends.clear();
        let slices = self.slices.into_iter().map(|_| unreachable!("it was cleared")).collect();
        Batch { slices, sends: self.sends }
    }
}
