//! Connects each shard to the others: a mailbox per direction, and doorbells.

use crate::app::{CommandQueue, DirectMessage};
use crate::base::planted::{Bug, planted};
use crate::base::{Limits, ShardId, Spare, Wake};
use crate::hub::{HubMessage, Post};
use crate::mailbox::{self, Allowance, Doorbell, Receiver, Sender};
use std::collections::VecDeque;
use std::sync::Arc;

/// Wakes a shard.
pub type Bell = Arc<Doorbell<Box<dyn Wake>>>;

/// Places for messages that each mailbox has, if the limit allows it, however many there are.
const PLACES_MIN: usize = 16;

/// A message from one shard to another.
#[derive(Debug)]
pub enum ShardMessage {
    /// From hub to hub.
    Hub(HubMessage),
    /// For one connection of the receiving shard.
    Direct(DirectMessage),
}

const _: () = assert!(size_of::<ShardMessage>() <= 128);

/// The outcome of posting a direct message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Posted {
    Sent,
    /// It waits until its receiver has room.
    Waits,
    /// The queue of waiting messages is full, or there is no such shard.
    Dropped,
}

/// Bytes that a waiting message takes beside its payload.
const DIRECT_BYTES: usize = size_of::<ShardMessage>();

/// One shard's ends of all mailboxes.
pub struct Links {
    id: ShardId,
    /// Per shard; the own entry is never used.
    senders: Vec<Sender<ShardMessage>>,
    receivers: Vec<Receiver<ShardMessage>>,
    /// For messages to this shard that are longer than their mailbox.
    allowance: Arc<Allowance>,
    bells: Arc<[Bell]>,
    /// Per shard: direct messages that wait for room, and their bytes.
    waiting: Vec<(VecDeque<DirectMessage>, usize)>,
    /// Per shard: something was posted to it since the last [`Links::ring`].
    posted: Vec<bool>,
    /// The commands of other threads.
    pub(crate) commands: CommandQueue,
}

impl Links {
    /// The links between `bells.len()` shards: one value per shard.
    pub(crate) fn connect(
        limits: &Limits,
        bells: Arc<[Bell]>,
        command_queues: &[CommandQueue],
    ) -> Vec<Links> {
        let count = bells.len();
        let pairs = count * (count - 1);
        let bytes_max = limits.mailbox_bytes_max / 2 / pairs.max(1);
        // One for each receiver: if one stalls, messages to the others continue.
        let allowances: Vec<_> = (0..count)
            .map(|_| Arc::new(Allowance::new(limits.mailbox_bytes_max / 2 / count)))
            .collect();
        // The places take at most as many bytes as the payloads.
        let places_max = (bytes_max / size_of::<(ShardMessage, usize)>()).max(PLACES_MIN);
        let places = limits.mailbox_mails_max.min(places_max);
        let mut senders: Vec<Vec<_>> = (0..count).map(|_| Vec::new()).collect();
        let mut receivers: Vec<Vec<_>> = (0..count).map(|_| Vec::new()).collect();
        for (from, sender_row) in senders.iter_mut().enumerate() {
            for (to, receiver_row) in receivers.iter_mut().enumerate() {
                // No shard sends to itself.
                let mails = if from == to { 1 } else { places };
                let (sender, receiver) = mailbox::channel(mails, bytes_max, &allowances[to]);
                sender_row.push(sender);
                receiver_row.push(receiver);
            }
        }
        let ends = senders.into_iter().zip(receivers).zip(command_queues).enumerate();
        ends.map(|(id, ((senders, receivers), commands))| Links {
            id: ShardId(id as u16),
            senders,
            receivers,
            allowance: Arc::clone(&allowances[id]),
            bells: Arc::clone(&bells),
            waiting: (0..count).map(|_| (VecDeque::new(), 0)).collect(),
            posted: vec![false; count],
            commands: commands.clone(),
        })
        .collect()
    }

    /// Takes at most `messages_max` messages from a shard, as long as `each` wants more.
    pub fn take(
        &mut self,
        from: ShardId,
        messages_max: usize,
        mut each: impl FnMut(ShardMessage) -> bool,
    ) {
        let receiver = &mut self.receivers[from.index()];
        let mut taken = 0;
        while taken < messages_max
            && let Some(message) = receiver.pop()
        {
            taken += 1;
            if !each(message) {
                break;
            }
        }
        if taken == 0 {
            return;
        }
        if receiver.is_awaited() {
            self.bells[from.index()].ring();
        }
        if self.allowance.is_awaited() {
            self.bells.iter().for_each(|bell| bell.ring());
        }
    }

