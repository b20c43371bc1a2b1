//! Sessions without a server: bounds, delays and deadlines.

use super::{Need, Session};
use crate::base::Time;
use crate::client::event::{Error, Event, Options, Subscribe};
use std::time::Duration;

fn session() -> Session {
    let url = "ws://127.0.0.1:9001/".parse().unwrap();
    Session::new(url, Options::default(), 7)
}

/// Unanswered requests do not pile up, with or without a connection.
#[test]
fn requests_in_flight_are_bounded() {
    let mut session = session();
    for _ in 0..session.options.requests_max {
        session.publish("a", None, "1").unwrap();
    }
    assert!(matches!(session.publish("a", None, "1"), Err(Error::Full)));
    assert!(matches!(session.publish("a", None, "{"), Err(Error::NotJson { at: 1, .. })));
    session.subscribe("a", &Subscribe::default()).unwrap();
    let again = session.subscribe("a", &Subscribe::default());
    assert!(matches!(again, Err(Error::Subscribed(_))));
}

#[test]
fn reconnecting_waits_for_a_delay_that_is_spread_and_doubles() {
    let mut session = session();
    let mut now = Time::ZERO;
    let mut longest = Duration::ZERO;
    for _ in 0..12 {
        assert_eq!(session.need(now), Need::Connect);
        session.lost(now, "refused");
        let Need::Wait(until) = session.need(now) else { panic!("a delay") };
        assert!(until - now <= session.options.backoff_max);
        longest = longest.max(until - now);
        now = until;
    }
    assert!(longest > Duration::from_secs(2), "{longest:?}");
}

#[test]
fn a_handshake_has_a_deadline() {
    let mut session = session();
    assert_eq!(session.need(Time::ZERO), Need::Connect);
    session.connected(Time::ZERO);
    assert!(session.outgoing().starts_with(b"GET / HTTP/1.1\r\n"));
    let Need::Wait(until) = session.need(Time::ZERO) else { panic!("a deadline") };
    assert_eq!(session.need(until), Need::Disconnect);
    let reason = "the handshake took too long".to_owned();
    assert_eq!(session.next_event(), Some(Event::Disconnected { reason }));
    assert!(matches!(session.need(until), Need::Wait(_) | Need::Connect));
}
