//! Precedence, origins, mistakes, and what every key promises.

use super::keys::KEYS;
use super::sources::{Sources, is_service_link};
use super::{Flags, Settings, Shards, reference, topics};
use crate::base::Limits;
use crate::hub::{Access, Rule, SlowReader};
use crate::settings::{Assignment, Origin, faults};
use clap::Args;
use std::num::NonZeroU16;

fn sources(config: &str, environment: &[(&str, &str)], flags: &[(&str, &str)]) -> Sources {
    static COUNT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let mut sources = Sources::default();
    if !config.is_empty() {
        let number = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let name = format!("tapecast-settings-{}-{number}.toml", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, config).unwrap();
        sources.config = Some(path.display().to_string());
    }
    sources.environment =
        environment.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    for (key, value) in flags {
        let origin = Origin::Flag(format!("--{key}"));
        let values = vec![value.to_string()];
        sources.flags.push(Assignment { key: key.to_string(), values, origin });
    }
    sources
}

/// The problems, with the temporary file's name taken off.
fn problems(sources: Sources) -> Vec<String> {
    let path = sources.config.clone().unwrap_or("no file".into());
    let problems = sources.resolve().expect_err("a problem");
    problems.iter().map(|problem| problem.to_string().replace(&path, "FILE")).collect()
}

#[test]
fn flags_win_over_environment_over_file_over_profile() {
    let all = || {
        sources(
            "profile = \"latency\"\nshards = 2\nlog = \"warn\"\nlimits.head_bytes_max = \"8 KiB\"",
            &[("TAPECAST_SHARDS", "3"), ("TAPECAST_LIMITS_CONNECTIONS_MAX", "77")],
            &[("shards", "4")],
        )
    };
    let settings = all().resolve().unwrap();
    assert_eq!(settings.shards, Shards::Count(NonZeroU16::new(4).unwrap()));
    assert_eq!(settings.log, "warn");
    assert_eq!(settings.limits.head_bytes_max, 8 << 10);
    assert_eq!(settings.limits.connections_max, 77);
    let effective = settings.effective();
    let origin_of = |key: &str| {
        let line = effective.lines().find(|line| line.starts_with(key)).expect(key);
        line.split_once('#').unwrap().1.trim().to_owned()
    };
    assert_eq!(origin_of("shards"), "--shards");
    assert_eq!(origin_of("connections_max"), "TAPECAST_LIMITS_CONNECTIONS_MAX");
    assert!(origin_of("log ").ends_with(".toml:3"));
    assert_eq!(origin_of("listen"), "default");
    assert!(origin_of("spin_us").starts_with("profile latency:"), "{effective}");
    // The output is a configuration file with the same meaning.
    let again = sources(&effective, &[], &[]).resolve().unwrap();
    assert_eq!((again.limits, again.shards), (settings.limits, settings.shards));
}

#[test]
fn the_strongest_source_decides_the_profile() {
    let settings =
        sources("profile = \"latency\"", &[], &[("profile", "memory")]).resolve().unwrap();
    assert_eq!(settings.limits.spin_us, 0);
}

#[test]
fn every_profile_can_be_used() {
    for name in ["throughput", "latency", "memory", "container"] {
        sources("", &[], &[("profile", name)]).resolve().unwrap();
    }
}

