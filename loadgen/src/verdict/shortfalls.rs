//! Shortfalls of a run: messages and connections that its scenarios promise and that are
//! missing. Messages that may be in flight at the end are not held against it.

use crate::report::{Figures, Group, Report, amount};

/// The share of the promised messages that may be missing.
const MISSING_MAX: f64 = 0.05;
/// The share of connections that may fail.
const FAULTS_MAX: f64 = 0.01;
/// An end of a run without arrivals is suspicious if this many messages should have arrived in
/// it.
const IDLE_MESSAGES_MIN: f64 = 20.0;
/// In the open model, if this many messages were sent in it.
const IDLE_SENT_MIN: u64 = 5;
/// In the open model, messages that may be in flight at the end, whatever the latency is.
const IN_FLIGHT_MIN: f64 = 2.0;
/// A connection without a reply is suspicious if the median one has this many.
const USUAL_MIN: u64 = 20;

/// The ways in which a run fell short of what its scenarios promise, in words.
pub(super) fn shortfalls(report: &Report) -> Vec<String> {
    let mut missed = Vec::new();
    for group in &report.groups {
        let place = report.place(group);
        missed.extend(of_group(group, report.seconds).into_iter().map(|it| place.clone() + &it));
    }
    missed.extend(connections_at_the_end(report));
    missed.extend(silence_at_the_end(report));
    missed
}

/// The shortfalls of one group.
fn of_group(group: &Group, seconds: f64) -> Vec<String> {
    let figures = &group.figures;
    let mut missed = Vec::new();
    let is_idle = group.scenario == "idle";
    let what = match group.scenario.as_str() {
        "broadcast" | "topics" => "deliveries",
        "connect" => "connections that completed",
        _ => "replies",
    };
    if is_idle && figures.opened == 0 {
        missed.push("no connection was opened".to_owned());
    } else if !is_idle && figures.messages == 0 {
        let is_early = group.in_flight.is_none()
            && (figures.sent, figures.unanswered, figures.errors()) == (0, 0, 0);
        missed.push(if is_early {
            "no message was due".to_owned()
        } else {
            format!("there were no {what}")
        });
    } else if let Some(share) = missing_share(group, seconds) {
        let (got, promised) = (figures.messages as f64, group.promised as f64);
        missed.push(format!(
            "{:.0} % of the {what} are missing: {} of {} arrived",
            share * 100.0,
            amount(got),
            amount(promised)
        ));
    }
    // A connection that never opened is an error instead.
    let is_alike = group.connection_min > 0 || group.connection_median < USUAL_MIN;
    if group.scenario == "echo" && !is_alike && figures.errors() == 0 {
        let usual = amount(group.connection_median as f64);
        missed.push(format!("a connection received no reply, and the median one {usual}"));
    }
    if figures.gaps > 0 {
        missed.push(format!("{} messages are missing (gaps)", amount(figures.gaps as f64)));
    }
    if figures.duplicates > 0 {
        missed.push(format!("{} messages arrived twice", amount(figures.duplicates as f64)));
    }
    let faults = figures.errors() as f64;
    let attempts = f64::from(group.connections).max(figures.opened as f64 + faults);
    let of_connections = match group.scenario.as_str() {
        "connect" => attempts,
        _ => f64::from(group.connections),
    };
    if faults >= 1.0
        && faults >= FAULTS_MAX * of_connections
        && let Some(first) = figures.faults.iter().max_by_key(|fault| fault.count)
    {
        missed.push(format!("{} errors, most often: {}", amount(faults), first.kind));
    }
    missed
}

/// The share of the promised messages that is missing, if that is more than may be in flight
/// at the end.
fn missing_share(group: &Group, seconds: f64) -> Option<f64> {
    let Figures { messages, sent, .. } = group.figures;
    if group.promised == 0 {
        return None;
    }
    let missing = group.promised.saturating_sub(messages) as f64;
    let fan_out = group.promised as f64 / sent.max(1) as f64;
    let in_flight = match group.in_flight {
        Some(in_flight) => f64::from(in_flight) * f64::from(group.senders),
        // As many as are sent in the time that a slow reply took.
        None => {
            let slow_us = group.figures.uncorrected.us(99.0).unwrap_or_default();
            sent as f64 / seconds * slow_us / 1e6 + IN_FLIGHT_MIN
        }
    };
    let share = missing / group.promised as f64;
    (share > MISSING_MAX && missing > in_flight * fan_out.max(1.0)).then_some(share)
}

/// Connections that stay have to be open at the end.
fn connections_at_the_end(report: &Report) -> Option<String> {
    if report.is_interrupted {
        return None;
    }
    let staying: u32 = report.groups.iter().map(|group| group.staying).sum();
    let open = report.open_at_end?;
    let is_short = (open as f64) < f64::from(staying) * (1.0 - FAULTS_MAX);
    let (open, planned) = (amount(open as f64), amount(f64::from(staying)));
    is_short.then(|| format!("{open} of {planned} connections were open at the end"))
}

/// A server that dies or hangs half-way answers nothing until the end.
fn silence_at_the_end(report: &Report) -> Option<String> {
    let messages: u64 = report.rows.iter().map(|row| row.sums.messages).sum();
    let rows = report.rows.iter().rev().take_while(|row| row.sums.messages == 0);
    let idle: f64 = rows.clone().map(|row| row.lasting).sum();
    if messages == 0 || idle < (report.seconds * 0.1).max(0.5) {
        return None;
    }
    // In a closed loop a server that does not answer stops its clients too. Groups that connect
    // finish by themselves.
    let is_closed = |group: &Group| group.in_flight.is_some();
    let mut sending = report
        .groups
        .iter()
        .filter(|group| !["connect", "idle"].contains(&group.scenario.as_str()));
    let is_stalled = if sending.any(is_closed) {
        let busy = report.seconds - idle;
        messages as f64 / busy.max(0.1) * idle >= IDLE_MESSAGES_MIN
    } else {
        rows.map(|row| row.sums.sent).sum::<u64>() >= IDLE_SENT_MIN
    };
    is_stalled.then(|| format!("nothing arrived in the last {idle:.1} s"))
}
