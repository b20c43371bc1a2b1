//! `tapecast-loadgen`: loads any WebSocket server in the open model or a closed
//! loop, checks every byte that comes back, and says what the server spent.
//!
//! | file | what is there |
//! |---|---|
//! | `command` | the command line |
//! | `profile` | what a run does: keys, values, files, the built-in profiles |
//! | `ports` | whether there are local ports and descriptors for it |
//! | `run` | a run from outside: phases, threads, seconds |
//! | `worker` | one thread: a ring, its connections, the loop |
//! | `traffic` | what connections send, and what they make of what comes |
//! | `payload` | messages that can be checked |
//! | `schedule` | when messages leave, in the open model |
//! | `measure` | what is counted |
//! | `process` | what a local process costs |
//! | `report` | what a run found, as data and in every form |
//! | `live` | what is seen meanwhile |
//! | `verdict`, `find_max` | bounds on values, and the highest rate that keeps one |

mod command;
mod find_max;
mod live;
mod measure;
mod payload;
mod ports;
mod process;
mod profile;
mod report;
mod run;
mod schedule;
mod traffic;
mod verdict;
mod worker;

use command::{Order, Outputs, Run};
use live::Live;
use profile::{Profile, Scenario};
use report::{Judgement, Report, Verdict};
use run::RunError;
use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};
use verdict::FailIf;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The command line or a profile is wrong.
const EXIT_USAGE: u8 = 2;
/// The scenario did not deliver all that it promises.
const EXIT_SUSPICIOUS: u8 = 3;

fn main() -> ExitCode {
    match command::parse() {
        Order::Run(order) => run(&order),
        Order::Merge { files, fail_if, outputs } => merge(&files, &fail_if, &outputs),
    }
}

fn run(order: &Run) -> ExitCode {
    let mut profile = match Profile::load(&order.profile, order.flags.clone()) {
        Ok(profile) => profile,
        Err(problems) => return usage(&problems),
    };
    if order.print_profile {
        say(&Outputs::default(), &profile.text());
        return ExitCode::SUCCESS;
    }
    let mut problems = profile.find_targets();
    if problems.is_empty() {
        problems.extend(ports::missing(&profile));
    }
    problems.extend(order.find_max.as_ref().and_then(|_| find_max::check(&profile).err()));
    problems.extend(order.outputs.problems());
    if let Some(at) = profile.start_at.filter(|at| *at <= SystemTime::now()) {
        let at = humantime::format_rfc3339_seconds(at);
        problems.push(format!("start_at is {at}, which has passed: the others would be ahead"));
    }
    if !problems.is_empty() {
        return usage(&problems);
    }
    let baseline = match order.outputs.baseline.as_deref().map(Report::read).transpose() {
        Ok(baseline) => baseline,
        Err(problem) => return usage(&[problem]),
    };
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        // The first ends the run, the second the program.
        let result = signal_hook::flag::register_conditional_shutdown(signal, 1, Arc::clone(&stop))
            .and_then(|_| signal_hook::flag::register(signal, Arc::clone(&stop)));
        if let Err(error) = result {
            complain(format_args!("can't watch for signals: {error}"));
        }
    }
    let name = std::path::Path::new(&order.profile);
    let name =
        name.file_stem().map_or(order.profile.as_str().into(), |stem| stem.to_string_lossy());
    let measure = |profile: &Profile| -> Result<Report, RunError> {
        if profile.server_pid.is_some() && measures_memory(profile) {
            rehearse(profile, &stop)?;
        }
        let mut live = Live::new(order.is_plain);
        let mut found = run::run(profile, &stop, &mut |news| live.tell(news))?;
        Ok(Report::new(&name, profile, &mut found))
    };
    let result = match &order.find_max {
        None => measure(&profile),
        Some(objective) => match find_max::search(&profile, objective, measure) {
            Err(error) => Err(error),
            Ok(curve) => {
                say(&order.outputs, &curve.text(objective));
                match curve.best() {
                    Some(best) => Ok(best.report.clone()),
                    None => return ExitCode::FAILURE,
                }
            }
        },
    };
    let report = match result {
        Ok(report) => report,
        Err(error) => {
            complain(error);
            return ExitCode::FAILURE;
        }
    };
    let code = finish(&report, baseline.as_ref(), &order.outputs);
    end(&report, code)
}

