//! What is seen while a run goes on: a view that is redrawn in a terminal, and a
//! line a second elsewhere.

use crate::report::{amount, time};
use crate::run::{News, Phase, Row};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::collections::VecDeque;
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

/// Seconds in the sparkline.
const SPARKS: usize = 24;
/// How often progress is told where it is not redrawn.
const EVERY: Duration = Duration::from_secs(1);

/// Tells what happens on the standard error stream.
pub struct Live {
    view: Option<View>,
    told: Instant,
    /// Deliveries a second and 99th percentiles, the latest last.
    throughput: VecDeque<f64>,
    p99: VecDeque<f64>,
    errors: u64,
}

/// Lines that are redrawn.
struct View {
    _all: MultiProgress,
    progress: ProgressBar,
    rate: ProgressBar,
    latency: ProgressBar,
    state: ProgressBar,
}

impl Live {
    /// A view if the standard error stream is a terminal and nobody minds.
    pub fn new(is_plain: bool) -> Live {
        let is_view = !is_plain && std::io::stderr().is_terminal();
        Live {
            view: is_view.then(View::new),
            told: Instant::now(),
            throughput: VecDeque::new(),
            p99: VecDeque::new(),
            errors: 0,
        }
    }

    pub fn tell(&mut self, news: News<'_>) {
        match news {
            News::Opening { open, of } => {
                let words = format!("opening {} of {}", amount(open as f64), amount(of.into()));
                match &self.view {
                    Some(view) => view.state.set_message(words),
                    None if self.told.elapsed() >= EVERY => {
                        self.told = Instant::now();
                        print(format_args!("{words} connections"));
                    }
                    None => {}
                }
            }
            News::Progress { phase, elapsed, of } => {
                if let Some(view) = &self.view {
                    view.progress.set_length(of.as_millis() as u64);
                    view.progress.set_position(elapsed.as_millis() as u64);
                    view.progress.set_message(match phase {
                        Phase::WarmingUp => "warming up",
                        _ => "measuring",
                    });
                }
            }
            News::Second(row) => self.second(row),
        }
    }

    fn second(&mut self, row: &Row) {
        let lasting = row.lasting.as_secs_f64().max(1e-9);
        let a_second = |count: u64| count as f64 / lasting;
        let us = |percentile| row.latency.value_at_percentile(percentile) as f64 / 1e3;
        push(&mut self.throughput, a_second(row.sums.messages));
        push(&mut self.p99, us(99.0));
        self.errors += row.sums.faults;
        let server = match &row.server {
            None => String::new(),
            Some(sample) => format!(
                ", server {:.0} % {:.1} MB",
                row.server_cpu.as_secs_f64() / lasting * 100.0,
                sample.resident_bytes as f64 / 1e6
            ),
        };
        let busiest = row.busy.iter().max().map_or(0.0, Duration::as_secs_f64) / lasting * 100.0;
        let Some(view) = &self.view else {
            let number = row.number.map_or("warm-up".into(), |number| format!("{} s", number + 1));
            print(format_args!(
                "{number}: sent {}/s, received {}/s, p50 {}, p99 {}, max {}, {} errors, {} open, \
                 generator {busiest:.0} %{server}",
                amount(a_second(row.sums.sent).round()),
                amount(a_second(row.sums.messages).round()),
                time(us(50.0)),
                time(us(99.0)),
                time(row.latency.max() as f64 / 1e3),
                amount(row.sums.faults as f64),
                amount(row.open() as f64),
            ));
            return;
        };
        view.rate.set_message(format!(
            "{:<SPARKS$} {}/s received, {}/s sent",
            sparkline(&self.throughput),
            amount(a_second(row.sums.messages).round()),
            amount(a_second(row.sums.sent).round())
        ));
        view.latency.set_message(format!(
            "{:<SPARKS$} p50 {}, p99 {}, max {}",
            sparkline(&self.p99),
            time(us(50.0)),
            time(us(99.0)),
            time(row.latency.max() as f64 / 1e3)
        ));
        view.state.set_message(format!(
            "{} open, {} errors, generator {busiest:.0} %{server}",
            amount(row.open() as f64),
            amount(self.errors as f64)
        ));
    }
}

impl Drop for Live {
    /// The summary takes its place.
    fn drop(&mut self) {
        if let Some(view) = &self.view {
            for line in [&view.progress, &view.rate, &view.latency, &view.state] {
                line.finish_and_clear();
            }
        }
    }
}

impl View {
    fn new() -> View {
        let all = MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(10));
        let line = |name: &str| {
            let style = ProgressStyle::with_template(&format!("{name:<11} {{wide_msg}}"));
            all.add(ProgressBar::new(1).with_style(style.expect("the template is right")))
        };
        let template = "{msg:<11} {wide_bar:.blue} {eta} left";
        let style = ProgressStyle::with_template(template).expect("the template is right");
        let progress = all.add(ProgressBar::new(1).with_style(style));
        progress.set_message("opening");
        let (rate, latency, state) = (line("throughput"), line("p99"), line(""));
        View { _all: all, progress, rate, latency, state }
    }
}

/// Prints a line; a run goes on when nobody reads them any more.
fn print(line: std::fmt::Arguments<'_>) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

fn push(values: &mut VecDeque<f64>, value: f64) {
    if values.len() == SPARKS {
        values.pop_front();
    }
    values.push_back(value);
}

/// Values as blocks, the largest of them the highest.
fn sparkline(values: &VecDeque<f64>) -> String {
    const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let most = values.iter().copied().fold(0.0, f64::max);
    let block = |value: &f64| match most > 0.0 {
        true => BLOCKS[((value / most * 7.0).round() as usize).min(7)],
        false => BLOCKS[0],
    };
    values.iter().map(block).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sparkline_rises_with_its_values() {
        let values: VecDeque<f64> = [0.0, 5.0, 10.0].into();
        assert_eq!(sparkline(&values), "▁▅█");
        assert_eq!(sparkline(&[0.0, 0.0].into()), "▁▁");
    }
}
