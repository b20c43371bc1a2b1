//! Writes the results: the summary to a terminal, the report to files, the verdict to the exit
//! code.

use crate::command::Outputs;
use crate::report::{self, Judgement, Report, Verdict};
use std::fmt;
use std::io::Write;
use std::process::ExitCode;

/// The command line or a profile is wrong.
const EXIT_USAGE: u8 = 2;
/// The scenario did not deliver all that it promises.
const EXIT_SUSPICIOUS: u8 = 3;

/// Shows a report, writes it to the files of `outputs`, and reports the verdict. Returns the
/// exit code.
pub fn finish(report: &Report, baseline: Option<&Report>, outputs: &Outputs) -> ExitCode {
    say(outputs, &report::summary(report));
    if let Some(baseline) = baseline {
        say(outputs, &report::compare(baseline, report));
    }
    let code = write(report, outputs);
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

/// Writes a report to the files of `outputs`.
fn write(report: &Report, outputs: &Outputs) -> ExitCode {
    let total = report.total();
    let written: [(&Option<String>, &dyn Fn() -> String); 5] = [
        (&outputs.json, &|| report.json()),
        (&outputs.csv, &|| report::csv(report)),
        (&outputs.hgrm, &|| report::hgrm(&total.latency)),
        (&outputs.prometheus, &|| report::prometheus(report)),
        (&outputs.html, &|| report::page(report)),
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

/// Writes a text for people: to the standard output, or, if a report goes there, to the
/// standard error.
pub fn say(outputs: &Outputs, text: &str) {
    // A run continues when its output has no reader any more.
    let _ = if outputs.takes_stdout() {
        std::io::stderr().write_all(text.as_bytes())
    } else {
        std::io::stdout().write_all(text.as_bytes())
    };
}

/// Writes a problem to the standard error.
pub fn complain(problem: impl fmt::Display) {
    let _ = writeln!(std::io::stderr(), "tapecast-loadgen: {problem}");
}

/// Writes the mistakes in the command line or the profile. Returns the exit code.
pub fn usage(problems: &[String]) -> ExitCode {
    for problem in problems {
        complain(problem);
    }
    ExitCode::from(EXIT_USAGE)
}
