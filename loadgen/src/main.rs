//! `tapecast-loadgen`: drives a WebSocket server in closed loop or at a rate, checks every
//! byte that comes back, and says what the server spent.
//!
//! | file | what is there |
//! |---|---|
//! | `arguments` | the command line, resolved |
//! | `worker` | one thread: a ring, its connections, the loop |
//! | `payload` | messages that can be checked |
//! | `echo`, `broadcast` | what a connection sends, and when |
//! | `schedule` | when messages leave, in the open model |
//! | `verdict` | what makes a run a failure |
//! | `process` | what a local server process costs |
//! | `report` | numbers for people and programs |

mod arguments;
mod broadcast;
mod echo;
mod payload;
mod process;
mod report;
mod schedule;
mod verdict;
mod worker;

use arguments::{Arguments, Scenario};
use clap::Parser;
use process::Process;
use report::Report;
use std::process::ExitCode;
use std::time::Duration;
use worker::{Counted, Failure};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments) {
        Ok(report) => {
            match arguments.json {
                true => println!("{}", report.json()),
                false => print!("{}", report.text()),
            }
            let failures = report.failures(&arguments.fail_if);
            for failure in &failures {
                eprintln!("tapecast-loadgen: {failure}");
            }
            match failures.is_empty() {
                true => ExitCode::SUCCESS,
                false => ExitCode::FAILURE,
            }
        }
        Err(failure) => {
            eprintln!("tapecast-loadgen: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<Report, Failure> {
    let server = arguments.server_pid.map(Process::new);
    if arguments.scenario == Scenario::Idle {
        return idle(arguments, server.as_ref());
    }
    let clock = worker::Phases::new(arguments.warmup, arguments.duration, arguments.threads);
    let counted = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..arguments.threads)
            .map(|number| {
                let clock = clock.clone();
                scope.spawn(move || worker::run(arguments, number, &clock))
            })
            .collect();
        let result = clock.measure(server.as_ref());
        let mut counted = Counted::default();
        for thread in threads {
            counted.merge(thread.join().expect("a worker does not panic")?);
        }
        Ok((counted, result?))
    });
    let (counted, spent) = counted?;
    Ok(Report::new(arguments, &counted, spent))
}

/// Compares the server's resident memory without and with the connections, after a
/// warm-up of a fortieth of them: what a server sets up with its first connections
/// is there before and after, and what it keeps of closed ones can't pass for
/// frugality.
fn idle(arguments: &Arguments, server: Option<&Process>) -> Result<Report, Failure> {
    let server = server.ok_or(Failure::NoServerPid)?;
    let at_start = server.sample()?.descriptors;
    worker::open_idle(arguments, arguments.connections.div_ceil(40))?.close()?;
    // A server that has not let go of them would be measured with both.
    for _ in 0..100 {
        settle();
        if server.sample()?.descriptors <= at_start + 16 {
            break;
        }
    }
    let without = server.sample()?;
    let held = worker::open_idle(arguments, arguments.connections)?;
    settle();
    let with = server.sample()?;
    let connections = held.len();
    held.close()?;
    Ok(Report::idle(connections, &without, &with))
}

fn settle() {
    std::thread::sleep(Duration::from_millis(500));
}
