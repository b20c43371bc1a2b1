//! Medians with their spread, and ratios: Tapecast's median to each server's.

use crate::cell::Cell;
use crate::measure::Run;

/// The results of one cell, by server.
pub struct Table<'a> {
    cell: &'a Cell,
    servers: Vec<(String, Vec<Run>)>,
}

impl<'a> Table<'a> {
    /// No results yet.
    pub fn new(cell: &'a Cell) -> Table<'a> {
        Table { cell, servers: Vec::new() }
    }

    /// The name of its cell.
    pub fn cell(&self) -> &str {
        &self.cell.name
    }

    /// Adds one run of a server.
    pub fn add(&mut self, server: &str, run: Run) {
        match self.servers.iter_mut().find(|(name, _)| name == server) {
            Some((_, runs)) => runs.push(run),
            None => self.servers.push((server.to_owned(), vec![run])),
        }
    }

    /// A table for people.
    pub fn markdown(&self) -> String {
        let columns: &[(&str, &str)] = match self.cell.scenario {
            "idle" => &[("server_resident_per_connection", "bytes per connection")],
            _ => &[
                ("server_cpu_per_message", "server CPU, µs per message"),
                ("throughput", "messages/s"),
                ("latency_p99", "p99, µs"),
                ("connection_min", "least served"),
                ("connection_median", "median served"),
                ("server_cpu", "server busy, %"),
            ],
        };
        // CPU or memory, and throughput if there is any.
        let ratios: &[(&str, &str)] = match columns {
            [first] => &[(first.0, "ratio")],
            [first, second, ..] => &[(first.0, "ratio of CPU"), (second.0, "of throughput")],
            [] => &[],
        };
        let titles: String =
            ratios.iter().chain(columns).map(|(_, title)| format!(" {title} |")).collect();
        let rules = "---|".repeat(ratios.len() + columns.len());
        let mut text = format!("\n### {}\n\n| server |{titles}\n|---|{rules}\n", self.cell.name);
        let own = self.servers.iter().find(|(name, _)| name == "tapecast");
        for (name, runs) in &self.servers {
            text += &format!("| {name} |");
            for (column, _) in ratios {
                let own = own.map_or(f64::NAN, |(_, runs)| Spread::of(runs, column).median);
                text += &format!(" {:.2} |", own / Spread::of(runs, column).median);
            }
            for (column, _) in columns {
                text += &format!(" {} |", Spread::of(runs, column));
            }
            text.push('\n');
        }
        text
    }
}

/// A median with the smallest and the largest value.
struct Spread {
    median: f64,
    least: f64,
    most: f64,
}

impl Spread {
    fn of(runs: &[Run], column: &str) -> Spread {
        let mut values: Vec<f64> = runs.iter().filter_map(|run| run.get(column).copied()).collect();
        values.sort_by(f64::total_cmp);
        let at = |index: usize| values.get(index).copied().unwrap_or(f64::NAN);
        Spread { median: at(values.len() / 2), least: at(0), most: at(values.len().max(1) - 1) }
    }
}

impl std::fmt::Display for Spread {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let precision = match self.median {
            value if value < 1.0 => 4,
            value if value < 100.0 => 2,
            _ => 0,
        };
        let Spread { median, least, most } = self;
        write!(formatter, "{median:.precision$} ({least:.precision$} to {most:.precision$})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_value() {
        let runs: Vec<Run> =
            [3.0, 1.0, 2.0].map(|value| Run::from([("a".to_owned(), value)])).into();
        let spread = Spread::of(&runs, "a");
        assert_eq!((spread.median, spread.least, spread.most), (2.0, 1.0, 3.0));
        assert_eq!(spread.to_string(), "2.00 (1.00 to 3.00)");
    }
}
