//! `tapecast doctor`: checks the machine, one line for each check, with a fix for each that
//! fails.

use super::output::{EXIT_CONFIG, print};
use super::settings::{Settings, Shards};
use crate::base::Limits;
use crate::driver::{Setup, Uring};
use std::fmt;
use std::fs;
use std::process::ExitCode;

/// The severity of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Severity {
    /// As it should be.
    Fine,
    /// The server runs as configured; the machine could do better, or is too small for a
    /// default.
    Note,
    /// The server runs, but the machine cannot give something that was configured.
    Lost,
    /// The server can't run.
    Fatal,
}

/// The result of one check.
#[derive(Debug)]
struct Finding {
    severity: Severity,
    subject: &'static str,
    found: String,
    /// The remedy; empty if all is well.
    fix: String,
}

impl Finding {
    fn fine(subject: &'static str, found: impl Into<String>) -> Finding {
        Finding { severity: Severity::Fine, subject, found: found.into(), fix: String::new() }
    }

    fn lost(subject: &'static str, found: impl Into<String>, fix: impl Into<String>) -> Finding {
        Finding { severity: Severity::Lost, subject, found: found.into(), fix: fix.into() }
    }

    fn note(subject: &'static str, found: impl Into<String>, fix: impl Into<String>) -> Finding {
        Finding { severity: Severity::Note, subject, found: found.into(), fix: fix.into() }
    }

    /// Turns a loss into a note where this limit has its default.
    fn unless_default(self, settings: &Settings, limit: &str) -> Finding {
        if self.severity == Severity::Lost && !settings.is_set(&format!("limits.{limit}")) {
            Finding { severity: Severity::Note, ..self }
        } else {
            self
        }
    }

