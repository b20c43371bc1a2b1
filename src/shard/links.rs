//! The way from one shard to the others: a mailbox per direction, and doorbells.

use crate::app::Entrance;
use crate::base::planted::{Bug, planted};
use crate::base::{ConnectionId, Limits, ShardId, Spare, Wake};
use crate::hub::{self, Post};
use crate::mailbox::{self, Allowance, Doorbell, Receiver, Sender};
use crate::protocol::Kind;
use bytes::Bytes;
use std::collections::VecDeque;
use std::sync::Arc;

/// What wakes a shard.
pub type Bell = Arc<Doorbell<Box<dyn Wake>>>;

/// A mailbox has as many places for mails, if the limit lets it, however many there are.
const PLACES_MIN: usize = 16;

/// What one shard sends another.
#[derive(Debug)]
pub enum ShardMail {
    /// From hub to hub.
    Hub(hub::HubMessage),
    /// A message for one connection of the receiving shard.
    Letter {
        /// The connection.
        to: ConnectionId,
        /// Text or binary.
        kind: Kind,
        /// The payload.
        payload: Bytes,
    },
}

const _: () = assert!(size_of::<ShardMail>() <= 128);

/// What became of a letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Posted {
    Sent,
    /// Until its receiver has room.
    Waits,
    /// More wait than may, or there is no such shard.
    Dropped,
}

/// What a letter takes beside its payload.
const LETTER_BYTES: usize = size_of::<ShardMail>();

impl ShardMail {
    /// What a letter weighs in a mailbox.
    fn weight(&self) -> usize {
        match self {
            ShardMail::Letter { payload, .. } => payload.len(),
            ShardMail::Hub(_) => 0,
        }
    }
}

/// One shard's ends of all mailboxes.
pub struct Links {
    id: ShardId,
    /// Per shard; the own entry is never used.
    senders: Vec<Sender<ShardMail>>,
    receivers: Vec<Receiver<ShardMail>>,
    /// For mails to this shard that are longer than their mailbox.
    allowance: Arc<Allowance>,
    bells: Arc<[Bell]>,
    /// Per shard: letters that wait for room, and their bytes.
    waiting: Vec<(VecDeque<ShardMail>, usize)>,
    /// To whom something was posted since the last [`Links::ring`].
    posted: Vec<bool>,
    /// What threads that are not shards ask for.
    pub(crate) entrance: Entrance,
}

impl Links {
    /// The links between `bells.len()` shards: one value per shard.
    pub(crate) fn connect(
        limits: &Limits,
        bells: Arc<[Bell]>,
        entrances: &[Entrance],
    ) -> Vec<Links> {
        let count = bells.len();
        let pairs = count * (count - 1);
        let bytes_max = limits.mailbox_bytes_max / 2 / pairs.max(1);
        // One for each that receives: where one stands still, the others' mail goes on.
        let allowances: Vec<_> = (0..count)
            .map(|_| Arc::new(Allowance::new(limits.mailbox_bytes_max / 2 / count)))
            .collect();
        // The places are as many bytes as what lies in them, at most.
        let places_max = (bytes_max / size_of::<(ShardMail, usize)>()).max(PLACES_MIN);
        let places = limits.mailbox_mails_max.min(places_max);
        let mut senders: Vec<Vec<_>> = (0..count).map(|_| Vec::new()).collect();
        let mut receivers: Vec<Vec<_>> = (0..count).map(|_| Vec::new()).collect();
        for (from, sender_row) in senders.iter_mut().enumerate() {
            for (to, receiver_row) in receivers.iter_mut().enumerate() {
                // Nobody writes to itself.
                let mails = if from == to { 1 } else { places };
                let (sender, receiver) = mailbox::channel(mails, bytes_max, &allowances[to]);
                sender_row.push(sender);
                receiver_row.push(receiver);
            }
        }
        let ends = senders.into_iter().zip(receivers).zip(entrances).enumerate();
        ends.map(|(id, ((senders, receivers), entrance))| Links {
            id: ShardId(id as u16),
            senders,
            receivers,
            allowance: Arc::clone(&allowances[id]),
            bells: Arc::clone(&bells),
            waiting: (0..count).map(|_| (VecDeque::new(), 0)).collect(),
            posted: vec![false; count],
            entrance: entrance.clone(),
        })
        .collect()
    }

