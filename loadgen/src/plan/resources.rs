//! Whether there are local ports and descriptors for all connections, and cores for all
//! threads. It is checked before the first connection, because a run that lacks them fails
//! later with errors that don't name the cause.

use super::group::Group;
use super::opening::Opening;
use rustix::thread::CpuSet;
use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, SocketAddr};

/// Descriptors that a thread needs in addition to those of its connections.
const DESCRIPTORS_BESIDES: u64 = 100;

/// The resources that this machine lacks for these groups on `threads` threads, in words. The
/// first thread is pinned to `core`, the others follow.
pub(super) fn missing(groups: &[Group], threads: u32, core: Option<usize>) -> Vec<String> {
    let range = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let mut missing = ports_missing(groups, &range);
    missing.extend(core.and_then(|core| cores_missing(threads, core)));
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    if let Some(limit) = limit.maximum {
        let connections: u32 = groups.iter().map(Group::connections).sum();
        let each = u64::from(connections.div_ceil(threads));
        if each + DESCRIPTORS_BESIDES > limit {
            missing.push(format!(
                "{each} connections per thread need as many descriptors, and the hard limit is \
                 {limit}: raise it (ulimit -Hn), or pass more --threads"
            ));
        }
    }
    missing
}

/// The first core that a thread would be pinned to and this process may not use.
fn cores_missing(threads: u32, first: usize) -> Option<String> {
    let set = rustix::thread::sched_getaffinity(None).ok()?;
    let may_use = |core: &usize| *core < CpuSet::MAX_CPU && set.is_set(*core);
    let wanted = first..first + threads as usize;
    let missing = wanted.clone().find(|core| !may_use(core))?;
    let usable: Vec<String> =
        (0..CpuSet::MAX_CPU).filter(may_use).map(|core| core.to_string()).collect();
    Some(format!(
        "core is {first} and threads is {threads}: there is no core {missing}; this process may \
         use {}",
        usable.join(", ")
    ))
}

/// Two connections may share a local port if they go to different addresses. Two sockets
/// that are bound to one address may not.
fn ports_missing(groups: &[Group], range: &str) -> Vec<String> {
    let mut bounds = range.split_whitespace().filter_map(|word| word.parse::<u32>().ok());
    let (Some(first), Some(last)) = (bounds.next(), bounds.next()) else { return Vec::new() };
    let ports = (last + 1).saturating_sub(first);
    let mut to = BTreeMap::<SocketAddr, u32>::new();
    let mut from = BTreeMap::<IpAddr, u32>::new();
    for group in groups {
        let Opening { targets, sources, .. } = &group.opening;
        if sources.is_empty() {
            for target in targets {
                *to.entry(target.address).or_default() +=
                    group.connections().div_ceil(targets.len() as u32);
            }
        }
        for source in sources {
            *from.entry(*source).or_default() += group.connections().div_ceil(sources.len() as u32);
        }
    }
    let needs = |count: u32| count.div_ceil(ports.max(1));
    let to = to.iter().filter(|(_, count)| **count > ports).map(|(address, count)| {
        format!(
            "{count} connections to {address} need as many local ports, and there are {ports} \
             (net.ipv4.ip_local_port_range): pass {} addresses with --source",
            needs(*count)
        )
    });
    let from = from.iter().filter(|(_, count)| **count > ports).map(|(address, count)| {
        format!(
            "{count} connections from {address} need as many local ports, and there are {ports} \
             (net.ipv4.ip_local_port_range): pass {} times as many --source addresses",
            needs(*count)
        )
    });
    to.chain(from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile;

    fn groups(connections: u32, sources: &[&str]) -> Vec<Group> {
        let mut group = profile::Group { connections: 1, ..profile::Group::default() };
        group.opening.urls = vec!["ws://127.0.0.1:9001/".parse().unwrap()];
        group.opening.sources = sources.iter().map(|source| source.parse().unwrap()).collect();
        let mut group = Group::new(&group).unwrap();
        group.rooms.connections = connections;
        vec![group]
    }

    #[test]
    fn ports_are_counted_per_address() {
        let missing = |connections, sources: &[&str]| {
            ports_missing(&groups(connections, sources), "32768\t60999").join("; ")
        };
        assert_eq!(missing(28_232, &[]), "");
        assert!(missing(28_233, &[]).contains("pass 2 addresses"));
        assert_eq!(missing(100_000, &["127.0.0.2-127.0.0.5"]), "");
        assert!(missing(100_000, &["127.0.0.2-127.0.0.4"]).contains("33334 connections from"));
        assert_eq!(ports_missing(&groups(100_000, &[]), ""), Vec::<String>::new());
    }
}
