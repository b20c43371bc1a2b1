//! The view of a run while it lasts: redrawn in a terminal, a line a second elsewhere. It
//! observes `drive` and knows nothing of its threads.

use crate::drive::{News, Phase};
use crate::measure::Row;
use crate::report::{amount, time};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::collections::VecDeque;
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

/// Seconds in the sparkline.
const SPARKS: usize = 24;
/// How often the opening of connections is reported where nothing is redrawn.
const EVERY: Duration = Duration::from_secs(1);

/// Shows what happens, on the standard error stream.
pub struct Live {
    view: Option<View>,
    /// When the last line on the opening of connections was printed.
    printed: Instant,
    /// Messages a second and 99th percentiles, the latest last.
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
    /// A view if the standard error stream is a terminal, and lines if it is not, or if
    /// `is_plain` is set.
    pub fn new(is_plain: bool) -> Live {
        let is_view = !is_plain && std::io::stderr().is_terminal();
        Live {
            view: is_view.then(View::new),
            printed: Instant::now(),
            throughput: VecDeque::new(),
            p99: VecDeque::new(),
            errors: 0,
        }
    }

    /// Shows a piece of news.
    pub fn show(&mut self, news: News<'_>) {
        match news {
            News::Opening { open, of } => {
                let words = format!("opening {} of {}", amount(open as f64), amount(of.into()));
                match &self.view {
                    Some(view) => view.state.set_message(words),
                    None if self.printed.elapsed() >= EVERY => {
                        self.printed = Instant::now();
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
        let a_second = |count: u64| amount((count as f64 / lasting).round());
        let us = |percentile| row.latency.value_at_percentile(percentile) as f64 / 1e3;
        push(&mut self.throughput, row.sums.messages as f64 / lasting);
        push(&mut self.p99, us(99.0));
        self.errors += row.sums.faults;
        let (sent, received) = (a_second(row.sums.sent), a_second(row.sums.messages));
        let (p50, p99) = (time(us(50.0)), time(us(99.0)));
        let latency = format!("p50 {p50}, p99 {p99}, max {}", time(row.latency.max() as f64 / 1e3));
        let open = amount(row.open() as f64);
        let busy = busy(row, lasting);
        let Some(view) = &self.view else {
            let number = row.number.map_or("warm-up".into(), |number| format!("{} s", number + 1));
            let errors = amount(row.sums.faults as f64);
            print(format_args!(
                "{number}: sent {sent}/s, received {received}/s, {latency}, {errors} errors, \
                 {open} open, {busy}"
            ));
            return;
        };
        let (rates, p99s) = (sparkline(&self.throughput), sparkline(&self.p99));
        view.rate.set_message(format!("{rates:<SPARKS$} {received}/s received, {sent}/s sent"));
        view.latency.set_message(format!("{p99s:<SPARKS$} {latency}"));
        let errors = amount(self.errors as f64);
        view.state.set_message(format!("{open} open, {errors} errors, {busy}"));
    }
}

/// How busy the generator and the server were.
fn busy(row: &Row, lasting: f64) -> String {
    let busiest = row.busy.iter().max().map_or(0.0, Duration::as_secs_f64) / lasting * 100.0;
    let mut text = format!("generator {busiest:.0} %");
    if let Some(sample) = &row.server {
        let busy = row.server_cpu.as_secs_f64() / lasting * 100.0;
        let megabytes = sample.resident_bytes as f64 / 1e6;
        text += &format!(", server {busy:.0} % {megabytes:.1} MB");
    }
    text
}

impl Drop for Live {
    /// The summary takes the place of the view.
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

/// Prints a line. A run continues when its lines have no reader any more.
fn print(line: std::fmt::Arguments<'_>) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

fn push(values: &mut VecDeque<f64>, value: f64) {
    if values.len() == SPARKS {
        values.pop_front();
    }
    values.push_back(value);
}

/// Values as blocks; the largest value is the highest block.
fn sparkline(values: &VecDeque<f64>) -> String {
    const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let most = values.iter().copied().fold(0.0, f64::max);
    let share = |value: &f64| if most > 0.0 { value / most } else { 0.0 };
    let block = |value: &f64| BLOCKS[((share(value) * 7.0).round() as usize).min(7)];
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
