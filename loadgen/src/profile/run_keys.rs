//! The keys of a run. Each is defined here and nowhere else.

use super::run::Profile;
use super::values::moment;
use std::time::Duration;
use tapecast::settings::Takes::{One, Several};
use tapecast::settings::{
    Key, all, duration, list, one, or_none, put, quoted, show_duration, show_time, within,
};

/// The shortest measurement: over less time, a rate means nothing.
const DURATION_MIN: Duration = Duration::from_millis(100);

/// Every key of a run.
pub const RUN_KEYS: &[Key<Profile>] = &[
    Key {
        name: "threads",
        takes: One("N"),
        text: "Threads, each with a ring and its share of the connections of every group.",
        set: |profile, values| {
            let threads = within(one(values)?, 1..=256).map(|threads| threads as u32);
            put(&mut profile.threads, threads)
        },
        get: |profile| profile.threads.to_string(),
    },
    Key {
        name: "core",
        takes: One("N"),
        text: "Core of the first thread. The other threads use the cores after it.",
        set: |profile, values| {
            let core = |text: &str| within(text, 0..=1023).map(|core| core as usize);
            put(&mut profile.core, or_none(values, core))
        },
        get: |profile| profile.core.map_or(String::new(), |core| core.to_string()),
    },
    Key {
        name: "ramp",
        takes: One("TIME"),
        text: "Time over which connections are opened, before the load starts. 0s opens them as \
               fast as the server accepts, 256 at a time per thread.",
        set: |profile, values| put(&mut profile.ramp, duration(one(values)?)),
        get: |profile| quoted(&show_duration(profile.ramp)),
    },
    Key {
        name: "warmup",
        takes: One("TIME"),
        text: "Time under load before the measurement starts.",
        set: |profile, values| put(&mut profile.warmup, duration(one(values)?)),
        get: |profile| quoted(&show_duration(profile.warmup)),
    },
    Key {
        name: "duration",
        takes: One("TIME"),
        text: "Time of the measurement, at least 100ms.",
        set: |profile, values| put(&mut profile.duration, measured(one(values)?)),
        get: |profile| quoted(&show_duration(profile.duration)),
    },
    Key {
        name: "start_at",
        takes: One("WHEN"),
        text: "Time at which the load starts, to align several machines: seconds since 1970, or a \
               time like 2026-11-21T12:00:00Z or 2026-11-21T13:00:00+01:00, UTC without an \
               offset. Connections are opened before it.",
        set: |profile, values| put(&mut profile.start_at, or_none(values, moment)),
        get: |profile| profile.start_at.map_or(String::new(), |when| quoted(&show_time(when))),
    },
    Key {
        name: "server_pid",
        takes: One("PID"),
        text: "Process of a local server: the report shows its CPU time per message, memory, \
               threads and descriptors over time.",
        set: |profile, values| {
            let pid = within(one(values)?, 1..=u32::MAX.into())?;
            put(&mut profile.server_pid, Ok(Some(pid as u32)))
        },
        get: |profile| profile.server_pid.map_or(String::new(), |pid| pid.to_string()),
    },
    Key {
        name: "fail_if",
        takes: Several("EXPRESSION"),
        text: "Exit with 1 if a value of the report is above or below a bound, like p99>5ms, \
               errors>0, gaps>0, rate_sent<990 or handshakes<100.",
        set: |profile, values| put(&mut profile.fail_if, all(values, str::parse)),
        get: |profile| list(&profile.fail_if),
    },
];

fn measured(text: &str) -> Result<Duration, String> {
    let found = duration(text)?;
    if found < DURATION_MIN {
        let (found, least) = (show_duration(found), show_duration(DURATION_MIN));
        return Err(format!("{found:?}: expected at least {least}"));
    }
    Ok(found)
}
