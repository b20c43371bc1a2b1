//! Turning completions into typed events.

use super::buffers::ReceiveBuffer;
use super::operation::{Operation, outcome_of, token};
use super::ring::{Uring, address_of};
use crate::driver::batch::Batch;
use crate::driver::event::{Event, Interest, ReceiveEnd};
use crate::driver::token::{Socket, Token};
use io_uring::cqueue;
use rustix::io::Errno;

impl Uring {
    /// Types one completion.
    pub(super) fn event(
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
            if result > 0 {
                events.push(Event::Received { token, buffer });
            } else {
                self.buffers.give(buffer);
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

    /// Closes the listeners once no accept is in flight: one refers to its listener's descriptor.
    pub(super) fn close_listeners_if_idle(&mut self) {
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
