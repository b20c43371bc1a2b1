//! A small run before one that measures memory per connection. Memory that the server allocates
//! with its first connections is then there before and after, and memory that it keeps of closed
//! connections can't pass for a small footprint.

use super::failure::RunError;
use super::ledger::sample;
use super::run::run;
use crate::measure::Process;
use crate::plan::Plan;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Descriptors that the server may keep beyond those it had.
const DESCRIPTORS_LEFT_MAX: u64 = 16;
/// How often, and with which pause, the server's descriptors are looked at.
const LOOKS: u32 = 100;
const PAUSE: Duration = Duration::from_millis(500);

/// Opens and closes a fraction of the connections of a plan that holds connections open, and
/// waits until the server has released them. Does nothing for other plans, and where the
/// server's process is unknown.
///
/// # Errors
/// The small run has no result, or the server can't be sampled.
pub fn rehearse(plan: &Plan, stop: &AtomicBool) -> Result<(), RunError> {
    if !plan.is_idle() {
        return Ok(());
    }
    let server = plan.server_pid.map(Process::new);
    let Some(before) = sample(server)? else { return Ok(()) };
    run(&plan.rehearsal(), stop, &mut |_| {})?;
    for _ in 0..LOOKS {
        std::thread::sleep(PAUSE);
        let left = sample(server)?.map_or(0, |sample| sample.descriptors);
        if left <= before.descriptors + DESCRIPTORS_LEFT_MAX || stop.load(Ordering::Relaxed) {
            break;
        }
    }
    Ok(())
}
