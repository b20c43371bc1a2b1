//! The whole run, over all groups.

use super::group::Group;
use super::resources;
use crate::profile::{Profile, Scenario};
use std::time::{Duration, SystemTime};

/// A rehearsal opens this fraction of the connections.
const REHEARSAL: u32 = 40;

/// The whole run.
#[derive(Clone, Debug)]
pub struct Plan {
    pub threads: u32,
    /// The core of the first thread; the others follow.
    pub core: Option<usize>,
    /// Time over which connections are opened.
    pub ramp: Duration,
    pub warmup: Duration,
    pub duration: Duration,
    /// When the load starts, to line up several machines.
    pub start_at: Option<SystemTime>,
    pub server_pid: Option<u32>,
    pub groups: Vec<Group>,
}

impl Plan {
    /// Plans `profile`, and resolves its targets.
    ///
    /// # Errors
    /// Every reason why it can't run, in words.
    pub fn new(profile: &Profile) -> Result<Plan, Vec<String>> {
        let mut problems = Vec::new();
        let mut groups = Vec::new();
        for group in &profile.groups {
            match Group::new(group) {
                Ok(group) => groups.push(group),
                Err(found) => {
                    let place = profile.place(group);
                    problems.extend(found.into_iter().map(|problem| place.clone() + &problem));
                }
            }
        }
        let plan = Plan {
            threads: profile.threads,
            core: profile.core,
            ramp: profile.ramp,
            warmup: profile.warmup,
            duration: profile.duration,
            start_at: profile.start_at,
            server_pid: profile.server_pid,
            groups,
        };
        if problems.is_empty() {
            problems.extend(resources::missing(&plan.groups, plan.threads, plan.core));
        }
        if let Some(at) = plan.start_at.filter(|at| *at <= SystemTime::now()) {
            let at = humantime::format_rfc3339_seconds(at);
            problems.push(format!("start_at is {at}, which has passed: pass a later time"));
        }
        if problems.is_empty() { Ok(plan) } else { Err(problems) }
    }

    /// This plan at the rates of `profile`, which differs from its own only in them.
    pub fn paced_by(&self, profile: &Profile) -> Plan {
        let mut plan = self.clone();
        for (group, of_profile) in plan.groups.iter_mut().zip(&profile.groups) {
            group.pace = group.pace_of(of_profile);
        }
        plan
    }

    /// A small run before this one, which measures nothing.
    pub fn rehearsal(&self) -> Plan {
        let mut plan = self.clone();
        for group in &mut plan.groups {
            let connections = group.rooms.connections.div_ceil(REHEARSAL);
            group.rooms.connections = connections.max(self.threads);
        }
        (plan.warmup, plan.duration) = (Duration::ZERO, Duration::ZERO);
        plan
    }

    /// Connections of all groups.
    pub fn connections(&self) -> u32 {
        self.groups.iter().map(|group| group.rooms.connections).sum()
    }

    /// Whether all connections are held open and send nothing.
    pub fn is_idle(&self) -> bool {
        self.groups.iter().all(|group| group.scenario == Scenario::Idle)
    }

    /// Whether no group opens its connections over and over.
    pub fn all_stay(&self) -> bool {
        self.groups.iter().all(|group| group.scenario != Scenario::Connect)
    }
}