    /// The other shards.
    pub fn others(&self) -> impl Iterator<Item = ShardId> + use<> {
        let own = self.id;
        (0..self.bells.len() as u16).map(ShardId).filter(move |id| *id != own)
    }

    /// Messages sent and not taken yet.
    pub fn in_flight(&self) -> usize {
        self.senders.iter().map(Sender::len).sum()
    }

    /// Whether messages or commands are waiting.
    pub fn has_messages(&mut self) -> bool {
        self.receivers.iter_mut().any(|receiver| !receiver.is_empty()) || !self.commands.is_empty()
    }

    /// Sends a direct message, behind those that wait already. At most `waiting_bytes_max` bytes
    /// wait for a shard.
    pub fn send_direct(&mut self, message: DirectMessage, waiting_bytes_max: usize) -> Posted {
        let shard = message.to.shard.index();
        let Some(sender) = self.senders.get_mut(shard) else { return Posted::Dropped };
        let (waiting, bytes) = &mut self.waiting[shard];
        let weight = message.payload.len();
        let mut message = message;
        if waiting.is_empty() {
            match push(sender, message, weight) {
                Ok(()) => {
                    self.posted[shard] = true;
                    return Posted::Sent;
                }
                Err(back) => message = back,
            }
        }
        if *bytes + weight + DIRECT_BYTES > waiting_bytes_max {
            return Posted::Dropped;
        }
        *bytes += weight + DIRECT_BYTES;
        waiting.push_back(message);
        Posted::Waits
    }

    /// Sends direct messages that wait, as far as there is room.
    pub fn post_direct(&mut self) {
        for (shard, (waiting, bytes)) in self.waiting.iter_mut().enumerate() {
            while let Some(message) = waiting.pop_front() {
                let weight = message.payload.len();
                match push(&mut self.senders[shard], message, weight) {
                    Ok(()) => {
                        *bytes -= weight + DIRECT_BYTES;
                        self.posted[shard] = true;
                    }
                    Err(back) => {
                        waiting.push_front(back);
                        break;
                    }
                }
            }
        }
    }

    /// Lists that were long in a burst become short.
    pub fn give_spare_back(&mut self) {
        self.waiting.iter_mut().for_each(|(waiting, _)| waiting.give_spare_back());
    }

    /// Whether there is room for direct messages that wait. If not, this shard is woken when there
    /// is: call it before it dozes.
    pub fn has_room_for_direct(&mut self) -> bool {
        let Links { waiting, senders, .. } = self;
        let mut firsts = waiting
            .iter()
            .zip(senders)
            .filter_map(|((waiting, _), sender)| Some((waiting.front()?.payload.len(), sender)));
        firsts.any(|(weight, sender)| sender.await_room(weight))
    }

    /// Whether direct messages wait for room at any shard.
    pub fn has_any_waiting(&self) -> bool {
        self.waiting.iter().any(|(waiting, _)| !waiting.is_empty())
    }

    /// Whether direct messages wait for room at a shard.
    pub fn has_waiting(&self, to: ShardId) -> bool {
        !self.waiting[to.index()].0.is_empty()
    }

    /// Whether the mailbox to a shard has no place left, whatever the length of a message.
    pub fn is_full(&self, to: ShardId) -> bool {
        self.senders[to.index()].is_full()
    }

    /// A message of this weight found no room at a shard: returns whether it has now. If not, this
    /// shard is woken when it has.
    pub fn await_room(&mut self, to: ShardId, weight: usize) -> bool {
        self.senders[to.index()].await_room(weight)
    }

    /// Wakes the shards to which something was posted.
    pub fn ring(&mut self) {
        for (posted, bell) in self.posted.iter_mut().zip(&*self.bells) {
            if std::mem::take(posted) && !planted(Bug::LostWakeup) {
                bell.ring();
            }
        }
    }

    /// Wakes this shard.
    pub fn ring_own(&self) {
        self.bells[self.id.index()].ring();
    }

    /// This shard is about to sleep: see [`Doorbell::doze`].
    pub fn doze(&self) {
        self.bells[self.id.index()].doze();
    }

    /// This shard is awake.
    pub fn rouse(&self) {
        self.bells[self.id.index()].rouse();
    }
}

/// Sends a direct message, or returns it if there is no room.
fn push(
    sender: &mut Sender<ShardMessage>,
    message: DirectMessage,
    weight: usize,
) -> Result<(), DirectMessage> {
    sender.push(ShardMessage::Direct(message), weight).map_err(|back| match back {
        ShardMessage::Direct(message) => message,
        ShardMessage::Hub(_) => unreachable!("a refused push returns its message"),
    })
}