#[test]
fn every_mistake_is_reported_with_its_place() {
    let check = |sources, expected: &[&str]| assert_eq!(problems(sources), expected);
    check(
        sources("\n[limits]\nconections_max = 5\n", &[], &[]),
        &["FILE:3: unknown key limits.conections_max: did you mean limits.connections_max?"],
    );
    check(
        sources("shards = 0\nlog_format = \"xml\"", &[], &[]),
        &[
            "FILE:1: shards: \"0\": expected a number from 1 to 65535, or per-core",
            "FILE:2: log_format: \"xml\": expected text or json",
        ],
    );
    check(
        sources("", &[("TAPECAST_LISTEN", "localhost")], &[]),
        &["TAPECAST_LISTEN: listen: \"localhost\": expected HOST:PORT, like 127.0.0.1:9001, \
           [::1]:9001, localhost:9001 or :9001, with wss:// before it for TLS, or unix:PATH"],
    );
    check(
        sources("listen = [\"wss://127.0.0.1:1\"]", &[], &[]),
        &["FILE:1: listen: a wss:// address needs tls_cert and tls_key"],
    );
    check(
        sources("tls_cert = \"a.pem\"", &[], &[]),
        &["FILE:1: tls_cert: listen has no wss:// address to use it on"],
    );
    check(
        sources("listen = [\"wss://127.0.0.1:1\"]\ntls_cert = \"a.pem\"", &[], &[]),
        &["default: tls_key: 0 for 1 in tls_cert: each certificate needs its own"],
    );
    check(
        sources("[limits]\nreceive_buffers = 3", &[], &[]),
        &["FILE:2: limits.receive_buffers is 3: expected a power of two up to 16384"],
    );
    check(
        sources("[limits]\nhead_bytes_max = 1.5", &[], &[]),
        &["FILE:2: limits.head_bytes_max: expected a string or a whole number"],
    );
    check(
        sources("", &[], &[("profile", "lateny")]),
        &["--profile: profile: \"lateny\": expected container, latency, memory, throughput, or a \
           file that ends in .toml: did you mean latency?"],
    );
    check(
        sources("", &[], &[("admin", "0.0.0.0:9090")]),
        &["--admin: admin: 0.0.0.0:9090 is not a loopback address: set admin_token_file, whose \
           token every request then carries"],
    );
    assert!(problems(sources("listen = [", &[], &[]))[0].starts_with("FILE:1: "));
    let none = sources("", &[], &[("routes", "")]).resolve().unwrap();
    assert!(none.routes.is_empty());
    check(
        sources("", &[("TAPECAST_ROUTES", "/echo, /brodcast")], &[]),
        &[
            "TAPECAST_ROUTES: routes: \"/brodcast\": expected /echo, /ws or /broadcast: did you mean \
           /broadcast?",
        ],
    );
    // Syntax, kinds, values and contradictions, each with its line, in one round.
    check(
        sources("shards = \nlog = 1979-05-27\nadmin = \"x\"\nlog_format = [", &[], &[]),
        &[
            "FILE:1: string values must be quoted, expected literal string",
            "FILE:2: log: expected a string or a whole number",
            "FILE:4: unclosed array, expected `]`",
        ],
    );
    check(
        sources(
            "shards = 0\nadmin = \"0.0.0.0:9090\"\n[limits]\ndrain_ms = \"5KiB\"\n\
             receive_buffers = 3\npong_ms = 0\n[[topics]]\npattern = \"a..b\"",
            &[],
            &[],
        ),
        &[
            "FILE:1: shards: \"0\": expected a number from 1 to 65535, or per-core",
            "FILE:4: limits.drain_ms: \"5KiB\": expected a number of milliseconds, or one with \
             ms, s, min or h behind it",
            "FILE:6: limits.pong_ms is 0: expected 1 to 1099511627776",
            "FILE:5: limits.receive_buffers is 3: expected a power of two up to 16384",
            "FILE:2: admin: 0.0.0.0:9090 is not a loopback address: set admin_token_file, whose \
             token every request then carries",
            "FILE:8: topics: pattern is \"a..b\": expected a topic's name, in which * stands for \
             a segment, and > at the end for one or more",
        ],
    );
    // Nothing is said about contradictions with a value of the wrong type.
    check(
        sources(
            "shards = 0\nfoo = 1\nlimits = { drain_ms = 1.5, pong_ms = \"x\", close_ms = 2.5, \
             message_bytes_max = \"32MiB\", queued_bytes_max = \"64 MB\" }",
            &[],
            &[],
        ),
        &[
            "FILE:3: limits.close_ms: expected a string or a whole number",
            "FILE:3: limits.drain_ms: expected a string or a whole number",
            "FILE:1: shards: \"0\": expected a number from 1 to 65535, or per-core",
            "FILE:2: unknown key foo",
            "FILE:3: limits.pong_ms: \"x\": expected a number of milliseconds, or one with ms, s, \
             min or h behind it",
            "FILE:3: limits.queued_bytes_max: \"64 MB\": expected a number of bytes, or one with \
             KiB, MiB or GiB behind it",
        ],
    );
    let mut missing = sources("", &[], &[]);
    missing.config = Some("/no/such/file.toml".into());
    assert!(missing.resolve().unwrap_err()[0].to_string().starts_with("--config: "));
}

