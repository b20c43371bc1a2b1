//! A run from outside: starts its threads, lets the coordinator lead them, and collects their
//! findings.

use super::coordinator::Coordinator;
use super::failure::RunError;
use super::phase::{News, Phase};
use super::shared::Shared;
use super::worker;
use crate::measure::{Found, GroupFound};
use crate::plan::Plan;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::sync::atomic::AtomicBool;

/// Runs `plan` until its end, or until `stop` is set. `observe` receives news of it.
///
/// # Errors
/// There is no result. Faults of servers are part of one instead.
pub fn run(
    plan: &Plan,
    stop: &AtomicBool,
    observe: &mut dyn FnMut(News<'_>),
) -> Result<Found, RunError> {
    raise_descriptor_limit();
    let shared = &Shared::new(plan);
    std::thread::scope(|scope| {
        let mut threads = Vec::new();
        let started = (0..plan.threads).try_for_each(|thread| {
            let work = move || {
                let result = worker::run(plan, shared, thread);
                if result.is_err() {
                    shared.thread_has_failed();
                }
                result
            };
            let named = std::thread::Builder::new().name(format!("load-{thread}"));
            threads.push(named.spawn_scoped(scope, work)?);
            Ok(())
        });
        let led = started
            .map_err(RunError::Thread)
            .and_then(|()| Coordinator::new(plan, shared, stop, observe).lead());
        // The threads wait for this also when something failed.
        shared.enter(Phase::Over);
        let outcomes: Result<Vec<Vec<GroupFound>>, RunError> = threads
            .into_iter()
            .map(|thread| thread.join().expect("a worker does not panic"))
            .collect();
        let outcomes = outcomes?;
        let mut found = led?;
        found.groups = plan.groups.iter().map(|_| GroupFound::default()).collect();
        for of_thread in outcomes {
            for (group, of_thread) in found.groups.iter_mut().zip(of_thread) {
                group.merge(of_thread);
            }
        }
        Ok(found)
    })
}

/// Raises the soft limit of descriptors to the hard one.
fn raise_descriptor_limit() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
}
