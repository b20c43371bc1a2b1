//! Whether there are local ports and descriptors for all connections, and cores for all
//! threads: checked before the first is made, for it is a riddle afterwards.

use crate::profile::Profile;
use rustix::thread::CpuSet;
use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, SocketAddr};

/// Descriptors that a thread needs besides its connections'.
const DESCRIPTORS_BESIDES: u64 = 100;

/// What is missing for this profile.
pub fn missing(profile: &Profile) -> Vec<String> {
    let range = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let mut missing = ports_missing(profile, &range);
    missing.extend(cores_missing(profile));
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    if let Some(limit) = limit.maximum {
        let each = u64::from(profile.connections().div_ceil(profile.threads));
        if each + DESCRIPTORS_BESIDES > limit {
            missing.push(format!(
                "{each} connections a thread need as many descriptors, and the hard limit is \
                 {limit}: raise it (ulimit -Hn), or give it more --threads"
            ));
        }
    }
    missing
}

/// Threads are pinned to cores that this process may use.
fn cores_missing(profile: &Profile) -> Option<String> {
    let first = profile.core?;
    let set = rustix::thread::sched_getaffinity(None).ok()?;
    let may_use = |core: &usize| *core < CpuSet::MAX_CPU && set.is_set(*core);
    let wanted = first..first + profile.threads as usize;
    let missing = wanted.clone().find(|core| !may_use(core))?;
    let usable: Vec<String> =
        (0..CpuSet::MAX_CPU).filter(may_use).map(|core| core.to_string()).collect();
    Some(format!(
        "core is {first} and threads are {}: there is no core {missing}; this process may use {}",
        profile.threads,
        usable.join(", ")
    ))
}

/// Two connections may share a local port when they go to different places; two
/// sockets that are bound to one address first may not.
fn ports_missing(profile: &Profile, range: &str) -> Vec<String> {
    let mut bounds = range.split_whitespace().filter_map(|word| word.parse::<u32>().ok());
    let (Some(first), Some(last)) = (bounds.next(), bounds.next()) else { return Vec::new() };
    let ports = (last + 1).saturating_sub(first);
    let mut to = BTreeMap::<SocketAddr, u32>::new();
    let mut from = BTreeMap::<IpAddr, u32>::new();
    for group in &profile.groups {
        let sources: Vec<IpAddr> =
            group.sources.iter().flat_map(|source| source.addresses.clone()).collect();
        if sources.is_empty() {
            for url in &group.urls {
                *to.entry(url.address()).or_default() +=
                    group.connections.div_ceil(group.urls.len() as u32);
            }
        }
        for source in &sources {
            *from.entry(*source).or_default() += group.connections.div_ceil(sources.len() as u32);
        }
    }
    let needs = |count: u32| count.div_ceil(ports.max(1));
    let to = to.iter().filter(|(_, count)| **count > ports).map(|(address, count)| {
        format!(
            "{count} connections to {address} need as many local ports, and there are {ports} \
             (net.ipv4.ip_local_port_range): give them {} addresses with --source",
            needs(*count)
        )
    });
    let from = from.iter().filter(|(_, count)| **count > ports).map(|(address, count)| {
        format!(
            "{count} connections from {address} need as many local ports, and there are {ports} \
             (net.ipv4.ip_local_port_range): give them {} times as many --source addresses",
            needs(*count)
        )
    });
    to.chain(from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::Group;
    use crate::profile::values::Url;

    fn profile(connections: u32, sources: &[&str]) -> Profile {
        let mut url: Url = "ws://127.0.0.1:9001/".parse().unwrap();
        url.resolve().unwrap();
        let group = Group {
            connections,
            urls: vec![url],
            sources: sources.iter().map(|source| source.parse().unwrap()).collect(),
            ..Group::default()
        };
        let mut profile = Profile::default();
        profile.groups = vec![group];
        profile
    }

    #[test]
    fn ports_are_counted_per_address() {
        let missing = |connections, sources: &[&str]| {
            ports_missing(&profile(connections, sources), "32768\t60999").join("; ")
        };
        assert_eq!(missing(28_232, &[]), "");
        assert!(missing(28_233, &[]).contains("give them 2 addresses"));
        assert_eq!(missing(100_000, &["127.0.0.2-127.0.0.5"]), "");
        assert!(missing(100_000, &["127.0.0.2-127.0.0.4"]).contains("33334 connections from"));
        assert_eq!(ports_missing(&profile(100_000, &[]), ""), Vec::<String>::new());
    }
}