impl Post for Links {
    fn post(&mut self, to: ShardId, message: HubMessage, weight: usize) -> Result<(), HubMessage> {
        match self.senders[to.index()].push(ShardMessage::Hub(message), weight) {
            Ok(()) => {
                self.posted[to.index()] = true;
                Ok(())
            }
            Err(ShardMessage::Hub(message)) => Err(message),
            Err(ShardMessage::Direct(_)) => unreachable!("a refused push returns its message"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::ConnectionId;
    use crate::protocol::Kind;
    use std::sync::atomic::{AtomicU32, Ordering};

    struct Counting(Arc<AtomicU32>);

    impl Wake for Counting {
        fn wake(&self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Messages in flight from one shard to another keep a third from sending there, and wake it
    /// when they have arrived.
    #[test]
    fn long_messages_to_a_shard_are_bounded_together() {
        let limits = Limits { mailbox_bytes_max: 2_400, ..Limits::tiny() };
        let wakes: Vec<_> = (0..3).map(|_| Arc::new(AtomicU32::new(0))).collect();
        let bell = |wakes: &Arc<AtomicU32>| -> Bell {
            Arc::new(Doorbell::new(Box::new(Counting(Arc::clone(wakes)))))
        };
        let bells = wakes.iter().map(bell).collect();
        let command_queues: Vec<_> = (0..3).map(|_| CommandQueue::new(1, 1)).collect();
        let mut links = Links::connect(&limits, bells, &command_queues);
        let send = |links: &mut Links, to, bytes| {
            let to = ConnectionId { shard: ShardId(to), index: 0, generation: 0 };
            let message = DirectMessage { to, kind: Kind::Binary, payload: vec![0; bytes].into() };
            links.send_direct(message, 0) == Posted::Sent
        };
        // Each mailbox has a sixth of a half; of the other half, each shard has a third for
        // what is longer.
        assert!(send(&mut links[2], 1, 350));
        assert!(send(&mut links[2], 0, 350));
        assert!(!send(&mut links[0], 1, 201));
        assert!(send(&mut links[0], 1, 200));
        links[1].take(ShardId(0), 1, |_| true);
        links[0].doze();
        assert!(!links[0].await_room(ShardId(1), 201));
        // Messages to another shard are not held up.
        assert!(send(&mut links[0], 2, 201));
        assert_eq!(wakes[0].load(Ordering::Relaxed), 0);
        links[1].take(ShardId(2), 1, |_| true);
        assert_eq!(wakes[0].load(Ordering::Relaxed), 1);
        // One message always fits.
        assert!(send(&mut links[0], 1, 5_000));
    }

    #[test]
    fn direct_messages_wait_for_room_in_their_order() {
        let limits = Limits { mailbox_mails_max: 2, ..Limits::tiny() };
        let bell = || -> Bell { Arc::new(Doorbell::new(Box::new(Counting(Arc::default())))) };
        let bells = (0..2).map(|_| bell()).collect();
        let command_queues: Vec<_> = (0..2).map(|_| CommandQueue::new(1, 1)).collect();
        let mut links = Links::connect(&limits, bells, &command_queues);
        let to = ConnectionId { shard: ShardId(1), index: 0, generation: 0 };
        let send = |links: &mut Links, number: u8| {
            let message = DirectMessage { to, kind: Kind::Binary, payload: vec![number].into() };
            links.send_direct(message, 3 * (DIRECT_BYTES + 1))
        };
        use Posted::{Dropped, Sent, Waits};
        let posted: Vec<_> = (0..7).map(|number| send(&mut links[0], number)).collect();
        assert_eq!(posted, [Sent, Sent, Waits, Waits, Waits, Dropped, Dropped]);
        links[0].post_direct();
        assert!(links[0].has_waiting(ShardId(1)) && !links[0].has_room_for_direct());
        let mut got = Vec::new();
        for _ in 0..3 {
            links[1].take(ShardId(0), 9, |message| {
                let ShardMessage::Direct(message) = message else { panic!("a hub's message") };
                got.push(message.payload[0]);
                true
            });
            links[0].post_direct();
        }
        assert_eq!(got, [0, 1, 2, 3, 4]);
        assert!(!links[0].has_waiting(ShardId(1)));
        assert_eq!(send(&mut links[0], 9), Sent);
    }
}
