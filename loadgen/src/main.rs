//! `tapecast-loadgen`: loads any WebSocket server in the open model or a closed loop, checks
//! every byte that returns, and reports the cost to the server.
//!
//! Data goes one way, from the first of these modules to the last. None of them imports a later
//! one; `drive` and `report` do not know each other.
//!
//! | module | subject |
//! |---|---|
//! | `profile` | the user's order: keys, values, files, the built-in profiles |
//! | `plan` | what will run: every default decided, every target resolved |
//! | `measure` | the counts of a run |
//! | `drive` | carries the plan out: phases, threads, connections, traffic |
//! | `report` | the findings of a run, as data and in every form |
//! | `verdict` | whether it passed, and the highest rate that keeps an objective |
//!
//! `command` is the command line, `live` the view during a run, `output` where results go.

mod command;
mod drive;
mod live;
mod measure;
mod output;
mod plan;
mod profile;
mod report;
mod verdict;

use command::{Order, Outputs, Run};
use drive::RunError;
use live::Live;
use output::{complain, finish, say, usage};
use plan::Plan;
use profile::Profile;
use profile::bound::FailIf;
use report::Report;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match command::parse() {
        Order::Run(order) => run(&order),
        Order::Merge { files, fail_if, outputs } => merge(&files, &fail_if, &outputs),
    }
}

fn run(order: &Run) -> ExitCode {
    let profile = match Profile::load(&order.profile, order.flags.clone()) {
        Ok(profile) => profile,
        Err(problems) => return usage(&problems),
    };
    if order.print_profile {
        say(&Outputs::default(), &profile.text());
        return ExitCode::SUCCESS;
    }
    let (plan, mut problems) = match Plan::new(&profile) {
        Ok(plan) => (Some(plan), Vec::new()),
        Err(problems) => (None, problems),
    };
    problems.extend(order.find_max.as_ref().and_then(|_| verdict::check(&profile).err()));
    problems.extend(order.outputs.problems());
    let (Some(plan), []) = (plan, &problems[..]) else { return usage(&problems) };
    let baseline = match order.outputs.baseline.as_deref().map(Report::read).transpose() {
        Ok(baseline) => baseline,
        Err(problem) => return usage(&[problem]),
    };
    let report = match measure(order, &profile, &plan) {
        Ok(Some(report)) => report,
        // The curve of a search, without a rate that keeps the objective, is written already.
        Ok(None) => return ExitCode::FAILURE,
        Err(error) => {
            complain(error);
            return ExitCode::FAILURE;
        }
    };
    finish(&report, baseline.as_ref(), &order.outputs)
}

/// Makes the run, or all runs of a search. Returns the report of the run, or of the best one.
fn measure(order: &Run, profile: &Profile, plan: &Plan) -> Result<Option<Report>, RunError> {
    let stop = stop_signal();
    let stem = Path::new(&order.profile).file_stem();
    let name = stem.map_or(order.profile.as_str().into(), |stem| stem.to_string_lossy());
    let measure = |profile: &Profile, plan: &Plan| {
        drive::rehearse(plan, &stop)?;
        let mut live = Live::new(order.is_plain);
        let mut found = drive::run(plan, &stop, &mut |news| live.show(news))?;
        let mut report = Report::new(&name, profile.text(), plan, &mut found);
        verdict::judge(&mut report, &profile.fail_if);
        Ok(report)
    };
    let Some(objective) = &order.find_max else { return measure(profile, plan).map(Some) };
    let curve = verdict::search(profile, objective, |profile| {
        match measure(profile, &plan.paced_by(profile)) {
            Err(RunError::Interrupted) => Ok(None),
            result => result.map(Some),
        }
    })?;
    say(&order.outputs, &curve.text(objective));
    Ok(curve.best().map(|best| best.report.clone()))
}

/// Set by SIGINT and SIGTERM. The first signal ends the run, the second one the program.
fn stop_signal() -> Arc<AtomicBool> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        let result = signal_hook::flag::register_conditional_shutdown(signal, 1, Arc::clone(&stop))
            .and_then(|_| signal_hook::flag::register(signal, Arc::clone(&stop)));
        if let Err(error) = result {
            complain(format_args!("can't watch for signals: {error}"));
        }
    }
    stop
}

fn merge(files: &[String], fail_if: &[FailIf], outputs: &Outputs) -> ExitCode {
    let problems = outputs.problems();
    if !problems.is_empty() {
        return usage(&problems);
    }
    let baseline = || outputs.baseline.as_deref().map(Report::read).transpose();
    match merged(files).and_then(|merged| Ok((merged, baseline()?))) {
        Ok((mut merged, baseline)) => {
            verdict::judge(&mut merged, fail_if);
            finish(&merged, baseline.as_ref(), outputs)
        }
        Err(problem) => usage(&[problem]),
    }
}

/// One report of those in `files`.
fn merged(files: &[String]) -> Result<Report, String> {
    let reports: Result<Vec<Report>, String> =
        files.iter().map(|file| Report::read(file)).collect();
    let mut reports: Vec<(&String, Report)> = files.iter().zip(reports?).collect();
    reports.sort_by(|one, other| one.1.started.total_cmp(&other.1.started));
    let mut reports = reports.into_iter();
    let (_, mut merged) = reports.next().ok_or("no reports")?;
    for (file, other) in reports {
        merged.merge(&other).map_err(|problem| format!("{file}: {problem}"))?;
    }
    Ok(merged)
}
