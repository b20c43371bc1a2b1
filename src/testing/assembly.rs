//! Shards on one simulated world, put together as a server does it.

use crate::admission::Addresses;
use crate::app::{CommandQueue, CommandSender, Handler, Publisher};
use crate::base::{Counters, Limits, ShardId, Wake};
use crate::driver::sim::{SimRing, World};
use crate::driver::{Driver, Setup};
use crate::hub::{Rule, Rules};
use crate::mailbox::Doorbell;
use crate::shard::links::{Bell, Links};
use crate::shard::{Command, Parts, Shard};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// Connections that a test shard has room for.
const SLOTS: usize = 1024;

/// `count` connected shards, and a publisher from outside.
/// `adjust` is shown the parts of each before they are put together.
///
/// # Panics
/// If the limits contradict each other, or a rule can't be.
pub(crate) fn assemble<H: Handler>(
    world: &World,
    limits: &Limits,
    rules: Vec<Rule>,
    count: u16,
    mut adjust: impl FnMut(&mut Parts),
    mut handler: impl FnMut() -> H,
) -> (Vec<Shard<H, SimRing>>, Publisher) {
    limits.check().expect("limits that hold");
    let rules = Arc::new(Rules::new(rules, limits).expect("rules that can be"));
    let setup = Setup::new(limits, SLOTS as u32);
    let rings: Vec<SimRing> = (0..count).map(|_| world.ring(setup.clone())).collect();
    let bell = |ring: &SimRing| -> Bell {
        let waker: Box<dyn Wake> = Box::new(ring.waker());
        Arc::new(Doorbell::new(waker))
    };
    let bells: Vec<Bell> = rings.iter().map(bell).collect();
    let commands = |_| CommandQueue::new(1024, limits.publish_overflow_bytes_max);
    let command_queues: Vec<CommandQueue> = (0..count).map(commands).collect();
    let links = Links::connect(limits, bells.clone().into(), &command_queues);
    let senders: Vec<CommandSender> = command_queues
        .into_iter()
        .zip(bells)
        .map(|(commands, doorbell)| CommandSender { commands, doorbell })
        .collect();
    let stopped = Arc::new(AtomicBool::new(false));
    let publisher = Publisher::new(senders.into(), 0, limits.message_bytes_max, stopped);
    let counters: Arc<[Counters]> = (0..count).map(|_| Counters::default()).collect();
    let command = Arc::new(Command::default());
    let addresses = Arc::new(Addresses::new(limits.connections_per_address_max, 3));
    let shards = rings.into_iter().zip(links).zip(0..).map(|((ring, links), id)| {
        let mut parts = Parts {
            id: ShardId(id),
            listeners: vec![false],
            tls: None,
            slots_max: SLOTS,
            links,
            counters: Arc::clone(&counters),
            command: Arc::clone(&command),
            addresses: Arc::clone(&addresses),
            home_seed: 0,
            epoch_seed: 1 + u64::from(id),
            rules: Arc::clone(&rules),
            limits: limits.clone(),
        };
        adjust(&mut parts);
        Shard::new(ring, handler(), parts)
    });
    (shards.collect(), publisher)
}