/// The exit code of a run whose report was written with `code`.
fn end(report: &Report, code: ExitCode) -> ExitCode {
    let Judgement { verdict, reasons } = &report.judgement;
    for reason in reasons {
        complain(format_args!("{verdict}: {reason}"));
    }
    match verdict {
        Verdict::Passed => code,
        Verdict::Failed => ExitCode::FAILURE,
        Verdict::Suspicious => ExitCode::from(EXIT_SUSPICIOUS),
    }
}

/// Whether what a connection costs in memory is what it is about.
fn measures_memory(profile: &Profile) -> bool {
    profile.groups.iter().all(|group| group.scenario == Scenario::Idle)
}

/// Opens and closes a fortieth of the connections, and waits until the server has
/// let go of them: what a server sets up with its first connections is there before
/// and after, and what it keeps of closed ones can't pass for frugality.
fn rehearse(profile: &Profile, stop: &AtomicBool) -> Result<(), RunError> {
    let mut small = profile.clone();
    for group in &mut small.groups {
        group.connections = group.connections.div_ceil(40).max(profile.threads);
    }
    (small.warmup, small.duration) = (Duration::ZERO, Duration::ZERO);
    let Some(server) = profile.server_pid.map(process::Process::new) else { return Ok(()) };
    let failed = |error| RunError::Process(server.pid(), error);
    let at_start = server.sample().map_err(failed)?.descriptors;
    run::run(&small, stop, &mut |_| {})?;
    for _ in 0..100 {
        std::thread::sleep(Duration::from_millis(500));
        let left = server.sample().map_err(failed)?.descriptors;
        if left <= at_start + 16 || stop.load(Ordering::Relaxed) {
            break;
        }
    }
    Ok(())
}

fn merge(files: &[String], fail_if: &[FailIf], outputs: &Outputs) -> ExitCode {
    let problems = outputs.problems();
    if !problems.is_empty() {
        return usage(&problems);
    }
    let reports: Result<Vec<Report>, String> =
        files.iter().map(|file| Report::read(file)).collect();
    let merged = reports.and_then(|reports| {
        let mut reports: Vec<(&String, Report)> = files.iter().zip(reports).collect();
        reports.sort_by(|one, other| one.1.started.total_cmp(&other.1.started));
        let mut reports = reports.into_iter();
        let (_, mut merged) = reports.next().ok_or("no reports")?;
        for (file, other) in reports {
            merged.merge(&other).map_err(|problem| format!("{file}: {problem}"))?;
        }
        let baseline = outputs.baseline.as_deref().map(Report::read).transpose()?;
        Ok((merged, baseline))
    });
    match merged {
        Ok((mut merged, baseline)) => {
            merged.judge(fail_if);
            let code = finish(&merged, baseline.as_ref(), outputs);
            end(&merged, code)
        }
        Err(problem) => usage(&[problem]),
    }
}

/// Shows the report and writes it where it is wanted.
fn finish(report: &Report, baseline: Option<&Report>, outputs: &Outputs) -> ExitCode {
    say(outputs, &report::summary(report));
    if let Some(baseline) = baseline {
        say(outputs, &report::compare(baseline, report));
    }
    let total = report.total();
    let written: [(&Option<String>, &dyn Fn() -> String); 5] = [
        (&outputs.json, &|| report.json()),
        (&outputs.csv, &|| report::csv(report)),
        (&outputs.hgrm, &|| report::hgrm(&total.latency)),
        (&outputs.prometheus, &|| report::prometheus(report)),
        (&outputs.html, &|| report::html(report)),
    ];
    let mut code = ExitCode::SUCCESS;
    for (path, text) in written {
        let Some(path) = path else { continue };
        let result = match path.as_str() {
            "-" => std::io::stdout().write_all(text().as_bytes()),
            path => std::fs::write(path, text()),
        };
        if let Err(error) = result {
            complain(format_args!("{path}: {error}"));
            code = ExitCode::FAILURE;
        }
    }
    code
}

/// What is for people makes way for what is for programs.
fn say(outputs: &Outputs, text: &str) {
    let result = match outputs.takes_stdout() {
        true => std::io::stderr().write_all(text.as_bytes()),
        false => std::io::stdout().write_all(text.as_bytes()),
    };
    // Nobody is there to be told.
    let _ = result;
}

/// Says what is wrong, to whoever may be there.
fn complain(problem: impl std::fmt::Display) {
    let _ = writeln!(std::io::stderr(), "tapecast-loadgen: {problem}");
}

fn usage(problems: &[String]) -> ExitCode {
    for problem in problems {
        complain(problem);
    }
    ExitCode::from(EXIT_USAGE)
}
