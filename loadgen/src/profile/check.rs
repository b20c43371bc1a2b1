//! Values that are sound alone and do not fit together.

use super::bound::FailIf;
use super::group::{Check, Group, Scenario};
use super::publication::stamp_bytes;
use super::run::Profile;
use super::values::Content;
use tapecast::settings::nearest;

/// The maximum pairs of a reader and a publisher of its room: what each reader has received
/// of each publisher takes 16 bytes, in all 2 GiB.
const TRACKS_MAX: u64 = 1 << 27;
/// The maximum publishers of a group.
const PUBLISHERS_MAX: u32 = 65_536;

impl Profile {
    /// The contradictions between values.
    pub(super) fn contradictions(&self) -> Vec<String> {
        let mut problems = Vec::new();
        for group in &self.groups {
            let own = [
                self.of_run(group),
                of_readers(group),
                of_template(group),
                of_publications(group),
                of_lines(group),
            ];
            let own = own.into_iter().flatten();
            problems.extend(own.map(|message| self.place(group) + &message));
        }
        problems.extend(self.bounds_without_group());
        problems
    }

    /// A group among the others, and against the threads.
    fn of_run(&self, group: &Group) -> Vec<String> {
        let mut problems = Vec::new();
        // Values of the report have the group's name and a dot before them.
        let namesakes = self.groups.iter().filter(|other| other.name == group.name);
        if group.name.contains('.') || namesakes.count() > 1 {
            problems.push("every group needs a name of its own, without dots".into());
        }
        let (connections, threads) = (group.connections, self.threads);
        if connections < threads {
            problems.push(format!("{connections} connections are fewer than {threads} threads"));
        }
        if group.broadcast.rooms > connections {
            problems.push("more rooms than connections".into());
        }
        if group.broadcast.publishers > connections {
            problems.push("more publishers than connections".into());
        }
        problems
    }

    /// Bounds of values of groups that there are not. Only where there are several groups,
    /// each has values of its own.
    fn bounds_without_group(&self) -> Vec<String> {
        let names = || self.groups.iter().map(|group| group.name.as_str());
        let is_several = self.groups.len() > 1;
        let unknown = |group: &&str| !is_several || !names().any(|name| name == *group);
        let problem = |group: &str| {
            let hint = match nearest(group, names()).filter(|_| is_several) {
                Some(nearest) => format!("did you mean {nearest}?"),
                None => "values of a single group have no name before them".into(),
            };
            format!("fail_if: there is no group {group}; {hint}")
        };
        self.fail_if.iter().filter_map(FailIf::group).filter(unknown).map(problem).collect()
    }
}

fn has_readers(group: &Group) -> bool {
    matches!(group.scenario, Scenario::Broadcast | Scenario::Topics)
}

fn of_readers(group: &Group) -> Vec<String> {
    let mut problems = Vec::new();
    if group.broadcast.stalled > 0.0 && !has_readers(group) {
        problems.push("only readers of broadcast and topics stall".into());
    }
    if has_readers(group) && group.tracks() > TRACKS_MAX {
        let mib = group.tracks() >> 16;
        problems.push(format!(
            "every reader keeps 16 bytes for every publisher of its room, {mib} MiB in all: use \
             fewer publishers or more rooms"
        ));
    }
    problems
}

fn of_template(group: &Group) -> Vec<String> {
    let mut problems: Vec<String> = Vec::new();
    let is_topics = group.scenario == Scenario::Topics;
    if !group.message.template.is_empty() {
        if !group.message.template.contains("{payload}") {
            problems.push("the template has no {payload}".into());
        }
        if !group.message.text {
            problems.push("a template makes text messages: set kind = \"text\"".into());
        }
        if group.message.check == Check::Length {
            problems.push("replies in a template have no known length: use content or any".into());
        }
        if is_topics {
            problems.push("topics have a protocol of their own: remove the template".into());
        }
    }
    if is_topics && !group.message.text {
        problems.push("topics are text messages: set kind = \"text\"".into());
    }
    problems
}

fn of_publications(group: &Group) -> Vec<String> {
    let mut problems = Vec::new();
    if !has_readers(group) {
        return problems;
    }
    if group.broadcast.publishers > 0 && group.broadcast.publishers < group.broadcast.rooms {
        problems.push("more rooms than publishers: some rooms would stay idle".into());
    }
    if group.broadcast.publishers == 0 && group.connections > PUBLISHERS_MAX {
        problems.push(format!("more than {PUBLISHERS_MAX} publishers"));
    }
    let (least, smallest) = (stamp_bytes(group.message.text), group.message.size.bounds().0);
    if smallest < least {
        problems.push(format!(
            "a publication carries its publisher, number and time: size is at least {least} \
             bytes, and some are {smallest}"
        ));
    }
    if matches!(group.message.payload, Content::Lines { .. }) {
        problems.push("lines of a file can't carry a time: use pattern or random".into());
    }
    problems
}

fn of_lines(group: &Group) -> Vec<String> {
    let mut problems = Vec::new();
    if let (true, Content::Lines { path, lines }) = (group.message.text, &group.message.payload)
        && lines.iter().any(|line| std::str::from_utf8(line).is_err())
    {
        problems.push(format!("{path} is not UTF-8, which text messages are"));
    }
    problems
}
