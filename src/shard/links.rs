//! The way from one shard to the others: a mailbox per direction, and doorbells.

use crate::app::Errand;
use crate::base::planted::{Bug, planted};
use crate::base::{ConnectionId, Limits, ShardId, Wake};
use crate::hub::{self, Post};
use crate::mailbox::{self, Doorbell, Inbox, Receiver, Sender};
use crate::protocol::Kind;
use bytes::Bytes;
use std::sync::Arc;

/// What wakes a shard.
pub type Bell = Arc<Doorbell<Box<dyn Wake>>>;

/// What one shard sends another.
#[derive(Debug)]
pub enum ShardMail {
    /// From hub to hub.
    Hub(hub::Mail),
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

/// One shard's ends of all mailboxes.
pub struct Links {
    id: ShardId,
    /// Per shard; the own entry is never used.
    senders: Vec<Sender<ShardMail>>,
    receivers: Vec<Receiver<ShardMail>>,
    bells: Arc<[Bell]>,
    /// To whom something was posted since the last [`Links::ring`].
    posted: Vec<bool>,
    /// What threads that are not shards ask for.
    pub(crate) inbox: Inbox<Errand>,
}

impl Links {
    /// The links between `bells.len()` shards: one value per shard.
    pub(crate) fn connect(
        limits: &Limits,
        bells: Arc<[Bell]>,
        inboxes: &[Inbox<Errand>],
    ) -> Vec<Links> {
        let count = bells.len();
        let bytes_max = limits.mailbox_bytes_max / (count * count);
        let mut senders: Vec<Vec<_>> = (0..count).map(|_| Vec::new()).collect();
        let mut receivers: Vec<Vec<_>> = (0..count).map(|_| Vec::new()).collect();
        for (from, sender_row) in senders.iter_mut().enumerate() {
            for (to, receiver_row) in receivers.iter_mut().enumerate() {
                // Nobody writes to itself.
                let mails = if from == to { 1 } else { limits.mailbox_mails_max };
                let (sender, receiver) = mailbox::channel(mails, bytes_max);
                sender_row.push(sender);
                receiver_row.push(receiver);
            }
        }
        let ends = senders.into_iter().zip(receivers).zip(inboxes).enumerate();
        ends.map(|(id, ((senders, receivers), inbox))| Links {
            id: ShardId(id as u16),
            senders,
            receivers,
            bells: Arc::clone(&bells),
            posted: vec![false; count],
            inbox: inbox.clone(),
        })
        .collect()
    }

    /// Takes at most `budget` mails that `from` has sent.
    pub fn take(&mut self, from: ShardId, budget: usize, mut each: impl FnMut(ShardMail)) {
        let receiver = &mut self.receivers[from.index()];
        let mut taken = 0;
        while taken < budget
            && let Some(mail) = receiver.pop()
        {
            taken += 1;
            each(mail);
        }
        if taken > 0 && receiver.is_awaited() {
            self.bells[from.index()].ring();
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
        self.receivers.iter_mut().any(|receiver| !receiver.is_empty()) || !self.inbox.is_empty()
    }

    /// Sends a letter; `false` when there is no room for it.
    pub fn letter(&mut self, to: ConnectionId, kind: Kind, payload: Bytes) -> bool {
        let Some(sender) = self.senders.get_mut(to.shard.index()) else {
            return false;
        };
        self.posted[to.shard.index()] = true;
        let weight = payload.len();
        sender.push(ShardMail::Letter { to, kind, payload }, weight).is_ok()
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
    fn post(&mut self, to: ShardId, mail: hub::Mail, weight: usize) -> Result<(), hub::Mail> {
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
