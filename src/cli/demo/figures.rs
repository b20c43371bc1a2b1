//! Measurements of the server, published once a second: what it delivers, what that costs,
//! and how old a quote is when a reader receives it.

use crate::app::{Publish, Publisher, Shards};
use crate::base::Counters;
use crate::base::counters::Counter;
use crate::client::{Client, Event, Options, Subscribe};
use crate::hub::HubError;
use crate::tls::Trust;
use rustix::time::{ClockId, clock_gettime};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The topic of the figures.
pub const FIGURES: &str = "server";
/// The maximum ages kept between two publications.
const AGES_MAX: usize = 100_000;
/// The pause before the reader reconnects.
const RECONNECT_AFTER: Duration = Duration::from_secs(1);

/// Ages of quotes in microseconds, since the last publication.
pub type Ages = Arc<Mutex<Vec<u64>>>;

/// Subscribes to `topic` as any client does and records the age of each quote, until the
/// process ends.
pub fn read(url: &str, topic: &str, ages: &Ages) {
    let read = || -> Result<(), crate::client::Error> {
        // The server is this process.
        let options = Options { trust: Trust::Anybody, ..Options::default() };
        let mut client = Client::with_options(url, options)?;
        client.subscribe(topic, &Subscribe::default())?;
        loop {
            let Event::Message(message) = client.next()? else { continue };
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            let Some(at) = published_at(&message.body) else { continue };
            let age = u64::try_from(now.as_micros()).unwrap_or(u64::MAX).saturating_sub(at);
            let mut ages = ages.lock().unwrap_or_else(PoisonError::into_inner);
            if ages.len() < AGES_MAX {
                ages.push(age);
            }
        }
    };
    while let Err(error) = read() {
        tracing::debug!(%error, "the demo's own subscriber lost its connection");
        std::thread::sleep(RECONNECT_AFTER);
    }
}

/// The member `at` of a quote, which is its last.
fn published_at(body: &str) -> Option<u64> {
    body.rsplit_once(r#""at":"#)?.1.strip_suffix('}')?.parse().ok()
}

/// The 99th percentile; none if there are no values.
fn p99(values: &mut [u64]) -> Option<u64> {
    let place = values.len().checked_sub(1)? * 99 / 100;
    Some(*values.select_nth_unstable(place).1)
}

/// Publishes measurements every second, until the server has stopped.
pub fn publish(publisher: &Publisher, shards: &Shards, ages: &Ages) {
    let sum = |counter: fn(&Counters) -> &Counter| -> u64 {
        shards.counters.iter().map(|counters| counter(counters).get()).sum()
    };
    let look = || {
        let busy = clock_gettime(ClockId::ProcessCPUTime);
        let busy = Duration::new(busy.tv_sec.cast_unsigned(), busy.tv_nsec as u32);
        (Instant::now(), busy, sum(|it| &it.deliveries), sum(|it| &it.publications))
    };
    let mut before = look();
    loop {
        std::thread::sleep(Duration::from_secs(1));
        let after = look();
        let seconds = (after.0 - before.0).as_secs_f64();
        let per_second = |count: u64| count as f64 / seconds;
        let cpu = (after.1.saturating_sub(before.1)).as_secs_f64() / seconds;
        let deliveries = per_second(after.2 - before.2);
        let publications = per_second(after.3 - before.3);
        let mut ages = std::mem::take(&mut *ages.lock().unwrap_or_else(PoisonError::into_inner));
        let p99_us = p99(&mut ages).map_or("null".to_owned(), |age| age.to_string());
        let connections = sum(|it| &it.sessions);
        let shards = shards.counters.len();
        let json = format!(
            r#"{{"deliveries":{deliveries:.0},"publications":{publications:.0},"cpu":{cpu:.4},"p99_us":{p99_us},"connections":{connections},"shards":{shards}}}"#
        );
        let how = Publish { key: Some("figures"), json: true, ..Publish::default() };
        if publisher.publish_with(FIGURES, json.as_str(), &how) == Err(HubError::Stopped) {
            return;
        }
        before = after;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_come_from_the_times_of_messages() {
        assert_eq!(published_at(r#"{"bid":1.5,"at":17}"#), Some(17));
        assert_eq!(published_at(r#"{"bid":1.5}"#), None);
        assert_eq!(p99(&mut []), None);
        let mut values: Vec<u64> = (1..=1000).rev().collect();
        assert_eq!(p99(&mut values), Some(990));
    }
}