    /// Takes at most `mails_max` mails that `from` has sent, as long as `each` wants more.
    pub fn take(
        &mut self,
        from: ShardId,
        mails_max: usize,
        mut each: impl FnMut(ShardMail) -> bool,
    ) {
        let receiver = &mut self.receivers[from.index()];
        let mut taken = 0;
        while taken < mails_max
            && let Some(mail) = receiver.pop()
        {
            taken += 1;
            if !each(mail) {
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

    /// Mails sent that nobody has taken yet.
    pub fn mails_under_way(&self) -> usize {
        self.senders.iter().map(Sender::len).sum()
    }

    /// Whether mail is waiting.
    pub fn has_mail(&mut self) -> bool {
        self.receivers.iter_mut().any(|receiver| !receiver.is_empty()) || !self.entrance.is_empty()
    }

    /// Sends a letter, behind those that wait already. At most `waiting_bytes_max` bytes wait
    /// for a shard.
    pub fn letter(
        &mut self,
        to: ConnectionId,
        kind: Kind,
        payload: Bytes,
        waiting_bytes_max: usize,
    ) -> Posted {
        let shard = to.shard.index();
        let Some(sender) = self.senders.get_mut(shard) else { return Posted::Dropped };
        let (waiting, bytes) = &mut self.waiting[shard];
        let weight = payload.len();
        let mut letter = ShardMail::Letter { to, kind, payload };
        if waiting.is_empty() {
            match sender.push(letter, weight) {
                Ok(()) => {
                    self.posted[shard] = true;
                    return Posted::Sent;
                }
                Err(back) => letter = back,
            }
        }
        if *bytes + weight + LETTER_BYTES > waiting_bytes_max {
            return Posted::Dropped;
        }
        *bytes += weight + LETTER_BYTES;
        waiting.push_back(letter);
        Posted::Waits
    }

    /// Sends letters that wait, as far as there is room.
    pub fn post_letters(&mut self) {
        for (shard, (waiting, bytes)) in self.waiting.iter_mut().enumerate() {
            while let Some(letter) = waiting.pop_front() {
                let weight = letter.weight();
                match self.senders[shard].push(letter, weight) {
                    Ok(()) => {
                        *bytes -= weight + LETTER_BYTES;
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

    /// Whether there is room for letters that wait. If not, this shard is woken when there is:
    /// call it when it dozes.
    pub fn has_room_for_letters(&mut self) -> bool {
        let Links { waiting, senders, .. } = self;
        let mut firsts = waiting
            .iter()
            .zip(senders)
            .filter_map(|((waiting, _), sender)| Some((waiting.front()?.weight(), sender)));
        firsts.any(|(weight, sender)| sender.await_room(weight))
    }

    /// Whether letters wait for room at any shard.
    pub fn has_any_waiting(&self) -> bool {
        self.waiting.iter().any(|(waiting, _)| !waiting.is_empty())
    }

    /// Whether letters wait for room at a shard.
    pub fn has_waiting(&self, to: ShardId) -> bool {
        !self.waiting[to.index()].0.is_empty()
    }

    /// Whether the mails to `to` are as many as there may be, whatever their length.
    pub fn is_full(&self, to: ShardId) -> bool {
        self.senders[to.index()].is_full()
    }

    /// Says that mail of `weight` for `to` found no room; whether it has now.
    pub fn await_room(&mut self, to: ShardId, weight: usize) -> bool {
        self.senders[to.index()].await_room(weight)
    }

    /// Wakes everybody to whom something was posted.
    pub fn ring(&mut self) {
        for (posted, bell) in self.posted.iter_mut().zip(&*self.bells) {
            if std::mem::take(posted) && !planted(Bug::LostWakeup) {
                bell.ring();
            }
        }
    }

    /// Wakes this very shard.
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

impl Post for Links {
    fn post(
        &mut self,
        to: ShardId,
        mail: hub::HubMessage,
        weight: usize,
    ) -> Result<(), hub::HubMessage> {
        match self.senders[to.index()].push(ShardMail::Hub(mail), weight) {
            Ok(()) => {
                self.posted[to.index()] = true;
                Ok(())
            }
            Err(ShardMail::Hub(mail)) => Err(mail),
            Err(ShardMail::Letter { .. }) => unreachable!("what comes back is what was pushed"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    struct Counting(Arc<AtomicU32>);

    impl Wake for Counting {
        fn wake(&self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// What one shard has under way to another keeps a third from sending there, and wakes it
    /// when it has arrived.
    #[test]
    fn long_mails_to_a_shard_are_bounded_together() {
        let limits = Limits { mailbox_bytes_max: 2_400, ..Limits::tiny() };
        let wakes: Vec<_> = (0..3).map(|_| Arc::new(AtomicU32::new(0))).collect();
        let bell = |wakes: &Arc<AtomicU32>| -> Bell {
            Arc::new(Doorbell::new(Box::new(Counting(Arc::clone(wakes)))))
        };
        let bells = wakes.iter().map(bell).collect();
        let entrances: Vec<_> = (0..3).map(|_| Entrance::new(1, 1)).collect();
        let mut links = Links::connect(&limits, bells, &entrances);
        let letter = |links: &mut Links, to, bytes| {
            let to = ConnectionId { shard: ShardId(to), index: 0, generation: 0 };
            let payload = vec![0; bytes].into();
            links.letter(to, Kind::Binary, payload, 0) == Posted::Sent
        };
        // Each mailbox has a sixth of a half; of the other half, each shard has a third for
        // what is longer.
        assert!(letter(&mut links[2], 1, 350));
        assert!(letter(&mut links[2], 0, 350));
        assert!(!letter(&mut links[0], 1, 201));
        assert!(letter(&mut links[0], 1, 200));
        links[1].take(ShardId(0), 1, |_| true);
        links[0].doze();
        assert!(!links[0].await_room(ShardId(1), 201));
        // Another shard's mail is not held up.
        assert!(letter(&mut links[0], 2, 201));
        assert_eq!(wakes[0].load(Ordering::Relaxed), 0);
        links[1].take(ShardId(2), 1, |_| true);
        assert_eq!(wakes[0].load(Ordering::Relaxed), 1);
        // One always goes.
        assert!(letter(&mut links[0], 1, 5_000));
    }

    #[test]
    fn letters_wait_for_room_in_their_order() {
        let limits = Limits { mailbox_mails_max: 2, ..Limits::tiny() };
        let bell = || -> Bell { Arc::new(Doorbell::new(Box::new(Counting(Arc::default())))) };
        let bells = (0..2).map(|_| bell()).collect();
        let entrances: Vec<_> = (0..2).map(|_| Entrance::new(1, 1)).collect();
        let mut links = Links::connect(&limits, bells, &entrances);
        let to = ConnectionId { shard: ShardId(1), index: 0, generation: 0 };
        let letter = |links: &mut Links, number: u8| {
            links.letter(to, Kind::Binary, vec![number].into(), 3 * (LETTER_BYTES + 1))
        };
        use Posted::{Dropped, Sent, Waits};
        let posted: Vec<_> = (0..7).map(|number| letter(&mut links[0], number)).collect();
        assert_eq!(posted, [Sent, Sent, Waits, Waits, Waits, Dropped, Dropped]);
        links[0].post_letters();
        assert!(links[0].has_waiting(ShardId(1)) && !links[0].has_room_for_letters());
        let mut got = Vec::new();
        for _ in 0..3 {
            links[1].take(ShardId(0), 9, |mail| {
                let ShardMail::Letter { payload, .. } = mail else { panic!("no letter") };
                got.push(payload[0]);
                true
            });
            links[0].post_letters();
        }
        assert_eq!(got, [0, 1, 2, 3, 4]);
        assert!(!links[0].has_waiting(ShardId(1)));
        assert_eq!(letter(&mut links[0], 9), Sent);
    }
}
