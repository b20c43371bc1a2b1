//! Tests of every key, and of the precedence of sources.

use super::{BUILT_IN, GROUP_KEYS, Group, Profile, RUN_KEYS};
use tapecast::settings::{Assignment, Origin, faults};

fn flag(key: &str, value: &str) -> Assignment {
    let origin = Origin::Flag(format!("--{}", key.replace('_', "-")));
    Assignment { key: key.to_owned(), values: vec![value.to_owned()], origin }
}

/// A profile in a file of its own, with flags.
fn load(text: &str, flags: Vec<Assignment>) -> Result<Profile, String> {
    let thread = std::thread::current();
    let name = format!("tapecast-profile-{}-{:?}.toml", std::process::id(), thread.id());
    let path = std::env::temp_dir().join(name);
    std::fs::write(&path, text).unwrap();
    let path = path.display().to_string();
    let loaded = Profile::load(&path, flags);
    std::fs::remove_file(&path).unwrap();
    loaded.map_err(|problems| problems.join("; ").replace(&path, "F"))
}

#[test]
fn tables_of_keys_have_no_contradiction() {
    let built_in = |name: &&str| Profile::load(name, Vec::new()).unwrap();
    let names: Vec<&str> = BUILT_IN.iter().map(|(name, _)| *name).collect();
    let profiles: Vec<Profile> = names.iter().map(built_in).collect();
    assert_eq!(faults(RUN_KEYS, &profiles), Vec::<String>::new());
    let groups: Vec<Group> = profiles.into_iter().flat_map(|profile| profile.groups).collect();
    assert_eq!(faults(GROUP_KEYS, &groups), Vec::<String>::new());
    let shared = RUN_KEYS.iter().filter(|key| GROUP_KEYS.iter().any(|it| it.name == key.name));
    assert_eq!(shared.count(), 0, "a key is of the run or of groups");
}

#[test]
fn every_printed_profile_is_the_same_profile() {
    for (name, _) in BUILT_IN {
        let printed = Profile::load(name, Vec::new()).unwrap().text();
        let again = load(&printed, Vec::new()).unwrap().text();
        let values = |text: &str| -> Vec<String> {
            text.lines().map(|line| line.split(" # ").next().unwrap().to_owned()).collect()
        };
        assert_eq!(values(&again), values(&printed), "{name}");
    }
}

#[test]
fn flags_win_over_groups_over_keys_of_all_groups() {
    let text = "group = [{ rate = 5 }, { name = 'b' }]\nrate = 10\nconnections = 3";
    let profile = load(text, vec![flag("connections", "7")]).unwrap();
    let rates: Vec<f64> = profile
        .groups
        .iter()
        .map(|it| it.load.rate.as_ref().unwrap().steps[0].per_second)
        .collect();
    assert_eq!(rates, [5.0, 10.0]);
    assert!(profile.groups.iter().all(|group| group.connections == 7));
    assert!(profile.text().contains("connections = 7 # --connections\n"), "{}", profile.text());
    assert!(profile.text().contains("name = \"b\" # "), "{}", profile.text());
}

#[test]
fn every_mistake_is_reported_with_its_place() {
    let check = |text: &str, expected: &str| {
        let problems = load(text, Vec::new()).expect_err(text);
        assert_eq!(problems, expected, "{text}");
    };
    check("rate = 5\n\nconections = 3", "F:3: unknown key conections: did you mean connections?");
    check("zzz = 3", "F:1: unknown key zzz: --help lists all keys");
    check("[group]\nrate = 5", "F:2: expected [[group]] tables");
    check("group = 5", "F:1: expected [[group]] tables");
    check("[[groups]]\nrate = 5", "F:2: unknown key groups.0.rate: the only tables are [[group]]");
    check("[[group]]\nduration = '1s'", "F:2: duration is a key of the run, not of a group");
    let table = "size: expected a string, a number, true or false, not a table";
    check("[[group]]\nsize = { a = 1 }", &format!("F:2: {table}"));
    let both = "rate and in_flight exclude each other: open or closed loop";
    check("rate = 5\nin_flight = 3", &format!("F:2: in_flight: {both}"));
    check(
        "connections = -1\nkind = 'txt'",
        "F:1: connections: \"-1\": expected a whole number from 1 to 10000000; \
         F:2: kind: \"txt\": expected binary or text: did you mean text?",
    );
    let error = load("", vec![flag("rate", "fast")]).unwrap_err();
    assert!(error.starts_with("--rate: \"fast\": expected messages a second"), "{error}");
}
