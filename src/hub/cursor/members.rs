//! The members that this shard has on lists: a state per subscription, sent to the list's home
//! when there is room. A member that joins and leaves in between is never sent.

use crate::base::Slab;
use crate::hub::ids::MemberRef;
use std::sync::Arc;

/// The state of a member.
#[derive(Clone, Debug)]
pub struct Membership {
    /// The topic whose list it is on.
    pub topic: Arc<str>,
    /// Unique among the list's members.
    pub key: Arc<str>,
    pub name: Arc<str>,
    pub is_present: bool,
}

/// A subscriber that is listed.
#[derive(Debug)]
struct Member {
    state: Membership,
    /// The state that the list's home was sent last.
    posted: bool,
    /// The state is queued to be sent again.
    queued: bool,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Members {
    slab: Slab<Member>,
}

impl Members {
    /// A member joins the list of a topic.
    pub fn add(&mut self, topic: Arc<str>, key: &str, name: &str) -> u32 {
        let state = Membership { topic, key: key.into(), name: name.into(), is_present: true };
        self.slab.insert(Member { state, posted: false, queued: false }).0
    }

    /// A member leaves its list.
    pub fn leave(&mut self, index: u32) {
        self.slab.at_mut(index).expect("a subscription's member").state.is_present = false;
    }

    /// The list's home is to be sent a member's state. Returns its reference and its topic,
    /// unless that is queued already.
    pub fn queue(&mut self, index: u32) -> Option<(MemberRef, Arc<str>)> {
        let generation = self.slab.generation(index).expect("a member");
        let member = self.slab.at_mut(index).expect("a member");
        let was_queued = std::mem::replace(&mut member.queued, true);
        (!was_queued).then(|| ((index, generation), Arc::clone(&member.state.topic)))
    }

    /// The state of a member as its list's home is to be sent it now; nothing if the home knows
    /// it. A member that has left is forgotten.
    pub fn settle(&mut self, (index, generation): MemberRef) -> Option<Membership> {
        let member = self.slab.get_mut(index, generation)?;
        member.queued = false;
        let changed = member.state.is_present != member.posted;
        member.posted = member.state.is_present;
        let state = member.state.clone();
        if !state.is_present {
            self.slab.remove(index);
        }
        changed.then_some(state)
    }
}