#[test]
fn numbers_are_read_as_toml_and_people_write_them() {
    let limits = sources(
        "limits = { head_bytes_max = 0x1000, pong_ms = \"5s\", close_ms = 1_000, spin_us = +7 }",
        &[("TAPECAST_LIMITS_DRAIN_MS", "2 min"), ("TAPECAST_LIMITS_SPIN_US", "1ms")],
        &[],
    );
    let limits = limits.resolve().unwrap().limits;
    assert_eq!((limits.head_bytes_max, limits.pong_ms, limits.close_ms), (4096, 5_000, 1_000));
    assert_eq!((limits.drain_ms, limits.spin_us), (120_000, 1_000));
}

#[test]
fn variables_give_lists_and_those_of_kubernetes_are_ignored() {
    let listen = [("TAPECAST_LISTEN", "127.0.0.1:1, unix:/a"), ("TAPECAST_ROUTES", "")];
    let settings = sources("", &listen, &[]).resolve().unwrap();
    assert_eq!((settings.listen.len(), settings.routes.len()), (2, 0));
    let certificates = [("TAPECAST_TLS_CERT", "a.pem,b.pem"), ("TAPECAST_TLS_KEY", "a.key,b.key")];
    let problem = &problems(sources("listen = \"wss://127.0.0.1:1\"", &certificates, &[]))[0];
    assert!(problem.contains("a.pem"), "{problem}");
    for (name, value) in [
        ("TAPECAST_SERVICE_HOST", "10.0.0.1"),
        ("TAPECAST_SERVICE_PORT", "9001"),
        ("TAPECAST_SERVICE_PORT_WS", "9001"),
        ("TAPECAST_PORT", "tcp://10.0.0.1:9001"),
        ("TAPECAST_PORT_9001_TCP", "tcp://10.0.0.1:9001"),
        ("TAPECAST_PORT_9001_TCP_ADDR", "10.0.0.1"),
        ("TAPECAST_ADMIN_SERVICE_HOST", "10.0.0.1"),
        ("TAPECAST_ADMIN_PORT", "tcp://10.0.0.1:9090"),
        ("TAPECAST_ADMIN_PORT_9090_UDP_PROTO", "udp"),
        ("TAPECAST_LIMITS_SERVICE_PORT", "1"),
    ] {
        assert!(is_service_link(name, value), "{name}");
    }
    for (name, value) in [
        ("TAPECAST_LISTEN", "127.0.0.1:1"),
        ("TAPECAST_PORT", "9001"),
        ("TAPECAST_ADMIN", "127.0.0.1:1"),
        ("TAPECAST_LIMITS_PONG_MS", "1"),
    ] {
        assert!(!is_service_link(name, value), "{name}");
    }
}

const RULES: &str = r#"
[[topics]]
pattern = "quotes.>"
delivery = ["latest"]
slow_reader = "conflate"
retention_bytes = "64 KiB"
members_max = 10

[[topics]]
pattern = "ops"
publish = "server"
"#;

#[test]
fn rules_of_topics_come_from_the_file_in_their_order() {
    let settings = sources(RULES, &[], &[]).resolve().unwrap();
    let [quotes, ops] = &settings.rules[..] else { panic!("two rules") };
    assert_eq!((quotes.pattern.as_str(), quotes.retention_bytes), ("quotes.>", 64 << 10));
    assert!(!quotes.allow_all && quotes.allow_latest);
    assert_eq!((quotes.slow_reader, ops.publish), (SlowReader::Conflate, Access::Server));
    let effective = settings.effective();
    let line = effective.lines().find(|line| line.starts_with("slow_reader = \"conflate\""));
    assert!(line.unwrap().ends_with(".toml:5"), "{line:?}");
    let again = sources(&effective, &[], &[]).resolve().unwrap();
    assert_eq!(again.rules, settings.rules);
    let none = Settings::default();
    let expected = ("topics".to_owned(), "0 rules".to_owned(), "2 rules".to_owned());
    assert!(none.differences(&settings).contains(&expected));
    assert!(!Settings::is_reloadable("topics"));
}