    fn fatal(subject: &'static str, found: impl Into<String>, fix: impl Into<String>) -> Finding {
        Finding { severity: Severity::Fatal, subject, found: found.into(), fix: fix.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Finding { severity, subject, found, fix } = self;
        let word = match severity {
            Severity::Fine => "ok",
            Severity::Note => "note",
            Severity::Lost => "warn",
            Severity::Fatal => "FAIL",
        };
        write!(formatter, "{word:<5} {subject:<18} {found}")?;
        if fix.is_empty() { Ok(()) } else { write!(formatter, "; fix: {fix}") }
    }
}

/// Runs every check. The exit code is that of the worst finding.
pub fn run(settings: Settings) -> ExitCode {
    let limits = &settings.limits;
    let findings = [
        kernel(&read("/proc/sys/kernel/osrelease")),
        disabled(&read("/proc/sys/kernel/io_uring_disabled")),
        seccomp(&read("/proc/self/status")),
        ring(limits),
        features(&read("/proc/sys/kernel/osrelease")),
        descriptors(limits).unless_default(&settings, "connections_max"),
        cores(settings.shards, &read("/sys/fs/cgroup/cpu.max")),
        memory(limits, &read("/proc/meminfo"), &read("/sys/fs/cgroup/memory.max"))
            .unless_default(&settings, "connections_max"),
        socket_memory(
            limits,
            &read("/proc/sys/net/ipv4/tcp_mem"),
            &read("/proc/sys/net/ipv4/tcp_wmem"),
            &read("/proc/sys/net/core/wmem_max"),
        )
        .unless_default(&settings, "socket_send_bytes"),
        backlog(limits, &read("/proc/sys/net/core/somaxconn"))
            .unless_default(&settings, "listen_backlog"),
        ports(&read("/proc/sys/net/ipv4/ip_local_port_range")),
        huge_pages(&read("/sys/kernel/mm/transparent_hugepage/enabled")),
        governor(&read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")),
    ];
    let mut worst = Severity::Fine;
    let mut lines = String::new();
    for finding in findings {
        lines += &format!("{finding}\n");
        worst = worst.max(finding.severity);
    }
    // The exit code reports it too.
    let _ = print(&lines);
    match worst {
        Severity::Fine | Severity::Note => ExitCode::SUCCESS,
        Severity::Lost => ExitCode::from(1),
        Severity::Fatal => ExitCode::from(EXIT_CONFIG),
    }
}

/// The kernel and its ring, for `--version`.
pub fn summary() -> String {
    let limits = Limits::default();
    let release = read("/proc/sys/kernel/osrelease");
    let ring = ring(&limits);
    format!("kernel {release}: {}\n{}", ring.found, features(&release).found)
}

/// The text of a kernel file, trimmed; empty if there is no such file.
fn read(path: &str) -> String {
    fs::read_to_string(path).map(|text| text.trim().to_owned()).unwrap_or_default()
}

/// Major and minor version.
fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

fn kernel(release: &str) -> Finding {
    match version(release) {
        Some(version) if version >= (6, 1) => Finding::fine("kernel", release),
        _ => Finding::fatal(
            "kernel",
            format!("{release:?} is older than 6.1, the first with deferred task work"),
            "run Linux 6.1 or later",
        ),
    }
}

/// Features of later kernels. The server uses none of them.
fn features(release: &str) -> Finding {
    let found = version(release).unwrap_or_default();
    let words: Vec<String> = [
        ((6, 7), "socket options through the ring"),
        ((6, 10), "receive bundles"),
        ((6, 12), "incremental buffers"),
    ]
    .iter()
    .map(|(since, name)| {
        format!("{name}: {}", if found >= *since { "available" } else { "not available" })
    })
    .collect();
    Finding::fine("newer features", format!("{}; none is needed", words.join(", ")))
}

fn disabled(value: &str) -> Finding {
    const SUBJECT: &str = "io_uring_disabled";
    match value {
        "" | "0" => Finding::fine(SUBJECT, "0"),
        value => Finding::fatal(
            SUBJECT,
            value,
            "sysctl kernel.io_uring_disabled=0 (1 allows members of kernel.io_uring_group only, 2 \
             nobody)",
        ),
    }
}

fn seccomp(status: &str) -> Finding {
    let mode = status.lines().find_map(|line| line.strip_prefix("Seccomp:")).map(str::trim);
    Finding::fine(
        "seccomp",
        match mode {
            Some("0") => "no filter",
            Some("1") => "strict mode",
            Some("2") => {
                "a filter is installed; the ring check below shows whether it allows io_uring"
            }
            _ => "not visible",
        },
    )
}

/// Sets up a ring as a shard does, with its self-test.
fn ring(limits: &Limits) -> Finding {
    match Uring::new(&Setup::new(limits, 64)) {
        Ok(_) => Finding::fine(
            "ring",
            "deferred task work, direct descriptors, provided buffers; the send self-test passed",
        ),
        Err(error) => Finding::fatal("ring", error.to_string(), "as the error says"),
    }
}

fn descriptors(limits: &Limits) -> Finding {
    use rustix::process::{Resource, getrlimit};
    const SUBJECT: &str = "descriptors";
    let wanted = limits.connections_max as u64 + 128;
    match getrlimit(Resource::Nofile).maximum {
        Some(maximum) if maximum < wanted => Finding::lost(
            SUBJECT,
            format!(
                "room for about {maximum} connections per shard, {} configured",
                limits.connections_max
            ),
            format!(
                "raise the hard limit of open files to {wanted} (LimitNOFILE= of a unit, \
                 --ulimit nofile of a container), or lower limits.connections_max"
            ),
        ),
        maximum => Finding::fine(
            SUBJECT,
            maximum.map_or("unlimited".to_owned(), |maximum| format!("at most {maximum}")),
        ),
    }
}

fn cores(shards: Shards, quota: &str) -> Finding {
    let available = std::thread::available_parallelism().map_or(1, usize::from);
    let quota = match quota {
        "" => String::new(),
        quota => format!(", cpu.max {quota:?}"),
    };
    match shards {
        Shards::Count(count) if usize::from(count.get()) > available => Finding::lost(
            "cores",
            format!("{count} shards, but {available} cores for this process{quota}"),
            format!("run at most {available} shards, or give the process more cores"),
        ),
        _ => Finding::fine("cores", format!("{available} for this process{quota}")),
    }
}

/// The least memory that the connections take, against the memory available.
fn memory(limits: &Limits, meminfo: &str, cgroup: &str) -> Finding {
    let field = |name: &str| {
        let line = meminfo.lines().find(|line| line.starts_with(name))?;
        line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kib| kib << 10)
    };
    let available = field("MemAvailable:").unwrap_or(u64::MAX);
    let available = cgroup.parse().unwrap_or(u64::MAX).min(available);
    let needed = limits.connections_max as u64 * CONNECTION_BYTES;
    let mib = |bytes: u64| format!("{} MiB", bytes >> 20);
    if needed <= available {
        return Finding::fine("memory", format!("{} available", mib(available)));
    }
    Finding::lost(
        "memory",
        format!(
            "{} idle connections take about {}, kernel included, of {}",
            limits.connections_max,
            mib(needed),
            mib(available)
        ),
        "lower limits.connections_max, or give the server more memory",
    )
}

/// Bytes of an idle connection: about 250 in the server, and 4.3 KiB in the kernel (socket,
/// file, pending receive; half of what both ends of 9,000 loopback connections took on Linux
/// 6.18).
const CONNECTION_BYTES: u64 = 5 << 10;

fn socket_memory(limits: &Limits, tcp_mem: &str, tcp_wmem: &str, wmem_max: &str) -> Finding {
    let number = |text: &str| text.split_whitespace().last()?.parse::<u64>().ok();
    let (Some(pages), Some(grown)) = (number(tcp_mem), number(tcp_wmem)) else {
        return Finding::fine("socket memory", "not visible");
    };
    let send_bytes = match limits.socket_send_bytes as u64 {
        0 => grown,
        set => number(wmem_max).map_or(set, |most| set.min(2 * most)),
    };
    let bytes = pages * rustix::param::page_size() as u64;
    let stalled = bytes / send_bytes.max(1);
    let found = format!(
        "{} MiB for all TCP sockets, which {stalled} stalled readers fill at {} KiB each",
        bytes >> 20,
        send_bytes >> 10
    );
    if stalled >= 1_000 {
        return Finding::fine("socket memory", found);
    }
    let fix = "lower limits.socket_send_bytes, or raise net.ipv4.tcp_mem";
    Finding::lost("socket memory", found, fix)
}

fn backlog(limits: &Limits, somaxconn: &str) -> Finding {
    match somaxconn.parse::<i64>() {
        Ok(most) if most < limits.listen_backlog.into() => Finding::lost(
            "backlog",
            format!("the kernel lowers {} to {most}", limits.listen_backlog),
            format!("sysctl net.core.somaxconn={}", limits.listen_backlog),
        ),
        Ok(most) => Finding::fine("backlog", format!("up to {most}")),
        Err(_) => Finding::fine("backlog", "not visible"),
    }
}

fn ports(range: &str) -> Finding {
    let mut ends = range.split_whitespace().map(str::parse::<u32>);
    match (ends.next(), ends.next()) {
        (Some(Ok(first)), Some(Ok(last))) => Finding::fine(
            "port range",
            format!(
                "{first} to {last}: {} connections from one address to one port, for load tests",
                last.saturating_sub(first) + 1
            ),
        ),
        _ => Finding::fine("port range", "not visible"),
    }
}

fn huge_pages(enabled: &str) -> Finding {
    if enabled.contains("[always]") {
        return Finding::note(
            "huge pages",
            "always: memory of idle connections may become resident in steps of 2 MiB",
            "echo madvise > /sys/kernel/mm/transparent_hugepage/enabled",
        );
    }
    Finding::fine("huge pages", if enabled.is_empty() { "none" } else { enabled })
}

fn governor(name: &str) -> Finding {
    match name {
        "" => Finding::fine("governor", "not visible"),
        "performance" | "schedutil" => Finding::fine("governor", name),
        name => Finding::note(
            "governor",
            format!("{name}: cores may run slower than they could"),
            "cpupower frequency-set -g performance",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_check_has_its_severity() {
        let check = |finding: Finding, severity, part: &str| {
            assert_eq!(finding.severity, severity, "{finding}");
            assert!(finding.to_string().contains(part), "{finding}");
            assert_eq!(severity == Severity::Fine, finding.fix.is_empty(), "{finding}");
        };
        check(kernel("6.1.0-17-amd64"), Severity::Fine, "6.1.0");
        check(kernel("5.15.0"), Severity::Fatal, "6.1 or later");
        check(kernel(""), Severity::Fatal, "6.1");
        check(features("6.8.0"), Severity::Fine, "socket options through the ring: available");
        check(features("6.8.0"), Severity::Fine, "incremental buffers: not available");
        check(disabled("2"), Severity::Fatal, "io_uring_disabled=0");
        check(disabled(""), Severity::Fine, "0");
        check(seccomp("Name:\tx\nSeccomp:\t2\n"), Severity::Fine, "a filter");
        let many = Limits { connections_max: 1 << 30, ..Limits::default() };
        check(descriptors(&many), Severity::Lost, "hard limit");
        check(cores(Shards::PerCore, "max 100000"), Severity::Fine, "cpu.max");
        check(memory(&many, "MemAvailable: 1000 kB", "max"), Severity::Lost, "connections_max");
        check(memory(&Limits::tiny(), "MemAvailable: 100000 kB", ""), Severity::Fine, "97 MiB");
        let sockets = |pages, send| {
            let limits = Limits { socket_send_bytes: send, ..Limits::default() };
            socket_memory(&limits, pages, "4096 16384 4194304", "212992")
        };
        check(sockets("1 2 1000", 1 << 20), Severity::Lost, "send_bytes");
        check(sockets("1 2 300000", 1 << 20), Severity::Fine, "416 KiB");
        check(sockets("1 2 300000", 0), Severity::Lost, "4096 KiB");
        check(backlog(&Limits::default(), "128"), Severity::Lost, "somaxconn=4096");
        check(ports("32768\t60999"), Severity::Fine, "28232 connections");
        check(huge_pages("[always] madvise never"), Severity::Note, "madvise >");
        let by_default = memory(&many, "MemAvailable: 1000 kB", "max");
        let by_default = by_default.unless_default(&Settings::default(), "connections_max");
        check(by_default, Severity::Note, "connections_max");
        check(huge_pages("always [madvise] never"), Severity::Fine, "madvise");
        check(governor("powersave"), Severity::Note, "performance");
    }
}
