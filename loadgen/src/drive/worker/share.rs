//! A group's connections on one thread: their traffic, their counts, and the order in which they
//! send.

use super::super::failure::RunError;
use super::super::shared::Shared;
use super::super::traffic::Traffic;
use crate::measure::{Counted, GroupFound};
use crate::plan::{Group, Pace, Schedule};
use crate::profile::Scenario;
use tapecast::base::Time;
use tapecast::tls::Connector;

/// A group's connections on one thread.
pub(super) struct Share<'a> {
    pub group: &'a Group,
    pub traffic: Traffic,
    pub counted: Counted,
    /// Counts of readers that stall.
    pub stalled: Option<Counted>,
    /// When readers that stall resume.
    pub stall_ends: Option<Time>,
    pub schedule: Option<Schedule>,
    /// Connections for which messages are planned, and the next one in turn.
    pub senders: Vec<u32>,
    pub turn: usize,
    /// Connect scenario: connections that may be opened, and how many are in flight.
    pub absent: Vec<u32>,
    pub in_flight: u32,
    /// Begins TLS, where a target uses it.
    pub connector: Option<Connector>,
}

impl<'a> Share<'a> {
    /// The share of the group `number`, whose connections on this thread have the numbers
    /// `own` in the group and `first` and up on the thread.
    pub fn new(
        shared: &Shared,
        group: &'a Group,
        number: usize,
        own: &[u32],
        first: u32,
    ) -> Result<Share<'a>, RunError> {
        let all = first..first + own.len() as u32;
        let sends = |peer: &u32| {
            !group.publishes() || group.rooms.publisher(own[(peer - first) as usize]).is_some()
        };
        let stalls = own.iter().any(|&connection| group.stalls(connection));
        Ok(Share {
            group,
            traffic: Traffic::new(group, own, shared.streams(number), shared.run()),
            counted: Counted::default(),
            stalled: stalls.then(Counted::default),
            stall_ends: None,
            schedule: None,
            senders: all.clone().filter(sends).collect(),
            turn: 0,
            absent: if group.connects() { all.rev().collect() } else { Vec::new() },
            in_flight: 0,
            connector: group.opening.connector().map_err(RunError::Tls)?,
        })
    }

    /// Its result.
    pub fn found(mut self) -> GroupFound {
        let per_connection = self.traffic.per_connection();
        GroupFound { counted: self.counted, stalled: self.stalled, per_connection }
    }

    /// This thread's part of the group's schedule, from `start` on: that of its senders.
    pub fn schedule(&self, start: Time, thread: u32, threads: u32) -> Option<Schedule> {
        let Pace::Open { steps, arrivals } = &self.group.pace else { return None };
        if self.senders.is_empty() || self.group.scenario == Scenario::Idle {
            return None;
        }
        let share = self.senders.len() as f64 / f64::from(self.group.senders());
        let mut steps = steps.clone();
        steps.iter_mut().for_each(|step| step.per_second *= share);
        Some(Schedule::new(*arrivals, steps, start, thread, threads))
    }

    /// Whether the group measures connecting.
    pub fn connects(&self) -> bool {
        self.group.connects()
    }

    /// Whether its connections open once, while measuring, and stay open.
    pub fn opens_once(&self) -> bool {
        self.connects() && (self.group.replies == 0 || self.group.opening.reconnect.is_none())
    }

    /// Whether it has nothing left to do.
    pub fn is_done(&self) -> bool {
        self.opens_once() && self.absent.is_empty() && self.in_flight == 0
    }
}
