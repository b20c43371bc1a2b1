//! The architecture as a test: which module imports which, that files import each other in no
//! circle, where `unsafe` is, and how long files may be. It reads the sources.

#[path = "architecture/imports.rs"]
mod imports;

use imports::{Imports, code, files, is_test};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// Layer, module, and the modules it imports. An edge is added here with its
/// reason, or not at all; it always leads to a smaller number.
const EDGES: &[(u32, &str, &[&str])] = &[
    (0, "base", &[]),
    // Buffers for reassembly come from the pool.
    (1, "protocol", &["base"]),
    // Limits, time, and the wake-up of a thread.
    (1, "driver", &["base"]),
    // The doorbell wakes a thread.
    (1, "mailbox", &["base"]),
    // The unit at the end of a limit's name.
    (1, "settings", &["base"]),
    // Nothing else: records in, records out.
    (2, "tls", &[]),
    // Its TLS, if it has any.
    (3, "connection", &["base", "protocol", "tls"]),
    // Tapes hold encoded frames.
    (3, "hub", &["base", "protocol"]),
    // Frames, their handshake, and JSON.
    (4, "client", &["base", "connection", "protocol", "tls"]),
    // A `Conn` is a connection's sending half and the hub; a `Publisher` writes
    // to an inbox.
    (4, "app", &["base", "protocol", "mailbox", "tls", "connection", "hub"]),
    // The public API: topics' deliveries, the message type and how a connection ended
    // are part of it.
    (5, "routes", &["app", "connection", "hub", "protocol"]),
    // Handlers with the public API, and their lanes; the work of requests, and
    // times.
    (5, "subprotocol", &["app", "base", "connection", "hub", "protocol"]),
    // Limits and times.
    // The origin in a request.
    (5, "admission", &["base", "protocol"]),
    // Where ring, connections and hub meet.
    (
        6,
        "shard",
        &["admission", "base", "protocol", "driver", "mailbox", "tls", "connection", "hub", "app"],
    ),
    // Commands for shards, their counters, and the words of their answers.
    (7, "control", &["app", "base", "hub", "protocol"]),
    // Puts shards and their rings on threads; rules are checked before that.
    (8, "server", &["admission", "base", "hub", "driver", "mailbox", "tls", "app", "shard"]),
    // A shard on the simulated ring, and a client to talk to it.
    (
        8,
        "testing",
        &[
            "admission",
            "base",
            "protocol",
            "driver",
            "mailbox",
            "connection",
            "hub",
            "app",
            "shard",
        ],
    ),
    // `doctor` sets a ring up as a shard does; rules of topics are settings; the demo's
    // market publishes, and its reader is a client; `replay` writes JSON.
    (
        9,
        "cli",
        &[
            "app",
            "base",
            "client",
            "control",
            "hub",
            "protocol",
            "driver",
            "routes",
            "server",
            "settings",
            "subprotocol",
            "tls",
        ],
    ),
];

/// Files that may contain `unsafe`: the ring, the queues, the SIMD kernels, and the program
/// with its allocator.
const ISLANDS: &[&str] = &[
    "main.rs",
    "driver/uring/ring.rs",
    "driver/uring/buffers.rs",
    "driver/uring/queues.rs",
    "mailbox/queue.rs",
    "protocol/mask.rs",
];

/// Every source file below `folder`, by its path relative to it.
fn sources(folder: &str) -> BTreeMap<String, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let name = |path: &Path| path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
    files(&root).iter().map(|path| (name(path), fs::read_to_string(path).unwrap())).collect()
}

#[test]
fn modules_import_only_what_the_table_lists() {
    for (name, source) in sources("src") {
        let module = name.split(['/', '.']).next().unwrap();
        if ["lib", "main", "build"].contains(&module) || is_test(&name) {
            continue;
        }
        let (_, _, allowed) = EDGES
            .iter()
            .find(|edge| edge.1 == module)
            .unwrap_or_else(|| panic!("{module} is in no layer: add it to the table"));
        for (at, _) in code(&source).match_indices("crate::") {
            let rest = &code(&source)[at + 7..];
            let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
            let imported = &rest[..end];
            assert!(
                imported == module || allowed.contains(&imported),
                "src/{name} imports {imported}, and the table has no such edge"
            );
        }
    }
}

#[test]
fn every_edge_leads_downward_and_is_used() {
    let all = sources("src");
    for (layer, module, imports) in EDGES {
        for imported in *imports {
            let target = EDGES.iter().find(|edge| edge.1 == *imported).expect("a known module");
            assert!(target.0 < *layer, "{module} imports {imported} from its own layer or above");
            let used = all.iter().any(|(name, source)| {
                name.split(['/', '.']).next() == Some(module)
                    && code(source).contains(&format!("crate::{imported}"))
            });
            assert!(used, "nothing in {module} imports {imported}: remove the edge");
        }
    }
}

/// The crates of the workspace: the folder of each, and the files there that belong to others.
const CRATES: &[(&str, &[&str])] = &[
    ("src", &["main.rs", "build.rs"]),
    ("loadgen/src", &[]),
    ("benches/compare/src", &["bin"]),
    ("benches/compare/src/bin", &["topics"]),
    ("benches/compare/src/bin", &["peer"]),
];