#[test]
fn a_bad_rule_is_reported_with_its_place() {
    let check = |text, expected: &[&str]| assert_eq!(problems(sources(text, &[], &[])), expected);
    check(
        "[[topics]]\npattern = \"a\"\nflushms = 1\nslow_reader = \"drop\"\n",
        &[
            "FILE:3: topics: unknown key flushms: did you mean flush_ms?",
            "FILE:4: topics: slow_reader: \"drop\": expected gap, conflate or close",
        ],
    );
    check(
        "[[topics]]\nkeys_max = 5\n\n[[topics]]\npattern = \"a.*b\"\n[[topics]]\npattern = \"a..b\"",
        &[
            "FILE:2: topics: pattern is \"\": expected a topic's name, in which * stands for a \
              segment, and > at the end for one or more",
            "FILE:7: topics: pattern is \"a..b\": expected a topic's name, in which * stands for \
             a segment, and > at the end for one or more",
        ],
    );
    check(
        "[limits]\nlog_messages_max = 10\n[[topics]]\npattern = \"a\"\nretention_messages = 11",
        &["FILE:5: topics: retention_messages is 11: expected at most 10"],
    );
    check("topics = 5", &["FILE:1: unknown key topics"]);
    check(
        "[topics]\npattern = \"a\"",
        &["FILE:2: topics: expected [[topics]] tables of a \
             configuration file"],
    );
}

#[test]
fn tables_of_keys_are_sound() {
    let changed = r#"
        listen = ["127.0.0.1:1", "unix:/tmp/a \"b\""]
        routes = "/ws"
        tls_client_auth = "optional"
        shards = 3
        admin = "127.0.0.1:9"
        admin_token_file = "C:\\x"
        log = "warn,tapecast::shard=debug"
        log_format = "json"
    "#;
    let mut all = sources(changed, &[], &[]);
    // The contradictions are another test's.
    all.flags.push(Assignment {
        key: "tls_client_ca".into(),
        values: vec!["/nowhere.pem".into()],
        origin: Origin::Flag("--tls-client-ca".into()),
    });
    let settings = all.resolve().unwrap();
    assert_eq!(faults(KEYS, &[Settings::default(), settings]), Vec::<String>::new());
    let limits = Limits::default();
    let odd = Rule { allow_all: false, ..Rule::new("a.>", &Limits::tiny()) };
    let rules = [topics::default_rule(">", &limits), odd];
    assert_eq!(faults(topics::KEYS, &rules), Vec::<String>::new());
}

/// A key has a flag of its name, a variable, a line in a file, one in `check-config` and one
/// in `limits`, and each source gives it the same value.
#[test]
fn every_key_can_be_set_everywhere_and_is_listed_everywhere() {
    let command = Flags::augment_args(clap::Command::new("flags"));
    let flags: Vec<&str> = command.get_arguments().filter_map(clap::Arg::get_long).collect();
    let value = |key: &str| match key {
        "listen" => "ws://127.0.0.1:7",
        "routes" => "/echo",
        "tls_client_auth" => "none",
        "shards" => "7",
        "admin" => "127.0.0.1:7",
        "log_format" => "json",
        "log" => "warn",
        // TLS needs all of its files: the live tests have them.
        _ => "",
    };
    for key in KEYS {
        let dashed = key.name.replace('_', "-");
        assert!(flags.contains(&dashed.as_str()), "no flag {dashed}");
        let given = value(key.name);
        let variable = format!("TAPECAST_{}", key.name.to_uppercase());
        let file = sources(&format!("{} = \"{given}\"", key.name), &[], &[]).resolve().unwrap();
        let environment = sources("", &[(&variable, given)], &[]).resolve().unwrap();
        let flag = sources("", &[], &[(key.name, given)]).resolve().unwrap();
        let printed = (key.get)(&flag);
        assert_eq!((key.get)(&file), printed, "{}", key.name);
        assert_eq!((key.get)(&environment), printed, "{}", key.name);
        let line = format!("{} = {printed}", key.name);
        assert!(flag.effective().lines().any(|it| it.starts_with(&line)), "{line}");
        assert!(reference().contains(&format!("{} = ", key.name)), "{}", key.name);
    }
    for (name, value, _) in Limits::default().table() {
        let (variable, given) =
            (format!("TAPECAST_LIMITS_{}", name.to_uppercase()), value.to_string());
        let settings = sources("", &[(&variable, &given)], &[]).resolve().unwrap();
        assert_eq!(settings.origin(&format!("limits.{name}")).to_string(), variable);
        assert!(settings.effective().contains(&format!("{name} = {value} ")), "{name}");
        assert!(reference().contains(&format!("{name} = {value}\n")), "{name}");
    }
}