/// A facade, a `mod.rs` that only re-exports, is not counted: an import through it leads to the
/// file that defines the item.
#[test]
fn files_import_each_other_in_no_circle() {
    for (folder, others) in CRATES {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
        let circles = Imports::read(&root, others).circles();
        assert!(circles.is_empty(), "files of {folder} that import each other: {circles:#?}");
    }
}

/// Asserts that the folders of a crate, or of a part of it, import exactly the folders in a
/// table. `inside` is the part; a folder that has no row may import anything.
fn check_folders(root: &str, inside: &str, table: &[(&str, &[&str])]) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(root);
    let imports = Imports::read(&root, &["main.rs"]);
    let part = |name: &str| -> Option<String> {
        name.strip_prefix(inside)?.split(['/', '.']).next().map(str::to_owned)
    };
    for (folder, allowed) in table {
        let files = imports.files.iter().filter(|(name, _)| part(name).as_deref() == Some(folder));
        let found: BTreeSet<String> = files
            .flat_map(|(_, imported)| imported.iter().filter_map(|name| part(name)))
            .filter(|imported| imported != folder)
            .collect();
        let listed = allowed.iter().map(|name| (*name).to_owned()).collect();
        assert_eq!(found, listed, "imports of {inside}{folder}, and its row in the table");
    }
}

/// The folders of the hub, and the folders and files beside them that each imports.
const HUB_EDGES: &[(&str, &[&str])] = &[
    ("policy", &["error", "ids", "lane", "past"]),
    // A home decides which messages to forward: it names no tape and no message between hubs.
    ("home", &["ids", "message", "past", "policy"]),
    // A tape knows no log: messages come from outside.
    ("reader", &["ids", "lane", "memory", "message"]),
    ("cursor", &["context", "ids", "lane", "past", "policy", "reader", "signal", "topic"]),
    ("post", &["error", "ids", "message", "past"]),
    (
        "operations",
        &[
            "cursor", "error", "home", "ids", "memory", "message", "parts", "past", "policy",
            "post", "reader", "signal", "summary",
        ],
    ),
];

#[test]
fn the_folders_of_the_hub_import_what_their_table_lists() {
    check_folders("src", "hub/", HUB_EDGES);
}

/// The folders of the load generator: data goes one way, from the profile to the verdict.
const LOADGEN_EDGES: &[(&str, &[&str])] = &[
    ("profile", &[]),
    ("plan", &["profile"]),
    ("measure", &[]),
    ("drive", &["measure", "plan", "profile"]),
    ("report", &["measure", "plan", "profile"]),
    ("verdict", &["profile", "report"]),
];

#[test]
fn the_folders_of_the_load_generator_import_what_their_table_lists() {
    check_folders("loadgen/src", "", LOADGEN_EDGES);
}

#[test]
fn unsafe_is_on_its_islands() {
    for (name, source) in sources("src") {
        let code = code(&source);
        let has_unsafe =
            code.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word == "unsafe");
        let allows = code.contains("allow(unsafe_code)");
        // A child of an island needs no allowance of its own.
        assert!(!has_unsafe || ISLANDS.contains(&name.as_str()), "unsafe in src/{name}");
        assert!(!allows || ISLANDS.contains(&name.as_str()), "src/{name} allows unsafe");
    }
    for (name, source) in sources("loadgen/src") {
        assert!(!code(&source).contains("unsafe"), "unsafe in loadgen/src/{name}");
    }
}

/// The lines of a file outside of tests; tests of a subject may be longer.
const LINES_MAX: usize = 500;

#[test]
fn files_have_one_subject_and_say_which() {
    for folder in ["src", "loadgen/src", "benches/compare/src", "tests/architecture"] {
        for (name, source) in sources(folder) {
            assert!(source.starts_with("//!"), "{folder}/{name} does not say what it is for");
            let lines = source.lines().count();
            let is_short = lines <= LINES_MAX || is_test(&name);
            assert!(is_short, "{folder}/{name} has {lines} lines: it is two subjects");
        }
    }
}

#[test]
fn the_top_level_is_as_agreed() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let documents = ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md"];
    let others = [
        "Cargo.toml",
        "Cargo.lock",
        "src",
        "benches",
        "docs",
        "loadgen",
        "profiles",
        "tests",
        "LICENSE-MIT",
        "LICENSE-APACHE",
    ];
    for needed in documents.iter().chain(&others) {
        assert!(root.join(needed).exists(), "{needed} is missing");
    }
    for entry in fs::read_dir(root).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let is_agreed = !name.ends_with(".md") || documents.contains(&&*name);
        assert!(is_agreed, "{name} is at the top level: documents belong in docs/");
    }
}

/// The code map names every module, and the page of the protocol has every close code.
#[test]
fn the_pages_are_complete() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(root.join("ARCHITECTURE.md")).unwrap();
    for (_, module, _) in EDGES {
        assert!(page.contains(&format!("`{module}`")), "the code map lacks `{module}`");
    }
    assert!(page.lines().count() < 300, "ARCHITECTURE.md is too long to be read");
    let page = fs::read_to_string(root.join("docs/protocol.md")).unwrap();
    for cause in tapecast::protocol::CloseCause::ALL {
        let row = format!("| {} | {} | `{cause:?}` |", cause.code(), cause.reason());
        assert!(page.contains(&row), "the table of close codes lacks {row}");
    }
}
